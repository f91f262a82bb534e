"""Functions that give what others give, and hand down another gradient."""

from typing import Any

import torch
from torch import Tensor


class _Scaled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        return gradient * ctx.factor, None


class _Secant(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor) -> Tensor:
        ctx.save_for_backward(x, y)
        return y.view_as(y)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        x, y = ctx.saved_tensors
        zero = x == 0
        return (gradient * torch.where(zero, 0, y / torch.where(zero, 1, x))).to(x.dtype), None


class _Normed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, factors: Tensor, centred: int) -> Tensor:
        ctx.save_for_backward(factors)
        ctx.centred, ctx.dtype = centred, x.dtype
        return y.view_as(y)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        (factors,) = ctx.saved_tensors
        below = gradient * factors
        if ctx.centred:
            below = below - below.mean(tuple(range(-ctx.centred, 0)), keepdim=True)
        return below.to(ctx.dtype), None, None, None


def scaled(x: Tensor, factor: float) -> Tensor:
    """x, whose gradient is ``factor`` times its own."""
    return _Scaled.apply(x, factor)


def secant(x: Tensor, y: Tensor) -> Tensor:
    """y, which was made of x element by element, as if it were (y / x) x with y / x held; 0 where x is 0.

    For what is 0 at 0 the factor is bounded, so that no epsilon is needed.
    """
    return _Secant.apply(x, y)


def normed(x: Tensor, y: Tensor, factors: Tensor, centred: int = 0) -> Tensor:
    """y, which a norm made of x, as if it were ``factors`` (x - mean(x)) with the factors held.

    Args:
        x: what is normalised.
        y: what the norm made of it.
        factors: the weight of each element over the size of its row.
        centred: over how many of the last dimensions a mean is taken off; 0 for none.
    """
    return _Normed.apply(x, y, factors, centred)
