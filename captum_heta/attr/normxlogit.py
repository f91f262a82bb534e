"""NormXLogit (Abbasi et al., EMNLP 2025, arXiv 2411.16252)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from captum_heta.attr.base import OutputAttributions, Task, TokenAttribution, attributions
from captum_heta.models import LanguageModel
from captum_heta.options import Options


@dataclass(frozen=True, kw_only=True)
class NormXLogitOptions(Options):
    """Those of `NormXLogit`.

    Attributes:
        layer: read the states after so many layers, 0 for what enters the first; None for all.
    """

    layer: int | None = None


class NormXLogit(TokenAttribution[NormXLogitOptions]):
    """score_i = norm2(x_i) * LogAt_i, signed: how long a token's embedding is, and what the head makes of its state.

    x_i is the input embedding. LogAt_i is the target's logit when the head, final norm included, reads token i's own
    representation; for a regression head, the absolute difference of that prediction and the sequence's. It needs
    neither attention nor gradients: one forward pass explains a causal language model. For a classifier ``target`` is a
    class, None the predicted one; for a regression model it is None. A feature has the sum of its tokens' scores.

    Args:
        forward_func: a causal language model of Hugging Face transformers, or a sequence classification or regression
            model, encoders included.

    Raises:
        TypeError: if the model is an encoder-decoder, or not of transformers.

    Example::

        >>> scores = NormXLogit(model).attribute(input_ids)
        >>> scores.shape == input_ids.shape  # (B, n)
        True
    """

    def _view(self, model: Any) -> LanguageModel:
        return LanguageModel(model)

    def _targets(self, target: Any, count: int) -> Sequence[Tensor]:
        if self._lm.generates or target is None:
            return super()._targets(target, count)
        classes = torch.as_tensor(target, device="cpu").flatten()
        if classes.dtype not in (torch.int64, torch.int32) or len(classes) not in (1, count):
            raise ValueError(f"target must be one class, or one for each of the {count} prompts, got {target!r}.")
        return list(classes.expand(count).split(1))

    def _likeliest(self, task: Task) -> Tensor:
        return super()._likeliest(task) if self._lm.generates else task.outputs  # a regression model has no choice

    def _scores(self, task: Task, options: NormXLogitOptions) -> OutputAttributions:
        lm, ids, n = self._lm, task.input_ids, len(task.input_ids)
        if not lm.generates:
            chosen = int(task.outputs[0]) if len(task.outputs) else None
            products = self._norms(ids) * self._of_class(ids, chosen, options.layer)
            return OutputAttributions(task.features.sum(products)[None], products.new_empty(0))
        scores, log_probs = [], []
        for some in lm.alike(n, len(task.outputs)):
            whole = torch.cat([ids, task.outputs[: some.stop - 1]])
            logits = lm.logits(whole[None])[0]
            log_probs.append(logits[n - 1 + some.start :].log_softmax(-1))
            if self._depth(options.layer) < lm.n_layers:
                logits = lm.head_logits(whole[None], lm.states(whole, self._depth(options.layer))[None])[0]
            scores.append(logits[:n, task.outputs[some.start : some.stop]].T)
        products = torch.cat(scores) * self._norms(ids)
        return attributions(products, task.features, torch.cat(log_probs), task.outputs)

    def _of_class(self, ids: Tensor, chosen: int | None, layer: int | None) -> Tensor:
        """LogAt (n,) of a sequence classifier."""
        whole = self._lm.logits(ids[None])[0]
        if whole.ndim != 1:
            raise TypeError(
                f"{type(self.model).__name__} is neither a causal language model nor a sequence classifier: load the "
                "model with AutoModelForCausalLM or AutoModelForSequenceClassification."
            )
        own = self._lm.own_logits(ids, self._lm.states(ids, self._depth(layer)))
        if len(whole) == 1:
            if chosen not in (None, 0):
                raise ValueError(f"{type(self.model).__name__} predicts one number: target must be None, got {chosen}.")
            return (own - whole)[:, 0].abs()
        chosen = int(whole.argmax()) if chosen is None else chosen
        if not 0 <= chosen < len(whole):
            raise ValueError(
                f"target must be a class from 0 to {len(whole) - 1} of {type(self.model).__name__}, got {chosen}."
            )
        return own[:, chosen]

    def _depth(self, layer: int | None) -> int:
        depth = self._lm.n_layers if layer is None else layer
        self._lm.check_depth(depth)
        return depth

    def _norms(self, ids: Tensor) -> Tensor:
        """norm2(x_i), (n,)."""
        return self._lm.embed(ids).float().norm(dim=-1)
