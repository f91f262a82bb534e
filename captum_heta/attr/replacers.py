"""What stands in for the tokens that `ReAGent` replaces."""

from typing import Any

import torch
from torch import Tensor


class MaskedLMReplacer:
    """Replaces tokens with what a masked language model finds likely there, as in the paper (RoBERTa).

    The texts are cut into the masked model's own tokens, one of the language model's tokens at a time, so that the
    two vocabularies need not be the same. Where one of these becomes several, all are masked as one.

    Args:
        model: a masked language model of transformers; it runs where it is.
        tokenizer: its tokenizer, with a mask token.
        target_tokenizer: the tokenizer of the language model that is explained.

    Raises:
        ValueError: if ``tokenizer`` has no mask token.
    """

    def __init__(self, model: Any, tokenizer: Any, target_tokenizer: Any) -> None:
        if tokenizer.mask_token_id is None:
            raise ValueError(
                f"{type(tokenizer).__name__} has no mask token: take the tokenizer of a masked language model, like "
                "roberta-base."
            )
        self.model, self.tokenizer, self.target_tokenizer = model, tokenizer, target_tokenizer

    @classmethod
    def from_pretrained(cls, name: str, target_tokenizer: Any) -> "MaskedLMReplacer":
        """With a masked language model by its hub id or folder; downloads it if it is not there."""
        from transformers import AutoModelForMaskedLM, AutoTokenizer

        model = AutoModelForMaskedLM.from_pretrained(name).eval()
        return cls(model, AutoTokenizer.from_pretrained(name), target_tokenizer)

    @torch.no_grad()
    def __call__(self, ids: Tensor, replaced: Tensor, generator: torch.Generator) -> Tensor:
        """Token ids (B, n) with those of ``replaced`` (B, n) drawn anew; may keep some, where that is likely."""
        rows, places = [], []
        for row, mask in zip(ids.tolist(), replaced.tolist(), strict=True):
            pieces, masked = self._masked(row, mask)
            rows.append(torch.tensor(pieces, device="cpu"))
            places.append(masked)
        padded = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=self._padding)
        attended = torch.nn.utils.rnn.pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
        device = self.model.device
        logits = self.model(input_ids=padded.to(device), attention_mask=attended.to(device)).logits.float().cpu()
        found = ids.clone()
        for b, masked in enumerate(places):
            for token, place in masked.items():
                drawn = torch.multinomial(logits[b, place].softmax(-1), 1, generator=generator)
                new = self.target_tokenizer.encode(self.tokenizer.decode(drawn), add_special_tokens=False)
                if new:  # some of its tokens are no text
                    found[b, token] = new[0]
        return found

    @property
    def _padding(self) -> int:
        padding = self.tokenizer.pad_token_id
        return self.tokenizer.mask_token_id if padding is None else padding  # which is not attended to

    def _masked(self, ids: list[int], mask: list[bool]) -> tuple[list[int], dict[int, int]]:
        """The masked model's tokens of one text, and where each replaced token's mask is among them."""
        special = set(self.target_tokenizer.all_special_ids)
        pieces = [] if self.tokenizer.cls_token_id is None else [self.tokenizer.cls_token_id]
        masked = {}
        for token, (one, replaced) in enumerate(zip(ids, mask, strict=True)):
            if replaced:
                masked[token] = len(pieces)
                pieces.append(self.tokenizer.mask_token_id)
            elif one not in special:
                text = self.target_tokenizer.decode([one])
                pieces += self.tokenizer.encode(text, add_special_tokens=False)
        if self.tokenizer.sep_token_id is not None:
            pieces.append(self.tokenizer.sep_token_id)
        return pieces, masked
