"""A symmetric matrix from few of its products."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from captum_heta.models import Batch
from captum_heta.terms.curvature.operators import CHEAPER, Operator

# A block of directions at a time. Fewer in a block follow the largest eigenvalues further, more cover more tokens.
BLOCKS = 8
# Where the products leave the directions found by less than this part, there is nothing left to find.
TAIL = 1e-3


class Decomposition(NamedTuple):
    """A symmetric matrix, or most of it.

    Attributes:
        vectors: (k, m, d), orthonormal.
        values: (k,), of either sign.
        products: how many they took.
        omitted: the estimated share of its squared Frobenius norm that is left out, in [0, 1].
    """

    vectors: Tensor
    values: Tensor
    products: int
    omitted: float


def low_rank(
    operator: Operator,
    x: Tensor,
    rank: int,
    generator: torch.Generator,
    batch: Batch,
    settled: Callable[[Tensor, Tensor], bool] = lambda vectors, values: False,
) -> Decomposition:
    """A randomized eigendecomposition of H, indefinite or not, from at most ``rank`` products.

    Directions Q come from a randomized block Krylov space (Musco & Musco 2015, arXiv 1504.05477): random ones first,
    then what the products H Q add. All that the products say of H is kept: H Q Q^T + Q Q^T H - Q Q^T H Q Q^T, which
    leaves out of H only what is orthogonal to Q on both sides. It is exact where the directions span all.

    Args:
        operator: H, on vectors of shape (m, d).
        x: (m, d), of the dtype and on the device that the operator takes.
        rank: directions at most.
        generator: of the first directions.
        batch: products at a time.
        settled: called with the vectors and values after each block; whether they are enough.

    Returns:
        At most twice ``rank`` vectors, in float32 or better. NaN where a product is not finite.
    """
    dtype = torch.promote_types(x.dtype, torch.float32)
    rank = min(rank, x.numel())
    size = -(-rank // BLOCKS)
    basis, images = (torch.empty(0, x.numel(), dtype=dtype, device=x.device) for _ in range(2))
    new = torch.randn(size, x.numel(), generator=generator, dtype=dtype, device="cpu").to(
        x.device
    )  # CPU draws: devices agree
    energies = [images.new_zeros(())]  # squared norms of what is known after each block
    while True:
        new = orthonormal(new[: rank - len(basis)], basis)
        rows = new.view(-1, *x.shape).to(x.dtype)
        products = torch.cat(batch.run(rows, operator, CHEAPER)).flatten(1).to(dtype)
        basis, images = torch.cat([basis, new]), torch.cat([images, products])
        new = products - (products @ basis.T) @ basis
        if not torch.isfinite(images).all():
            nothing = images.new_full((1, *x.shape), torch.nan)  # no number, and not 0 either
            return Decomposition(nothing, images.new_ones(1), len(basis), 0.0)
        vectors, values = _decomposed(basis, images, x.shape)
        energies.append(values.square().sum())
        if len(basis) == rank or new.norm() <= TAIL * images.norm() or settled(vectors, values):
            return Decomposition(vectors, values, len(basis), 0.0 if len(basis) == x.numel() else _left(energies))


def _left(energies: list[Tensor]) -> float:
    """The share of the squared norm that further blocks would add, if their gains fall as those of the last did.

    With a single block nothing is known of that, and half is said to be left.
    """
    gains = torch.stack(energies).diff()
    total = energies[-1]
    if total == 0:
        return 0.0
    if len(gains) == 1:
        return 0.5
    ratio = (gains[-1] / gains[-2].clamp(min=torch.finfo(gains.dtype).tiny)).clamp(0, 0.95)
    left = gains[-1].clamp(min=0) * ratio / (1 - ratio)
    return (left / (total + left)).item()


def orthonormal(new: Tensor, basis: Tensor) -> Tensor:
    """Orthonormal rows (..., s, N) for what ``new`` has beside the orthonormal ``basis`` (..., b, N)."""
    for _ in range(2):  # twice is enough (Giraud et al. 2005), also where rows of `new` depend on each other
        new = torch.linalg.qr((new - (new @ basis.mT) @ basis).mT).Q.mT
    return new


def _decomposed(basis: Tensor, images: Tensor, shape: torch.Size) -> tuple[Tensor, Tensor]:
    """Eigenvectors and eigenvalues of Y^T Q + Q^T Y - Q^T (Y Q^T) Q for rows Q = ``basis`` and Y = ``images``."""
    core = images @ basis.T
    outside = images - core @ basis
    # Y = core Q + outside and outside = R^T V, rows V orthonormal to Q: H is a small matrix in terms of [Q; V]
    beside = orthonormal(outside, basis)
    r = beside @ outside.T
    small = torch.cat([torch.cat([(core + core.T) / 2, r.T], 1), torch.cat([r, torch.zeros_like(r)], 1)])
    values, vectors = torch.linalg.eigh(small)
    kept = values.abs() > torch.finfo(values.dtype).eps * values.abs().max()
    eigenvectors = vectors[:, kept].T @ torch.cat([basis, beside])
    return eigenvectors.view(-1, *shape), values[kept]
