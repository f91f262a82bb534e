"""Hessian products of a chain of stages, with the graph of one stage in memory at a time."""

from collections.abc import Sequence

import torch
from torch import Tensor

from captum_heta.models import Stage
from captum_heta.terms.curvature.operators import Operator


def layerwise_hessian(stages: Sequence[Stage], last: Stage, x: Tensor) -> Operator:
    """The Hessian of the scalar ``last`` of ``stages`` of ``x``, as `hessian` gives it.

    What is kept is the state between stages and the gradient there. A product goes up the chain, where each stage
    turns a change of its gradient's input into one of its gradient (by differentiating its own vector-Jacobian
    product), and down again, where it turns a change of the gradient into one of what the stage below hands on. Every
    stage's graph is made anew on either way, for a batch of products: five passes more for a batch, and half as much
    again for a product.

    Args:
        stages: each from the state below it to its own.
        last: from the last state to a scalar; its graph is kept.
        x: (m, d).
    """
    states = [x.detach()]
    with torch.no_grad():
        for stage in stages:
            states.append(stage(states[-1]))
    top = states[-1].detach().requires_grad_()
    with torch.enable_grad():
        (top_gradient,) = torch.autograd.grad(last(top), top, create_graph=True, materialize_grads=True)
    gradients = [top_gradient.detach()]
    for stage, state in zip(reversed(stages), reversed(states[:-1]), strict=True):
        gradients.append(_pulled_back(stage, state, gradients[-1][None])[0])
    gradients.reverse()

    def product(vectors: Tensor) -> Tensor:
        curved = []
        for stage, state, gradient in zip(stages, states, gradients[1:], strict=False):
            own, vectors = _curved(stage, state, gradient, vectors)
            curved.append(own)
        change = _batched(top_gradient, (top,), vectors)[0]
        for stage, state, own in zip(reversed(stages), reversed(states[:-1]), reversed(curved), strict=True):
            change = own + _pulled_back(stage, state, change)
        return change

    return product


def _pulled_back(stage: Stage, state: Tensor, changes: Tensor) -> Tensor:
    """(P, ...) changes of a stage's gradient, times its transposed Jacobian."""
    with torch.enable_grad():
        leaf = state.detach().requires_grad_()
        return _batched(stage(leaf), (leaf,), changes)[0]


def _curved(stage: Stage, state: Tensor, gradient: Tensor, vectors: Tensor) -> tuple[Tensor, ...]:
    """What directions (P, ...) of the gradient below a stage mean for its state and for the gradient above it."""
    with torch.enable_grad():
        leaf, above = state.detach().requires_grad_(), gradient.detach().requires_grad_()
        (below,) = torch.autograd.grad(stage(leaf), leaf, above, create_graph=True, materialize_grads=True)
        return _batched(below, (leaf, above), vectors)


def _batched(values: Tensor, inputs: tuple[Tensor, ...], vectors: Tensor) -> tuple[Tensor, ...]:
    if not values.requires_grad:
        return tuple(value.new_zeros(len(vectors), *value.shape) for value in inputs)
    return torch.autograd.grad(
        values, inputs, vectors, is_grads_batched=True, retain_graph=True, materialize_grads=True
    )
