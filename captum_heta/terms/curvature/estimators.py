"""S from any operator: mean over Rademacher probes r of norm1(P_i H P_i r)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from captum_heta.models import Batch
from captum_heta.terms.curvature.operators import CHEAPER, Operator


def exact_block_norms(operator: Operator, blocks: Tensor, probes: Tensor, batch: Batch) -> Tensor:
    """One product per block and probe.

    Args:
        operator: H, on vectors of shape (m, d).
        blocks: (number of blocks, m) bool, the rows that P_i keeps; it zeroes the others.
        probes: (R, m, d).
        batch: products at a time.

    Returns:
        (number of blocks,), float32 or better.
    """

    def norms(pairs: Tensor) -> Tensor:
        kept = blocks[pairs // len(probes)]
        products = operator(probes[pairs % len(probes)] * kept[..., None])
        dtype = torch.promote_types(products.dtype, torch.float32)
        return (products.abs().sum(-1, dtype=dtype) * kept).sum(-1)

    pairs = torch.arange(len(blocks) * len(probes), device=probes.device)
    return torch.cat(batch.run(pairs, norms, CHEAPER)).unflatten(0, (len(blocks), len(probes))).mean(1)


def factored_block_norms(factors: Tensor, weights: Tensor, blocks: Tensor, probes: Tensor) -> Tensor:
    """The same for H = sum_k weights[k] factors[k] factors[k]^T, known by its factors; no product is needed.

    Args:
        factors: (number of factors, m, d).
        weights: (number of factors,).
        blocks: (number of blocks, m) bool.
        probes: (R, m, d).

    Returns:
        (number of blocks,), float32 or better.
    """
    dtype = torch.promote_types(factors.dtype, torch.float32)
    factors, probes = factors.to(dtype), probes.to(dtype)
    norms = []
    for kept in blocks:
        u, r = factors[:, kept].flatten(1), probes[:, kept].flatten(1)
        norms.append((((r @ u.T) * weights) @ u).abs().sum(-1).mean())
    return torch.stack(norms)


def draw_probes(groups: Sequence[Sequence[int]], n_samples: int, embeds: Tensor, generator: torch.Generator) -> Tensor:
    """Signs for the tokens of disjoint groups, drawn group by group; (n_samples, m, d), tokens ascending.

    Drawn in parts or at once, the same generator gives the same signs.
    """
    drawn: dict[int, Tensor] = {}
    for group in groups:
        signs = 2 * torch.randint(2, (len(group), n_samples, embeds.shape[-1]), generator=generator, device="cpu") - 1
        drawn.update(zip(group, signs.to(embeds.device, embeds.dtype), strict=True))  # CPU draws: devices agree
    return torch.stack([drawn[token] for token in sorted(drawn)], dim=1)
