"""AttnLRP (Achtibat et al., ICML 2024, arXiv 2402.05602)."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from captum_heta.attr.causal import GradientMethod
from captum_heta.attr.sequences import TaskSequence
from captum_heta.options import ContrastOptions
from captum_heta.prompts import check_predictions
from captum_heta.terms.relevance import Coverage

EXPLAINED = ("log_prob", "logit")


@dataclass(frozen=True, kw_only=True)
class AttnLRPOptions(ContrastOptions):
    """Those of `AttnLRP`.

    Attributes:
        explained: "log_prob": log P(target), as the other methods do; what all tokens have in common then cancels.
            "logit": the target's logit, as the paper does. With ``contrast`` the two are the same.
    """

    explained: str = "log_prob"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.explained not in EXPLAINED:
            raise ValueError(f"explained must be one of {', '.join(EXPLAINED)}, got {self.explained!r}.")


class AttnLRP(GradientMethod[AttnLRPOptions]):
    """score_i = x_i . g_i, signed: the relevance that a token's embedding x_i has of what is explained.

    g is the gradient of one backward pass, with another rule for each step that is not linear, so that the relevance of
    what a step gives is handed down to what it is given:

    - an activation, y = f(x): (y / x) in the place of f'(x);
    - LayerNorm and RMSNorm: what they divide by is held;
    - a product of two that both depend on the prompt (gate and values of an MLP, queries and keys, attention weights
      and values, an expert and its weight): each has half;
    - softmax: its gradient, which is the first term of a Taylor series; linear layers: theirs.

    So the relevance of a logit is that logit, but for what biases and softmax keep. The rules are of the functions of
    torch that a model calls, with eager attention; nothing of the model is replaced, and its predictions are what they
    were. A feature has the sum of its tokens' relevance.

    What has no rule is refused, and not guessed: gates and decays that are not 0 at 0 (sigmoid, exp: state spaces,
    delta nets, gated attention), and kernels that torch does not show. Which experts are chosen is held. The graph of
    the whole sequence is kept in memory.

    Args:
        forward_func: a causal language model of Hugging Face transformers.

    Raises:
        TypeError: if it is none; when it attributes, if it does something that has no rule, which is named, or if a
            quantized model has no right gradients.

    Example::

        >>> scores = AttnLRP(model).attribute(input_ids)
        >>> scores.shape == input_ids.shape  # (B, n)
        True
    """

    def __init__(self, forward_func: Any) -> None:
        super().__init__(forward_func)
        self._coverage = Coverage(self._lm)

    def _of(self, sequence: TaskSequence, options: AttnLRPOptions) -> tuple[Tensor, Tensor]:
        outputs, others = sequence.outputs, sequence.others
        x = sequence.embeds.detach().clone().requires_grad_()
        with self._coverage.ruled():
            logits = self._lm.logits_of_embeds(
                x[None], sequence.read.position_ids, keep=len(outputs), per_layer=sequence.per_layer
            )[0]
            log_probs = logits.log_softmax(-1)
            numbers = log_probs if options.explained == "log_prob" else logits
            # by numbers, as ids may be of a caller's inference mode, and are then not kept for a gradient
            values = [row[token] for row, token in zip(numbers, outputs.tolist(), strict=True)]
            if others is not None:
                values = [
                    value - row[token] for value, row, token in zip(values, numbers, others.tolist(), strict=True)
                ]
            if not sequence.task.per_token:
                values = [torch.stack(values).sum()]
        check_predictions(self._lm, log_probs.detach(), outputs)
        if others is not None:
            check_predictions(self._lm, log_probs.detach(), others)
        relevance = torch.stack([self._relevance(value, x) for value in values])
        return sequence.sources.sum(relevance), log_probs.detach().gather(1, outputs[:, None])[:, 0]

    def _relevance(self, value: Tensor, x: Tensor) -> Tensor:
        """(T,), of each token."""
        (gradient,) = torch.autograd.grad(value, x, retain_graph=True)
        precise = torch.promote_types(x.dtype, torch.float32)
        return (x.detach().to(precise) * gradient.to(precise)).sum(-1)
