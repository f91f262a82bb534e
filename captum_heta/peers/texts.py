"""Texts whose tokens are known, for packages that look at the text of a token."""

from collections.abc import Sequence
from typing import Any

from captum_heta.inputs import TextInput
from captum_heta.tokenizers import Tokenizer

_MARK = "\u2060"  # a character without width, which tells texts apart that look the same


class KnownTexts:
    """A tokenizer of some texts, each of which it cuts into exactly the tokens that it was made of.

    Other texts it cuts as the model's own does, without special tokens, or with those that the prompt begins with too.

    Args:
        tokenizer: of the model.
        prompt: the token ids of the prompt.

    Attributes:
        prompt: its text.
        begins: the special tokens that the tokenizer puts before a text by itself and that the prompt begins with.
    """

    eos_token = None  # with one, a package would put it behind an output
    eos_token_id = None

    def __init__(self, tokenizer: Tokenizer, prompt: Sequence[int]) -> None:
        self._tokenizer = tokenizer
        self._texts: dict[str, tuple[list[int], list[tuple[int, int]]]] = {}
        before = list(tokenizer.encode(""))
        self.begins = before if before == list(prompt[: len(before)]) else []
        self.prompt = self.add(prompt)

    def add(self, ids: Sequence[int]) -> str:
        """The text of token ids, which is from now on cut into these."""
        text, spans = "", []
        for piece in pieces(ids, self._tokenizer):
            spans.append((len(text), len(text) + len(piece)))
            text += piece
        while text in self._texts:
            text += _MARK
        self._texts[text] = (list(ids), spans)
        return text

    def __call__(self, text: str, return_tensors: str | None = None, **arguments: Any) -> Any:
        """The tokens of a text as transformers' tokenizers give them."""
        from transformers import BatchEncoding

        if text in self._texts:
            ids, spans = self._texts[text]
        else:
            ids, spans = list(self.begins) if not text else self._others(text), []
        found = {"input_ids": ids, "offset_mapping": spans}
        if return_tensors is None:
            return BatchEncoding(found)
        return BatchEncoding({"input_ids": [ids]}, tensor_type=return_tensors)

    def decode(self, token_ids: Any, **arguments: Any) -> str:
        """The text that these tokens are of, or what the model's own tokenizer makes of them."""
        ids = token_ids.tolist() if hasattr(token_ids, "tolist") else token_ids
        for text, (known, _) in self._texts.items():
            if known == ids:
                return text
        return self._tokenizer.decode(token_ids, **arguments)

    def _others(self, text: str) -> list[int]:
        return self.begins + list(self._tokenizer.encode(text, add_special_tokens=False))


def pieces(ids: Sequence[int], tokenizer: Tokenizer) -> list[str]:
    """The text of each token; of one that stands for no text, its name."""
    try:
        inp = TextInput(list(ids), tokenizer, skip_tokens=[])
        found = [inp.text[start:end] for start, end in inp.token_spans]
    except ValueError:  # from a tokenizer that does not say where its tokens are
        found = [tokenizer.decode([token]) for token in ids]
    names = tokenizer.convert_ids_to_tokens(list(ids))
    return [piece or name for piece, name in zip(found, names, strict=True)]
