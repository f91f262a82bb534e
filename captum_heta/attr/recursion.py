"""What an output takes from the prompt through the outputs before it."""

import torch
from torch import Tensor


def parts_of(scores: Tensor, earlier: Tensor) -> tuple[Tensor, Tensor]:
    """Scores of prompt (K, F) and of earlier outputs (K, K) over the sum of both, float64; rows of zeros stay so.

    Negative scores count as 0: what speaks against an output is no place that it comes from.
    """
    whole = torch.cat([scores, earlier.tril(-1)], -1).double().clamp(min=0)
    whole = whole / whole.amax(-1, keepdim=True).clamp(min=torch.finfo(whole.dtype).tiny)
    total = whole.sum(-1, keepdim=True)
    whole = whole / total.where(total > 0, 1)
    return whole[:, : scores.shape[-1]], whole[:, scores.shape[-1] :]


def through(direct: Tensor, earlier: Tensor) -> Tensor:
    """R = A + B R = (1 - B)^-1 A: what each output takes from the prompt, directly and through those before it.

    With B strictly lower triangular it is the sum over all paths, which is finite (the recursion of arXiv 2512.15663).
    A row sums to 1 if it and all that it goes through have scores.

    Args:
        direct: A, (K, F), non-negative.
        earlier: B, (K, K), non-negative, 0 on the diagonal and above it.
    """
    itself = torch.eye(len(earlier), dtype=earlier.dtype, device=earlier.device)
    return torch.linalg.solve_triangular(itself - earlier, direct, upper=False, unitriangular=True)
