"""A symmetric matrix from few of its products."""

import torch
from torch import Tensor

from captum_heta.models import Batch
from captum_heta.terms.curvature.operators import CHEAPER, Operator

# A block of directions at a time. Fewer in a block follow the largest eigenvalues further, more cover more tokens.
BLOCKS = 8
# Where the products leave the directions found by less than this part, there is nothing left to find.
TAIL = 1e-3


def low_rank(
    operator: Operator, x: Tensor, rank: int, generator: torch.Generator, batch: Batch
) -> tuple[Tensor, Tensor]:
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

    Returns:
        Eigenvectors (k, m, d) and eigenvalues (k,), k at most twice ``rank``, in float32 or better. NaN where a product
        is not finite.
    """
    dtype = torch.promote_types(x.dtype, torch.float32)
    rank = min(rank, x.numel())
    size = -(-rank // BLOCKS)
    basis, images = (torch.empty(0, x.numel(), dtype=dtype, device=x.device) for _ in range(2))
    new = torch.randn(size, x.numel(), generator=generator, dtype=dtype, device="cpu").to(
        x.device
    )  # CPU draws: devices agree
    while True:
        new = _orthonormal(new[: rank - len(basis)], basis)
        rows = new.view(-1, *x.shape).to(x.dtype)
        products = torch.cat(batch.run(rows, operator, CHEAPER)).flatten(1).to(dtype)
        basis, images = torch.cat([basis, new]), torch.cat([images, products])
        new = products - (products @ basis.T) @ basis
        if not torch.isfinite(images).all():
            return images.new_full((1, *x.shape), torch.nan), images.new_ones(1)  # no number, and not 0 either
        if len(basis) == rank or new.norm() <= TAIL * images.norm():
            return _decomposed(basis, images, x.shape)


def _orthonormal(new: Tensor, basis: Tensor) -> Tensor:
    for _ in range(2):  # twice is enough (Giraud et al. 2005), also where rows of `new` depend on each other
        new = torch.linalg.qr((new - (new @ basis.T) @ basis).T).Q.T
    return new


def _decomposed(basis: Tensor, images: Tensor, shape: torch.Size) -> tuple[Tensor, Tensor]:
    """Eigenvectors and eigenvalues of Y^T Q + Q^T Y - Q^T (Y Q^T) Q for rows Q = ``basis`` and Y = ``images``."""
    core = images @ basis.T
    outside = images - core @ basis
    # Y = core Q + outside and outside = R^T V, rows V orthonormal to Q: H is a small matrix in terms of [Q; V]
    beside = _orthonormal(outside, basis)
    r = beside @ outside.T
    small = torch.cat([torch.cat([(core + core.T) / 2, r.T], 1), torch.cat([r, torch.zeros_like(r)], 1)])
    values, vectors = torch.linalg.eigh(small)
    kept = values.abs() > torch.finfo(values.dtype).eps * values.abs().max()
    eigenvectors = vectors[:, kept].T @ torch.cat([basis, beside])
    return eigenvectors.view(-1, *shape), values[kept]
