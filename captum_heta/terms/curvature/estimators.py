"""S from any operator: mean over Rademacher probes r of norm1(P_i H P_i r)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from captum_heta.models import Batch
from captum_heta.terms.curvature.operators import CHEAPER, Operator


@dataclass(frozen=True, eq=False)
class Factors:
    """H = sum_k weights[k] vectors[k] vectors[k]^T, with respect to some tokens' embeddings.

    Attributes:
        tokens: (m,), ascending positions.
        vectors: (number of factors, m, d).
        weights: (number of factors,).
        products: how many products or gradients they took.
        omitted: the estimated share of the matrix that they leave out, in [0, 1]: of its trace where that is known,
            else of its squared Frobenius norm.
    """

    tokens: Tensor
    vectors: Tensor
    weights: Tensor
    products: int
    omitted: float = 0.0

    def norms(self, group: Sequence[int], probes: Tensor) -> Tensor:
        """Norm1(P H P r) for the tokens of a feature and probes r (R, tokens, d); (R,), float32 or better."""
        u = self.of_group(group)
        r = probes.flatten(1).to(u)
        return (((r @ u.T) * self.weights.to(u)) @ u).abs().sum(-1)

    def of_group(self, group: Sequence[int]) -> Tensor:
        """P of each vector for the tokens of a feature, (number of factors, tokens d), float32 or better."""
        places = torch.searchsorted(self.tokens, torch.tensor(group, device=self.tokens.device))
        found = self.vectors[:, places.to(self.vectors.device)].flatten(1)
        return found.to(torch.promote_types(found.dtype, torch.float32))


def exact_block_norms(operator: Operator, blocks: Tensor, probes: Tensor, batch: Batch) -> Tensor:
    """One product per block and probe.

    Args:
        operator: H, on vectors of shape (m, d).
        blocks: (number of blocks, m) bool, the rows that P_i keeps; it zeroes the others.
        probes: (R, m, d).
        batch: products at a time.

    Returns:
        (number of blocks, R), float32 or better.
    """

    def norms(pairs: Tensor) -> Tensor:
        kept = blocks[pairs // len(probes)]
        products = operator(probes[pairs % len(probes)] * kept[..., None])
        dtype = torch.promote_types(products.dtype, torch.float32)
        return (products.abs().sum(-1, dtype=dtype) * kept).sum(-1)

    pairs = torch.arange(len(blocks) * len(probes), device=probes.device)
    return torch.cat(batch.run(pairs, norms, CHEAPER)).unflatten(0, (len(blocks), len(probes)))


def mean_and_error(norms: Tensor) -> tuple[Tensor, Tensor]:
    """The mean of R draws (..., R), (...,), and its standard error, NaN for a single draw."""
    count = norms.shape[-1]
    return norms.mean(-1), norms.std(-1) / count**0.5 if count > 1 else torch.full_like(norms[..., 0], torch.nan)


def draw_probes(groups: Sequence[Sequence[int]], n_samples: int, embeds: Tensor, generator: torch.Generator) -> Tensor:
    """Signs for the tokens of disjoint groups, drawn group by group; (n_samples, m, d), tokens ascending.

    Drawn in parts or at once, the same generator gives the same signs.
    """
    drawn: dict[int, Tensor] = {}
    for group in groups:
        drawn.update(zip(group, _signs(group, n_samples, embeds, generator), strict=True))
    return torch.stack([drawn[token] for token in sorted(drawn)], dim=1)


def draws_of_groups(
    groups: Sequence[Sequence[int]], n_samples: int, embeds: Tensor, generator: torch.Generator
) -> Iterator[Tensor]:
    """The same signs, those of one group (n_samples, tokens, d) at a time: many of all would take much memory."""
    for group in groups:
        yield _signs(group, n_samples, embeds, generator).transpose(0, 1)


def _signs(group: Sequence[int], n_samples: int, embeds: Tensor, generator: torch.Generator) -> Tensor:
    signs = 2 * torch.randint(2, (len(group), n_samples, embeds.shape[-1]), generator=generator, device="cpu") - 1
    return signs.to(embeds.device, embeds.dtype)  # CPU draws: devices agree
