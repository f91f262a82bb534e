"""What every attribution method of this package offers to `LLMTokenAttribution`."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from captum.attr import Attribution
from torch import Tensor

from captum_heta.attr.inputs import check_ids, check_length, check_targets, prompts, targets
from captum_heta.features import Features
from captum_heta.models import LanguageModel


class OutputAttributions(NamedTuple):
    """Attributions of K output tokens to F features.

    Attributes:
        scores: (K, F), or (1, F) for the outputs together; float32.
        log_probs: (K,), of each output given the prompt and the outputs before it.
        terms: a named tuple of tensors of the shape of ``scores`` that they are made of, or None.
    """

    scores: Tensor
    log_probs: Tensor
    terms: Any = None


class TokenAttribution(Attribution, ABC):
    """An attribution method for the tokens of a causal language model's prompt.

    `model` stays reachable when a wrapper replaces `forward_func`, as Captum's do.

    Attributes:
        explains_each_token: False for a method that explains the output as a whole; its scores are (1, F).
        sources: what `LLMTokenAttribution` takes for a feature of a text when a person says nothing: "token", or
            "sentence" for a method that is meant for those.
    """

    explains_each_token: ClassVar[bool] = True
    sources: str = "token"

    def __init__(self, forward_func: Any) -> None:
        super().__init__(forward_func)
        self.model = forward_func

    @abstractmethod
    def attribute_outputs(
        self,
        input_ids: Tensor,
        outputs: Tensor,
        features: Features,
        *args: Any,
        **kwargs: Any,
    ) -> OutputAttributions:
        """Attribute each output token, given the prompt and the outputs before it, to features of the prompt.

        Args:
            input_ids: (n,), the prompt.
            outputs: (K,), the output token ids.
            features: groups of prompt tokens.
            *args: none; all options are named.
            **kwargs: ``num_trials``, over how many fresh draws a method that draws is averaged; ``per_token``, whether
                to attribute each output by itself or all of them at once; and the method's own options.
        """

    @classmethod
    def get_name(cls) -> str:
        """The name in tables and progress bars; Captum's default would spell HETA "H E T A"."""
        return cls.__name__

    def attribute_future(self) -> None:
        """Captum's asynchronous interface, which these methods do not have."""
        raise NotImplementedError(f"attribute_future is not implemented for {type(self).__name__}")


class PromptAttribution(TokenAttribution):
    """A `TokenAttribution` whose scores of token ids are those of one output token.

    Args:
        forward_func: a causal language model of Hugging Face transformers, which is left as it is found.

    Raises:
        TypeError: if the model is not one.
    """

    def __init__(self, forward_func: Any) -> None:
        super().__init__(forward_func)
        self._lm = self._view(forward_func)

    def _view(self, model: Any) -> LanguageModel:
        lm = LanguageModel(model)
        if not lm.generates:
            raise TypeError(
                f"{type(model).__name__} does not predict the next token, which {self.get_name()} explains: load the "
                "model with AutoModelForCausalLM."
            )
        return lm

    def attribute(
        self,
        inputs: Tensor | tuple[Tensor],
        target: int | Sequence[int] | Tensor | None = None,
        additional_forward_args: Any = None,
        feature_mask: Tensor | tuple[Tensor] | None = None,
        **kwargs: Any,
    ) -> Any:
        """Attribute the next-token prediction after each prompt to the prompt's tokens.

        Args:
            inputs: token ids, (B, n) integers on the device of the model's embeddings. Captum's form, a tuple of
                one tensor, is answered with a tuple.
            target: the token id that is explained, one for all prompts or one a prompt. None explains the model's own
                most likely next token.
            additional_forward_args: the attention mask (B, n) for prompts padded on either side, or a dictionary with
                this name. Padding scores 0.
            feature_mask: integers that broadcast to ``inputs``. Tokens with the same number are one feature, and each
                carries the feature's score.
            **kwargs: the method's options, those of `attribute_outputs`.

        Returns:
            Scores of the shape of ``inputs``, float32.

        Raises:
            ValueError: for inputs, targets, masks or options that do not fit; the message says what would.
        """
        input_ids = inputs[0] if isinstance(inputs, tuple) else inputs
        rows = prompts(self._lm, input_ids, additional_forward_args, feature_mask)
        outputs = targets(self._lm, target, len(rows))
        scores = torch.zeros(input_ids.shape, dtype=torch.float32, device=input_ids.device)
        for i, (row, output) in enumerate(zip(rows, outputs, strict=True)):
            if row.position_ids is not None:
                raise ValueError(f"{self.get_name()} takes no position_ids: it reads each prompt from position 0 on.")
            if output is None:
                with self._lm.lock, self._lm.restored(), self._lm.evaluating():
                    output = self._lm.log_probs_after([row.ids], 1)[0].argmax(-1)
            found = finite(self, self.attribute_outputs(row.ids, output, row.features, **kwargs))
            scores[i, row.places] = row.features.spread(found.scores, len(row.places))[0]
        return (scores,) if isinstance(inputs, tuple) else scores

    def _checked(self, input_ids: Tensor, outputs: Tensor, read: int) -> None:
        """Raise ValueError if prompt and outputs, of which ``read`` are read, do not fit the model."""
        check_ids(self._lm, input_ids[None])
        check_targets(self._lm, outputs)
        check_length(self._lm, len(input_ids) + read)


def finite(method: TokenAttribution, found: OutputAttributions) -> OutputAttributions:
    """What a method found.

    Raises:
        RuntimeError: if a score is no number.
    """
    if not torch.isfinite(found.scores).all():
        raise RuntimeError(
            f"The scores of {method.get_name()} on {type(method.model).__name__} are not finite: check the model's "
            "weights for NaN and infinities, or load it in float32."
        )
    return found


def attributions(
    scores: Tensor, features: Features, log_probs: Tensor, outputs: Tensor, per_token: bool
) -> OutputAttributions:
    """Token scores (K, T) and predictions (K, V) as the attributions of ``outputs`` (K,) to ``features``.

    The outputs together have the sum of their scores.
    """
    summed = features.sum(scores).float()
    found = log_probs.gather(1, outputs[:, None])[:, 0].float()
    return OutputAttributions(summed if per_token else summed.sum(0, keepdim=True), found)
