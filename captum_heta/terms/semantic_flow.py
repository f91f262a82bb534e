"""M, the causal gate of HETA: how much of what the target position is made of came from each token."""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from captum_heta.models import AttentionLayer


def rollout(
    layers: Iterable[AttentionLayer], positions: Tensor, joint: bool = False
) -> Iterator[tuple[AttentionLayer, Tensor, Tensor]]:
    """Attention followed down from target positions, so that only paths that end there count.

    Starts from rho = one-hot(position). In each layer, from the last to the first, head h sends Phi_h = rho A^h, and
    rho <- (rho + mean_h Phi_h) / 2 goes on to the layer below; the half that stays is the residual stream
    (Abnar & Zuidema 2020, arXiv 2005.00928).

    Args:
        layers: the attention of each layer, the first layer first.
        positions: (K,), the target positions.
        joint: start from all of them at once, with equal parts of one.

    Yields:
        Each layer, from the last to the first, with its Phi (K, H, T) and the rho (K, T) below it; 1 for K if
        ``joint``.
    """
    layers = list(layers)
    length = layers[-1].values.shape[1]
    rho = beginning(positions, length, joint)
    for layer in reversed(layers):
        phi = rho.new_zeros(len(rho), 1, length)
        for start, weights in layer.weights():
            precise = torch.promote_types(weights.dtype, torch.float32)
            weights, rho = weights.to(positions.device, precise), rho.to(precise)
            part = torch.einsum("kt,hts->khs", rho[:, start : start + weights.shape[1]], weights)
            phi = phi + torch.nn.functional.pad(part, (0, length - part.shape[-1]))
        rho = (rho + phi.mean(1)) / 2
        yield layer, phi, rho


def beginning(positions: Tensor, length: int, joint: bool) -> Tensor:
    """The rho that a rollout from positions (K,) starts with, (K, T); if ``joint``, equal parts of one, (1, T)."""
    rho = torch.nn.functional.one_hot(positions, length).float()
    return rho.mean(0, keepdim=True) if joint else rho


def semantic_flow(layers: Iterable[AttentionLayer], positions: Tensor, joint: bool = False) -> Tensor:
    """M[i] = (1/Z) sum_{l,h} Phi_lh(i -> target) norm1(V_i^lh W_O^lh) (Pramanik et al. 2026, arXiv 2604.13258).

    Args:
        layers: the attention of each layer, the first layer first.
        positions: (K,), the target positions.
        joint: one row for all of them together.

    Returns:
        (K, T), or (1, T) if ``joint``; float32 or better: non-negative, each row sums to 1 and is 0 after its target
        position.

    Raises:
        ValueError: if no attention head carries anything to a target position, or something that is not finite.
    """
    parts = [
        torch.einsum("khs,hs->ks", phi, layer.value_norms().to(phi.device, phi.dtype))
        for layer, phi, _ in rollout(layers, positions, joint)
    ]
    flow = torch.stack(parts).sum(0)
    total = flow.sum(-1, keepdim=True)
    if not torch.isfinite(total).all():
        raise ValueError(
            "What attention carries to the target is not finite: check the embeddings and weights of the model for NaN "
            "and infinities, or load it in float32."
        )
    if not (total > 0).all():
        raise ValueError(
            "No attention head carries anything to the target: all its values or output projections are zero."
        )
    return flow / total


def attention_rollout(layers: Iterable[AttentionLayer], positions: Tensor) -> Tensor:
    """Rows ``positions`` of the product over layers of (mean over heads of A + 1) / 2 (Abnar & Zuidema 2020).

    Args:
        layers: the attention of each layer, the first layer first.
        positions: (K,), the target positions.

    Returns:
        (K, T), float32 or better: non-negative, each row sums to 1.
    """
    *_, (_, _, rho) = rollout(layers, positions)
    return rho


def last_attention(layers: Iterable[AttentionLayer], positions: Tensor) -> Tensor:
    """Rows ``positions`` of the last layer's attention, mean over heads; (K, T), each row sums to 1."""
    _, phi, _ = next(rollout(layers, positions))
    return phi.mean(1)
