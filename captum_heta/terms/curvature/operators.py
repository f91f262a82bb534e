"""Matrices known by their products with vectors."""

from collections.abc import Callable

import torch
from torch import Tensor

# (P, m, d) to (P, m, d): P vectors, each times the same symmetric (m d, m d) matrix.
Operator = Callable[[Tensor], Tensor]

# What to advise where memory runs out for a single product: gradients alone take less than their derivatives.
CHEAPER = "curvature='fisher'"


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


def gauss_newton(log_probs: Tensor, x: Tensor, weights: Tensor | None = None) -> Operator:
    """J^T diag(p) J, J the Jacobian of ``log_probs`` (...) with respect to ``x`` (m, d), p their probabilities.

    In terms of the logits' Jacobian this is J^T (diag(p) - p p^T) J: for a softmax the Gauss-Newton matrix of the
    log-loss and the Fisher matrix are one (Martens 2020, arXiv 1412.1193). J v comes from differentiating J^T u,
    which is linear in u. The rows of several predictions (K, V) may have weights (K,), by which their matrices count.
    """
    p = log_probs.detach().exp()
    if weights is not None:
        p = p * weights.to(p)[:, None]
    u = torch.zeros_like(log_probs, requires_grad=True)
    (backward,) = torch.autograd.grad(log_probs, x, u, create_graph=True, materialize_grads=True)
    transposed = jacobian_transposed(log_probs, x)

    def product(vectors: Tensor) -> Tensor:
        (forward,) = torch.autograd.grad(backward, u, vectors, is_grads_batched=True, retain_graph=True)
        return transposed(p * forward)

    return product


def jacobian_transposed(values: Tensor, x: Tensor) -> Callable[[Tensor], Tensor]:
    """(P, ...) to (P, m, d): products of the transposed Jacobian of ``values`` (...) with respect to ``x`` (m, d)."""
    return lambda vectors: torch.autograd.grad(
        values, x, grad_outputs=vectors, is_grads_batched=True, retain_graph=True
    )[0]
