"""M, the causal gate of HETA: how much of what the target position is made of came from each token."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from captum_heta.models import AttentionLayer, Layer, MixingLayer


@dataclass(frozen=True, eq=False)
class Followed:
    """What one layer hands on of a rho, each (K, T).

    Attributes:
        sent: the mean over heads of Phi_h, what its keys are sent.
        carried: sum_h Phi_h(i) norm1(V_i^h W_O^h), how much they carry away; None where it was not asked for.
        below: (rho + sent) / 2, the rho of the layer below.
    """

    sent: Tensor
    carried: Tensor | None
    below: Tensor


def rollout(
    layers: Sequence[Layer], positions: Tensor, together: Tensor | None = None, *, carried: bool = True
) -> Iterator[Followed]:
    """Attention followed down from target positions, so that only paths that end there count.

    Starts from rho = one-hot(position). In each layer, from the last to the first, head h sends Phi_h = rho A^h, and
    rho <- (rho + mean_h Phi_h) / 2 goes on to the layer below; the half that stays is the residual stream
    (Abnar & Zuidema 2020, arXiv 2005.00928).

    A layer without attention has parts c_ti in its place, what position t has of token i
    (`captum_heta.models.MixingLayer`): it carries norm1(c_ti), as a head carries norm1(A_ti V_i W_O), and sends rho
    along them over their sum.

    Args:
        layers: those that carry tokens on, the first layer first.
        positions: (K,), the target positions.
        together: (K,), start from all of them at once, with so large parts of one.
        carried: whether to say what is carried too, which costs more than where it goes.

    Yields:
        What each layer hands on, from the last to the first; of one row where they are ``together``.
    """
    rho = beginning(positions, layers[-1].length, together)
    for layer in reversed(layers):
        if isinstance(layer, AttentionLayer):
            sent, weight = _through_attention(layer, rho, carried)
        else:
            sent, weight = _through(layer, rho)
        rho = (rho.to(sent) + sent) / 2
        yield Followed(sent, weight if carried else None, rho)


def _through_attention(layer: AttentionLayer, rho: Tensor, carried: bool) -> tuple[Tensor, Tensor]:
    heads = []
    weight = torch.zeros_like(rho)
    for start, weights in layer.weights():
        precise = torch.promote_types(weights.dtype, torch.float32)
        weights, rho = weights.to(rho.device, precise), rho.to(precise)
        some = rho[:, start : start + weights.shape[1]]
        part = torch.einsum("kt,hts->khs", some, weights)
        heads.append(torch.nn.functional.pad(part, (0, layer.length - part.shape[-1])))
        if carried and layer.gates is not None:
            weight = weight + _carried_through_gates(layer, start, some, weights)
    phi = torch.stack(heads).sum(0)
    if carried and layer.gates is None:
        weight = torch.einsum("khs,hs->ks", phi, layer.value_norms().to(phi.device, phi.dtype))
    return phi.mean(1), weight


def _carried_through_gates(layer: AttentionLayer, start: int, rho: Tensor, weights: Tensor) -> Tensor:
    """sum_t,h rho_t A_ti^h norm1((gates_t^h V_i^h) W_O^h), (K, T): gates are of the position that gathers."""
    assert layer.gates is not None
    mixers = layer.mixers()
    values = layer.values.to(mixers.device, mixers.dtype)
    gates = layer.gates.to(mixers.device, mixers.dtype)
    shared, keys = len(mixers) // len(values), weights.shape[-1]
    found = torch.zeros(len(rho), layer.length, dtype=mixers.dtype, device=mixers.device)
    for t in rho.sum(0).nonzero()[:, 0].tolist():
        for h, mixer in enumerate(mixers):
            norms = ((gates[start + t, h] * values[h // shared, :keys]) @ mixer).abs().sum(-1)
            found[:, :keys] += rho[:, t, None].to(found) * (weights[h, t].to(found) * norms)
    return found.to(rho.device, rho.dtype)


def _through(layer: MixingLayer, rho: Tensor) -> tuple[Tensor, Tensor]:
    sent, carried = [], []
    for number in range(len(layer.mixers)):
        norms = layer.measured(number, lambda parts, begin: parts.abs().sum(-1))
        rho = rho.to(norms.dtype)
        carried.append(rho @ norms.to(rho.device))
        itself = torch.eye(len(norms), dtype=norms.dtype, device=norms.device)
        totals = norms.sum(-1, keepdim=True)
        # where nothing comes from anywhere, all of it stays
        shares = torch.where(totals > 0, norms / totals.where(totals > 0, 1), itself)
        sent.append(rho @ shares.to(rho.device))
    return torch.stack(sent).mean(0), torch.stack(carried).sum(0)


def beginning(positions: Tensor, length: int, together: Tensor | None) -> Tensor:
    """The rho that a rollout from positions (K,) starts with, (K, T); or (1, T), parts of one by weights (K,)."""
    rho = torch.nn.functional.one_hot(positions, length).float()
    if together is None:
        return rho
    weights = together.to(rho)
    return (weights / weights.sum())[None] @ rho


def semantic_flow(layers: Sequence[Layer], positions: Tensor, together: Tensor | None = None) -> Tensor:
    """M[i] = (1/Z) sum_{l,h} Phi_lh(i -> target) norm1(V_i^lh W_O^lh) (Pramanik et al. 2026, arXiv 2604.13258).

    Layers without attention, and gates between A V and W_O, are followed as `rollout` says.

    Args:
        layers: those that carry tokens on, the first layer first.
        positions: (K,), the target positions.
        together: (K,), their weights in one row for all of them; None for a row each.

    Returns:
        (K, T), or (1, T) of all ``together``; float32 or better: non-negative, each row sums to 1 and is 0 after its
        target position.

    Raises:
        ValueError: if no layer carries anything to a target position, or something that is not finite.
    """
    steps = rollout(layers, positions, together)
    return over_its_sum(torch.stack([step.carried for step in steps if step.carried is not None]).sum(0))


def over_its_sum(flow: Tensor) -> Tensor:
    """A flow (K, T) with rows of sum 1.

    Raises:
        ValueError: if nothing flows to a target position, or something that is not finite.
    """
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


def attention_rollout(layers: Sequence[Layer], positions: Tensor) -> Tensor:
    """Rows ``positions`` of the product over layers of (mean over heads of A + 1) / 2 (Abnar & Zuidema 2020).

    Args:
        layers: those that carry tokens on, the first layer first.
        positions: (K,), the target positions.

    Returns:
        (K, T), float32 or better: non-negative, each row sums to 1.
    """
    *_, last = rollout(layers, positions, carried=False)
    return last.below


def last_attention(layers: Sequence[Layer], positions: Tensor) -> Tensor:
    """Rows ``positions`` of the last layer's attention, mean over heads; (K, T), each row sums to 1."""
    return next(rollout(layers, positions, carried=False)).sent
