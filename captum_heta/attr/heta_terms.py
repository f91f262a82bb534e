"""The terms that HETA's scores are made of, by the names of what they are."""

from typing import NamedTuple

import torch
from torch import Tensor

from captum_heta.options import HETAOptions
from captum_heta.terms.fusion import balanced_sum, product, weighted_sum


class HETATerms(NamedTuple):
    """The three terms of Eq. 5, of one shape and in float32.

    Attributes:
        semantic_flow: M, the causal gate; sums to 1 over the context.
        curvature: S, the second-order sensitivity of log P(target), per squared unit of the embeddings.
        information: I, in nats.
    """

    semantic_flow: Tensor
    curvature: Tensor
    information: Tensor

    def combine(self, beta: float, gamma: float) -> Tensor:
        """Eq. 5: M (beta S + gamma I)."""
        return weighted_sum(*self, beta, gamma)


class TargetedTerms(NamedTuple):
    """The three terms of `TargetedHETA`, of one shape and in float32.

    Attributes:
        contribution_flow: G, what attention really added on the way to the target; sums to 1 over the context.
        curvature: S, the second-order sensitivity of log P(target), per squared unit of the embeddings.
        target_information: D, by how many nats log P(target) falls without the feature. Negative where the feature
            speaks against the target, which scores count as 0.
    """

    contribution_flow: Tensor
    curvature: Tensor
    target_information: Tensor


class ContributionTerms(NamedTuple):
    """Those with ``flow="contribution"`` alone: the first of `TargetedTerms`, the others of `HETATerms`."""

    contribution_flow: Tensor
    curvature: Tensor
    information: Tensor


class TargetTerms(NamedTuple):
    """Those with ``information="target"`` alone: the last of `TargetedTerms`, the others of `HETATerms`."""

    semantic_flow: Tensor
    curvature: Tensor
    target_information: Tensor


Terms = HETATerms | TargetedTerms | ContributionTerms | TargetTerms

TERMS: tuple[type[Terms], ...] = (HETATerms, TargetedTerms, ContributionTerms, TargetTerms)

_OF_CHOICE: dict[tuple[str, str], type[Terms]] = {
    ("attention", "kl"): HETATerms,
    ("contribution", "target"): TargetedTerms,
    ("contribution", "kl"): ContributionTerms,
    ("attention", "target"): TargetTerms,
    ("published", "kl"): HETATerms,
    ("published", "target"): TargetTerms,
}


def terms_of(options: HETAOptions) -> type[Terms]:
    """The terms that a choice of options has."""
    return _OF_CHOICE[options.flow, options.information]


def fused_with_outputs(terms: Terms, outputs: Terms, options: HETAOptions) -> tuple[Tensor, Tensor]:
    """The scores of the prompt (K, F), as without outputs, and of the outputs (K, K) in the same unit.

    A product makes shares of all sources together at first, of which those of the prompt have the sum of its own.
    """
    alone = fused(terms, options)
    if options.fusion == "product":
        whole = fused(type(terms)(*(torch.cat(pair, -1) for pair in zip(terms, outputs, strict=True))), options)
        prompt, others = whole.split([alone.shape[-1], outputs[0].shape[-1]], -1)
        total = prompt.sum(-1, keepdim=True)
        return alone, torch.where(total > 0, others * alone.sum(-1, keepdim=True) / total.where(total > 0, 1), others)
    if isinstance(options.beta, str):
        gate, curvature, information = outputs
        return alone, balanced_sum(gate, curvature, information, (terms[1], terms[2]))
    return alone, fused(outputs, options)


def fused(terms: Terms, options: HETAOptions) -> Tensor:
    """The score that the terms make."""
    gate, curvature, information = terms
    if options.fusion == "product":
        return product(gate, curvature, information)
    if isinstance(options.beta, str):
        return balanced_sum(gate, curvature, information)
    beta, gamma = (0.5 if weight is None else weight for weight in (options.beta, options.gamma))
    return weighted_sum(gate, curvature, information, beta, gamma)
