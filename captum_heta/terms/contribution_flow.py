"""G, what really arrives: how much of what the target position is made of came from each token's values."""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from captum_heta.models import AttentionLayer, Layer, MixingLayer
from captum_heta.terms.proximity import Proximity, proximity
from captum_heta.terms.semantic_flow import beginning

# Queries at once, an eighth of the text within these bounds: (queries, keys) of one head at a time, and (queries, d).
# The parts of keys are made anew for each; keys behind a query are looked at in vain. With 8,192 keys they take 160 MB.
_FEWEST, _MOST = 256, 512


@torch.no_grad()
def contribution_flow(
    layers: Sequence[Layer], positions: Tensor, together: Tensor | None = None, threshold: float = 0.0
) -> Tensor:
    """Contributions to the residual stream, rolled out from target positions.

    Attention of layer l makes y_t = x_t + sum over i, h of c_ti^h of the residual stream x_t, with
    c_ti^h = A_ti^h V_i^h W_O^h. What one of these parts has in the sum is its proximity
    p(c) = max(0, norm1(y_t) - norm1(y_t - c)) (Ferrando & Voita 2024, arXiv 2403.00824). Position t hands
    E_ti = sum_h p(c_ti^h) / Z on to i and keeps R_t = p(x_t) / Z, Z their sum. From rho = one-hot(position),
    rho <- rho E + rho R goes from the last layer down. A token that much attention goes to and whose values are short,
    as an attention sink, gets little.

    Where a norm stands before the sum, or factors, each part is scaled as the sum is; gates between A V and W_O are
    part of c_ti. Biases are in y_t and are no part of any token. In a layer without attention, c_ti is what the output
    of its modules has at t of token i (`captum_heta.models.MixingLayer`).

    Args:
        layers: those that carry tokens on, each with its `captum_heta.models.Residual`, the first layer first.
        positions: (K,), the target positions.
        together: (K,), their weights in one row for all of them; None for a row each.
        threshold: only the edges E_ti and R_t above it are followed, over their sum: the information flow routes. Where
            none is, all stays with the token.

    Returns:
        (K, T), or (1, T) of all ``together``; float32 or better: non-negative, each row sums to 1 and is 0 after its
        target position.

    Raises:
        ValueError: if it is not finite.
    """
    rho = beginning(positions, layers[-1].length, together)
    for layer in reversed(layers):
        rho = _below(layer, rho, threshold)
    if not torch.isfinite(rho).all():
        raise ValueError(
            "What arrives at the target is not finite: check the embeddings and weights of the model for NaN and "
            "infinities, or load it in float32."
        )
    return rho


def _below(layer: Layer, rho: Tensor, threshold: float) -> Tensor:
    """Rho E + rho R of one layer, (K, T)."""
    if isinstance(layer, MixingLayer):
        edges, kept = _of_mixers(layer)
        passed, stays = _handed_on(rho.to(edges.dtype), edges, kept, threshold)
        return passed + stays
    sums = _Sums(layer)
    rho = rho.to(sums.dtype)
    below = torch.zeros_like(rho)
    for start, weights in layer.weights():
        stop = start + weights.shape[1]
        rows = rho[:, start:stop].sum(0).nonzero()[:, 0]  # the queries that something goes through
        for some in rows.split(min(max(_FEWEST, layer.length // 8), _MOST)):
            edges, kept = sums.proximities(start + some, weights[:, some.to(weights.device)])
            passed, stays = _handed_on(rho[:, start + some], edges, kept, threshold)
            below[:, : edges.shape[-1]] += passed
            below[:, start + some] += stays
    return below


def _handed_on(rho: Tensor, edges: Tensor, kept: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    """What queries hand on to their keys, (K, keys), and what they keep, (K, Q).

    Args:
        rho: (K, Q).
        edges: (Q, keys), of each key's parts.
        kept: (Q,), of the stream.
        threshold: of their share in the sum of both.
    """
    edges, kept = edges.to(rho.device), kept.to(rho.device)
    least = threshold * (edges.sum(-1) + kept)
    # NaN is not below anything: it stays, and is told of in the end
    edges, kept = torch.where(edges <= least[:, None], 0, edges), torch.where(kept <= least, 0, kept)
    total = edges.sum(-1) + kept
    stuck = total == 0  # where nothing has a part in the sum, all of it stays
    kept, total = torch.where(stuck, 1, kept), torch.where(stuck, 1, total)
    through = rho / total
    return through @ edges, through * kept


def _of_mixers(layer: MixingLayer) -> tuple[Tensor, Tensor]:
    """P of what each token gives to each position, (T, T), and of the stream itself, (T,)."""
    residual = layer.residual
    assert residual is not None
    made = layer.gathered()
    shares = torch.tensor(layer.shares).to(made)
    written, factors = residual.written((shares[:, None, None] * made).sum(0))
    stream = residual.kept * residual.stream.to(made)
    y = stream + written

    def near(share: float, parts: Tensor, begin: int) -> Tensor:
        return proximity(y[begin:], factors[begin:] * residual.part(share * parts))

    edges = [layer.measured(number, partial(near, share)) for number, share in enumerate(layer.shares)]
    return torch.stack(edges).sum(0), proximity(y, stream)


class _Sums:
    """The sums y of one layer, and what their parts have in them."""

    def __init__(self, layer: AttentionLayer) -> None:
        assert layer.residual is not None
        self.residual = layer.residual
        self.mixers = layer.mixers()
        self.device, self.dtype = self.mixers.device, self.mixers.dtype
        self.values = layer.values.to(self.device, self.dtype)
        self.shared = len(self.mixers) // len(self.values)
        self.bias = layer.bias().to(self.device, self.dtype)
        self.stream = self.residual.stream.to(self.device)
        self.gates = None if layer.gates is None else layer.gates.to(self.device, self.dtype)

    def proximities(self, rows: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """P of what each key gives to some queries, (Q, keys), and of the stream itself, (Q,).

        Args:
            rows: (Q,), the queries' positions.
            weights: (H, Q, keys).
        """
        weights, rows = weights.to(self.device, self.dtype), rows.to(self.device)
        keys = weights.shape[-1]
        gathered = self.bias + sum(
            self._gated(weights[h] @ self.values[h // self.shared, :keys], rows, h) @ mixer
            for h, mixer in enumerate(self.mixers)
        )
        written, factors = self.residual.written(gathered)
        stream = self.residual.kept * self.stream[rows].to(self.dtype)
        y = stream + written
        near = Proximity(y)
        edges = weights.new_zeros(len(rows), keys)
        for h, mixer in enumerate(self.mixers):
            values = self.values[h // self.shared, :keys]
            if self.gates is None:
                edges += near.of_scaled(factors * weights[h], values, self.residual.part(mixer))
            else:
                edges += self._through_gates(y, factors * weights[h], self.gates[rows, h], values, mixer)
        return edges, near.of_own(stream)

    def _gated(self, gathered: Tensor, rows: Tensor, head: int) -> Tensor:
        return gathered if self.gates is None else self.gates[rows, head] * gathered

    def _through_gates(self, y: Tensor, weights: Tensor, gates: Tensor, values: Tensor, mixer: Tensor) -> Tensor:
        """P of a head's parts, (Q, keys), whose directions differ between queries."""
        rows = []
        for sums, weight, gate in zip(y, weights, gates, strict=True):
            rows.append(proximity(sums, weight[:, None] * self.residual.part((gate * values) @ mixer)))
        return torch.stack(rows)
