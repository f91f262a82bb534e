"""SHAP's text explainer (Lundberg & Lee, NeurIPS 2017, arXiv 1705.07874)."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from captum_heta.attr.context_cite import logit
from captum_heta.attr.task import Task
from captum_heta.checks import check_count
from captum_heta.options import BatchOptions
from captum_heta.peers.base import TextPeer
from captum_heta.peers.package import Package
from captum_heta.peers.texts import KnownTexts


@dataclass(frozen=True, kw_only=True)
class ShapTextOptions(BatchOptions):
    """Those of `ShapText`.

    Attributes:
        max_evals: prompts with parts masked, at most; what they do not tell apart has equal parts.
    """

    max_evals: int = 500

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("max_evals", self.max_evals, least=2)


class ShapText(TextPeer[ShapTextOptions]):
    """Owen values of the tokens in an output's log-odds, by SHAP's partition explainer and its masker of text.

    As ``shap.Explainer(function, shap.maskers.Text(tokenizer, mask_token="...", output_type="token_ids"))`` gives them:
    tokens are grouped by punctuation and words, and a masked one is replaced by the first token of "...". What it does
    with a whole model masks text, joins its white space and cuts it anew, and so explains another prompt wherever there
    is a line break. A token that the tokenizer puts before a text by itself is never masked.

    Args:
        forward_func: a causal language model of Hugging Face transformers.
        tokenizer: of the model: SHAP groups tokens by their text.

    Raises:
        ImportError: when it attributes, without shap.
        TypeError: without a tokenizer.
        ValueError: when it attributes, for a prompt of one token.
    """

    package: ClassVar[Package] = Package("SHAP", "shap", "shap")

    def _token_scores(self, task: Task, options: ShapTextOptions) -> Tensor:
        shap = self.package.imported()
        ids, count = task.input_ids.tolist(), len(task.outputs)
        if len(ids) < 2:
            raise ValueError("SHAP groups the tokens of a prompt, and this one has a single token.")
        texts = _ShapTexts(self.tokenizer, ids)
        batch = self._batch(options, len(ids) + count, count)

        def value(rows: Any) -> Any:
            """Log-odds (B, K) of the outputs for prompts (B, n)."""
            given = torch.as_tensor(rows, dtype=torch.long, device=task.input_ids.device)
            kept = given == task.input_ids
            self.package.check_read(given[~kept].unique().tolist(), [masker.mask_token_id] if not kept.all() else [])
            return (
                logit(
                    torch.cat(batch.run(given, lambda some: self._lm.log_probs_of(task.outputs, list(some)))).double()
                )
                .cpu()
                .numpy()
            )

        with self.package.at_work(self.model):
            masker = shap.maskers.Text(texts, mask_token="...", output_type="token_ids")
            explainer = shap.Explainer(value, masker, algorithm="partition")
            found = explainer([texts.prompt], max_evals=options.max_evals, batch_size=int(batch.size), silent=True)
            scores = torch.as_tensor(found.values[0])
        return scores.T.to(task.input_ids.device, torch.float32)


class _ShapTexts(KnownTexts):
    """With what SHAP's masker asks a tokenizer for besides."""

    sep_token = None
    mask_token = None

    @property
    def special_tokens_map(self) -> dict[str, str]:
        """What the prompt begins with, which is never masked."""
        return {"bos_token": self.decode(self.begins)}
