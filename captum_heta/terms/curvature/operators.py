"""Matrices known by their products with vectors."""

from collections.abc import Callable

import torch
from torch import Tensor

# (P, m, d) to (P, m, d): P vectors, each times the same symmetric (m d, m d) matrix.
Operator = Callable[[Tensor], Tensor]


def hessian(value: Tensor, x: Tensor) -> Operator:
    """The Hessian of the scalar ``value`` with respect to ``x`` (m, d), on which it was computed.

    One graph of the gradient serves every product; products are batched over their vectors.
    """
    (gradient,) = torch.autograd.grad(value, x, create_graph=True, materialize_grads=True)
    if not gradient.requires_grad:  # linear in x
        return torch.zeros_like
    return lambda vectors: torch.autograd.grad(
        gradient, x, grad_outputs=vectors, is_grads_batched=True, retain_graph=True, materialize_grads=True
    )[0]


def jacobian_transposed(values: Tensor, x: Tensor) -> Callable[[Tensor], Tensor]:
    """(P, V) to (P, m, d): products of the transposed Jacobian of ``values`` (V,) with respect to ``x`` (m, d)."""
    return lambda vectors: torch.autograd.grad(
        values, x, grad_outputs=vectors, is_grads_batched=True, retain_graph=True
    )[0]
