"""M as the code that HETA's authors published computes it, for those who compare with figures made with it."""

from collections.abc import Sequence

import torch
from torch import Tensor

from captum_heta.models import AttentionLayer, Layer
from captum_heta.terms.semantic_flow import beginning, over_its_sum


@torch.no_grad()
def published_flow(layers: Sequence[Layer], positions: Tensor, together: Tensor | None = None) -> Tensor:
    """M[i] = (1/Z) sum_{l,h} Phi_lh(i) norm1(x_i^l W_V^lh W_O^lh), each head followed by itself from the bottom.

    With B_lh = (A_lh + 1) / 2, rows over their sum, Phi_lh is row ``target`` of B_lh B_(l-1)h ... B_1h: head h of a
    layer reads from head h of the layer below and from no other, and what leaves the layers above l is not followed.
    Half of each factor stays at the target, so that the target position has much, often the most. x^l are the hidden
    states that enter layer l, without its norm and without the bias of values. Where query heads share values, that
    code cuts W_V and W_O into pieces that are not the model's heads; where it knows no such weights by name, all norms
    are 1 (`captum_heta.models.published`).

    What the paper says, and this package does by default, is `captum_heta.terms.semantic_flow`.

    Args:
        layers: all of the model, the first one first, traced with ``published``.
        positions: (K,), the target positions.
        together: (K,), their weights in one row for all of them; that code explains one at a time. None for a row each.

    Returns:
        (K, T), or (1, T) of all ``together``; float32 or better: non-negative, each row sums to 1 and is 0 after its
        target position.

    Raises:
        ValueError: if nothing flows to a target position, where that code gives each token the same; or something that
            is not finite.
        TypeError: if layers differ in the number of their heads.
    """
    start = beginning(positions, layers[-1].length, together)
    rows: Tensor | None = None  # (H, K of each layer so far, T): what is followed from it, down to where we are
    norms: list[Tensor] = []
    for layer in reversed(layers):
        assert isinstance(layer, AttentionLayer)
        assert layer.published is not None
        rows = _below(layer, rows, start)
        norms.append(layer.published.norms(len(rows)).to(rows))
    assert rows is not None
    phi = rows.unflatten(1, (len(layers), len(start)))
    return over_its_sum(torch.einsum("hlki,lhi->ki", phi, torch.stack(norms)))


def _below(layer: AttentionLayer, rows: Tensor | None, start: Tensor) -> Tensor:
    """Each head's rows (H, R, T), and ``start`` (K, T) behind them, times its B of one layer, (H, R + K, T)."""
    found: Tensor | None = None
    for begin, weights in layer.weights():
        weights = weights.to(start.device, torch.promote_types(weights.dtype, torch.float32))
        if found is None:
            rows = _with(rows, start.to(weights), len(weights))
            found = torch.zeros_like(rows)
        assert rows is not None
        queries = slice(begin, begin + weights.shape[1])
        # (A + 1) / 2 over the sum of its row, which is less than 1 where a sink takes some
        through = rows[..., queries] / (weights.sum(-1)[:, None] + 1)
        found[..., : weights.shape[-1]] += through @ weights
        found[..., queries] += through
    assert found is not None
    return found


def _with(rows: Tensor | None, start: Tensor, heads: int) -> Tensor:
    own = start.expand(heads, *start.shape)
    if rows is None:
        return own
    if len(rows) != heads:
        raise TypeError(
            f"flow='published' follows each head through all layers, and one has {heads} heads, the next {len(rows)}: "
            "take flow='attention'."
        )
    return torch.cat([rows.to(own), own], dim=1)
