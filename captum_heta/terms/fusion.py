"""How the gate, the curvature and the information of tokens become one score."""

import torch
from torch import Tensor

CORNER = 2e-3


def weighted_sum(gate: Tensor, curvature: Tensor, information: Tensor, beta: float, gamma: float) -> Tensor:
    """Eq. 5 of Pramanik et al. 2026 (arXiv 2604.13258): gate (beta curvature + gamma information), (..., F)."""
    return gate * (beta * curvature + gamma * information.clamp(min=0))


def balanced_sum(
    gate: Tensor, curvature: Tensor, information: Tensor, like: tuple[Tensor, Tensor] | None = None
) -> Tensor:
    """The same with each of the two terms over its own sum over the features, so that its unit does not weigh.

    Args:
        gate: (..., F).
        curvature: (..., F).
        information: (..., F).
        like: curvature and information of other features (..., G), over whose sums they are; None for their own.
    """
    curvature_like, information_like = (curvature, information) if like is None else like
    balanced = shares(curvature, curvature_like) + shares(information.clamp(min=0), information_like.clamp(min=0))
    return gate * balanced / 2


def product(gate: Tensor, curvature: Tensor, information: Tensor) -> Tensor:
    """Gate sqrt(curvature) information as shares: non-negative, rows of sum 1, or 0 where no feature has all three.

    The curvature is per squared unit of the embeddings; its root says how fast the prediction moves, as the root of a
    Fisher information does. Of the information, the `positive_part`; as if it were 0 where it is NaN.
    """
    gate, root, lost = (_of_largest(part) for part in factors(gate, curvature, information))
    supported = (gate * root * (information > 0)).sum(-1, keepdim=True) > 0
    return torch.where(supported, shares(gate * root * lost), 0)


def factors(gate: Tensor, curvature: Tensor, information: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What `product` multiplies."""
    return gate, curvature.sqrt(), positive_part(information)


def positive_part(information: Tensor) -> Tensor:
    """max(0, D) with a soft corner, (..., F): t log(1 + exp(D / t)), t the row's largest magnitude times `CORNER`.

    With a hard corner a third of a prompt's tokens are at exactly 0, in no order. Here those that hardly change the
    target keep the order of the other terms, below a hundredth of the largest scores; those that speak against it go
    to 0. NaN, which was not looked for as it cannot matter, is as if it were 0 nats.
    """
    if information.shape[-1] == 0:
        return information
    found = information.nan_to_num(0.0)
    corner = CORNER * found.abs().amax(-1, keepdim=True)
    return corner * torch.nn.functional.softplus(found / corner.where(corner > 0, 1))


def shares(scores: Tensor, like: Tensor | None = None) -> Tensor:
    """Non-negative scores (..., F) over the sum of ``like``'s (..., G), or their own; 0 where that is 0."""
    like = scores if like is None else like
    total = _of_largest(like).sum(-1, keepdim=True)
    return torch.where(total > 0, _of_largest(scores, like) / total.where(total > 0, 1), 0)


def _of_largest(scores: Tensor, like: Tensor | None = None) -> Tensor:
    """Scores over the largest of a row: products of small ones would leave float32's range."""
    like = scores if like is None else like
    if like.shape[-1] == 0:
        return scores
    largest = like.amax(-1, keepdim=True)
    return scores / largest.where(largest > 0, 1)
