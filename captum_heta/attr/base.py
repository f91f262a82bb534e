"""What every attribution method of this package offers to `LLMTokenAttribution`."""

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

from captum.attr import Attribution
from torch import Tensor

from captum_heta.features import Features


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
    """

    def __init__(self, forward_func: Any) -> None:
        super().__init__(forward_func)
        self.model = forward_func

    @abstractmethod
    def attribute_outputs(
        self,
        input_ids: Tensor,
        outputs: Tensor,
        features: Features,
        *,
        num_trials: int = 1,
        per_token: bool = True,
        **kwargs: Any,
    ) -> OutputAttributions:
        """Attribute each output token, given the prompt and the outputs before it, to features of the prompt.

        Args:
            input_ids: (n,), the prompt.
            outputs: (K,), the output token ids.
            features: groups of prompt tokens.
            num_trials: average a method with random draws over as many fresh ones.
            per_token: attribute each output by itself; otherwise their joint log-probability, at once.
            **kwargs: the method's own options.
        """

    def attribute_future(self) -> None:
        """Captum's asynchronous interface, which these methods do not have."""
        raise NotImplementedError(f"attribute_future is not implemented for {type(self).__name__}")
