"""Derivatives of a chain of stages, with the graph of one stage in memory at a time."""

from collections.abc import Sequence

import torch
from torch import Tensor

from captum_heta.models import Stage
from captum_heta.terms.curvature.operators import Operator, hessian


class Chain:
    """Stages one after the other, and the states between them. A stage's graph is made when it is needed, and dropped.

    Args:
        stages: each from the state below it to its own; none for a function whose graph is kept whole.
        x: (m, d), the state below the first.
        batched: differentiate a batch of vectors at once; otherwise one after the other, which fused kernels need,
            and where there are many tokens is no slower.

    Attributes:
        top: the state above the last, which requires a gradient.
    """

    def __init__(self, stages: Sequence[Stage], x: Tensor, batched: bool = True) -> None:
        self.stages, self.batched = list(stages), batched
        self.states = [x.detach()]
        with torch.no_grad():
            for stage in self.stages:
                self.states.append(stage(self.states[-1]))
        self.top = self.states[-1].detach().requires_grad_()

    def pushed(self, vectors: Tensor) -> Tensor:
        """Changes (P, m, d) of x to those of the top: products of the chain's Jacobian."""
        for stage, state in zip(self.stages, self.states, strict=False):
            vectors = _pushed(stage, state, vectors)
        return vectors

    def pulled_back(self, changes: Tensor) -> Tensor:
        """Gradients (P, ...) at the top to those at x: products of the chain's transposed Jacobian."""
        for stage, state in zip(reversed(self.stages), reversed(self.states[:-1]), strict=True):
            changes = _pulled_back(stage, state, changes, self.batched)
        return changes

    def sandwiched(self, operator: Operator) -> Operator:
        """J^T F J on x for an operator F on the top, J the chain's Jacobian."""
        return lambda vectors: self.pulled_back(operator(self.pushed(vectors)))

    def hessian(self, last: Stage) -> Operator:
        """The Hessian of the scalar ``last`` of the chain.

        A product goes up the chain, where each stage turns a change of its gradient's input into one of its gradient
        (by differentiating its own vector-Jacobian product), and down again, where it turns a change of the gradient
        into one of what the stage below hands on. Every stage's graph is made anew on either way, for a batch of
        products: five passes more for a batch, and half as much again for a product.
        """
        with torch.enable_grad():
            value = last(self.top)
            above = hessian(value, self.top)
        if not self.stages:
            return above
        gradients = list(torch.autograd.grad(value, self.top, retain_graph=True, materialize_grads=True))
        for stage, state in zip(reversed(self.stages[1:]), reversed(self.states[1:-1]), strict=True):
            gradients.append(_pulled_back(stage, state, gradients[-1][None])[0])
        gradients.reverse()

        def product(vectors: Tensor) -> Tensor:
            curved = []
            for stage, state, gradient in zip(self.stages, self.states, gradients, strict=False):
                own, vectors = _curved(stage, state, gradient, vectors)
                curved.append(own)
            change = above(vectors)
            for stage, state, own in zip(
                reversed(self.stages), reversed(self.states[:-1]), reversed(curved), strict=True
            ):
                change = own + _pulled_back(stage, state, change)
            return change

        return product


def _pulled_back(stage: Stage, state: Tensor, changes: Tensor, batched: bool = True) -> Tensor:
    """(P, ...) changes of a stage's gradient, times its transposed Jacobian."""
    with torch.enable_grad():
        leaf = state.detach().requires_grad_()
        value = stage(leaf)
        if batched or not value.requires_grad:
            return _batched(value, (leaf,), changes)[0]
        return torch.stack([_gradient(value, leaf, change) for change in changes])


def _pushed(stage: Stage, state: Tensor, vectors: Tensor) -> Tensor:
    """Directions (P, ...) of a stage's state, times its Jacobian."""
    with torch.enable_grad():
        leaf = state.detach().requires_grad_()
        value = stage(leaf)
        above = torch.zeros_like(value, requires_grad=True)
        # linear in `above`: its derivative there is the Jacobian
        (below,) = torch.autograd.grad(value, leaf, above, create_graph=True, materialize_grads=True)
        return _batched(below, (above,), vectors)[0]


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


def _gradient(value: Tensor, x: Tensor, change: Tensor) -> Tensor:
    (found,) = torch.autograd.grad(value, x, change, retain_graph=True, materialize_grads=True)
    return found
