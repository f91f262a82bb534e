"""NormXLogit (Abbasi et al., EMNLP 2025, arXiv 2411.16252)."""

from typing import Any

import torch
from torch import Tensor

from captum_heta.attr.base import OutputAttributions, PromptAttribution, attributions
from captum_heta.attr.inputs import prompts
from captum_heta.features import Features
from captum_heta.models import LanguageModel


class NormXLogit(PromptAttribution):
    """score_i = norm2(x_i) * LogAt_i, signed: how long a token's embedding is, and what the head makes of its state.

    x_i is the input embedding. LogAt_i is the target's logit when the head, final norm included, reads token i's own
    representation; for a regression head, the absolute difference of that prediction and the sequence's. It needs
    neither attention nor gradients: one forward pass explains a causal language model.

    Args:
        forward_func: a causal language model of Hugging Face transformers, or a sequence classification or regression
            model, encoders included.

    Raises:
        TypeError: if the model is an encoder-decoder, or not of transformers.

    Example::

        >>> scores = NormXLogit(model).attribute(input_ids)  # (B, n)
    """

    def _view(self, model: Any) -> LanguageModel:
        return LanguageModel(model)

    def attribute(
        self,
        inputs: Any,
        target: Any = None,
        additional_forward_args: Any = None,
        feature_mask: Any = None,
        *,
        layer: int | None = None,
        **kwargs: Any,
    ) -> Any:
        """As `PromptAttribution.attribute`; for a classifier, ``target`` is a class, None the predicted one.

        Args:
            inputs: as there.
            target: as there, or a class; None for a regression model.
            additional_forward_args: as there.
            feature_mask: as there; a feature has the sum of its tokens' scores.
            layer: read the states after so many layers, 0 for what enters the first; None for all.
            **kwargs: the options of `attribute_outputs`, for a causal language model.
        """
        if self._lm.generates:
            return super().attribute(inputs, target, additional_forward_args, feature_mask, layer=layer, **kwargs)
        input_ids = inputs[0] if isinstance(inputs, tuple) else inputs
        rows = prompts(self._lm, input_ids, additional_forward_args, feature_mask)
        classes = [None] * len(rows) if target is None else self._classes(target, len(rows))
        scores = torch.zeros(input_ids.shape, dtype=torch.float32, device=input_ids.device)
        with self._lm.lock, self._lm.restored(), self._lm.evaluating():
            for i, (row, chosen) in enumerate(zip(rows, classes, strict=True)):
                found = row.features.sum(self._norms(row.ids) * self._of_class(row.ids, chosen, layer))
                scores[i, row.places] = row.features.spread(found, len(row.places)).float()
        return (scores,) if isinstance(inputs, tuple) else scores

    def attribute_outputs(
        self,
        input_ids: Tensor,
        outputs: Tensor,
        features: Features,
        *,
        num_trials: int = 1,
        per_token: bool = True,
        layer: int | None = None,
    ) -> OutputAttributions:
        """As `TokenAttribution.attribute_outputs`; nothing is drawn, so ``num_trials`` changes nothing.

        Args:
            input_ids: (n,).
            outputs: (K,).
            features: a feature has the sum of its tokens' scores.
            num_trials: of no effect.
            per_token: scores of each output, or their sum.
            layer: read the states after so many layers, 0 for what enters the first; None for all.
        """
        if not self._lm.generates:
            raise TypeError(f"{type(self.model).__name__} has no output tokens: explain its class with attribute().")
        self._checked(input_ids, outputs, read=len(outputs) - 1)
        n = len(input_ids)
        scores, log_probs = [], []
        with self._lm.lock, self._lm.restored(), self._lm.evaluating():
            for some in self._lm.alike(n, len(outputs)):
                ids = torch.cat([input_ids, outputs[: some.stop - 1]])
                logits = self._lm.logits(ids[None])[0]
                log_probs.append(logits[n - 1 + some.start :].log_softmax(-1))
                if self._depth(layer) < self._lm.n_layers:
                    logits = self._lm.head_logits(ids[None], self._lm.states(ids, self._depth(layer))[None])[0]
                scores.append(logits[:n, outputs[some.start : some.stop]].T)
            products = torch.cat(scores) * self._norms(input_ids)
        return attributions(products, features, torch.cat(log_probs), outputs, per_token)

    @staticmethod
    def _classes(target: Any, count: int) -> list[int]:
        """One class for each of so many prompts."""
        classes = torch.as_tensor(target, device="cpu").flatten()
        if classes.dtype not in (torch.int64, torch.int32) or len(classes) not in (1, count):
            raise ValueError(f"target must be one class, or one for each of the {count} prompts, got {target!r}.")
        return classes.expand(count).tolist()

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
