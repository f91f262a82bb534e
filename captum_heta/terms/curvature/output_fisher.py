"""The Fisher matrix of each prediction at the state from which the head makes it, and few vectors that say most of it.

For log P(t | y) with the state y that enters the head, F = sum_t p_t s_t s_t^T with s_t = d log p_t / dy. It is d x d,
and a product with it is one pass forth and back through the head alone: its eigenvectors cost next to nothing beside a
gradient through the model. Soft caps, scales and biases come with the derivative of the head itself.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from captum_heta.models import Batch
from captum_heta.terms.curvature.low_rank import orthonormal
from captum_heta.terms.curvature.operators import gauss_newton, jacobian_transposed

# Directions are found in so many steps, each with what the matrix makes of those of the step before.
_STEPS = 3
# Random combinations of score vectors that the trace is estimated with, beside the directions found; of many outputs
# together fewer for each.
_SIGNS, _FEWEST_SIGNS = 32, 8


@dataclass(frozen=True, eq=False)
class Chosen:
    """Vectors at the state whose pulled-back squares make the Gauss-Newton matrix, or nearly so.

    Attributes:
        vectors: (R, *shape of the states).
        weights: (R,), of each one's square.
        omitted: the share of the trace that they leave out, in [0, 1]; 0 where random ones stand for the rest.
    """

    vectors: Tensor
    weights: Tensor
    omitted: float


class OutputFisher:
    """F of K predictions.

    With A = diag(sqrt(p)) d log p / dy it is A^T A. From directions B (rows) and their products Y = F B^T follow the
    Nystrom factors L, F ~ L L^T, which are exact where B spans what F has; what they leave out is
    A^T (1 - Q Q^T) A for orthonormal Q, and A^T (1 - Q Q^T) e with random signs e has it as its second moment.

    Args:
        log_probs: (K, V), as a function of ``logits``.
        logits: (..., n, V), what the head multiplied, of whose last K positions each prediction reads its own; no graph
            leads to them.
        weight: (V, d), by which it multiplied the states (..., n, d); None where the logits are the states.
        rank: how many vectors are wanted at most.
        generator: of the first directions and of the signs.
        batch: products at a time.
        weights: (K,), by which the matrix of each prediction counts; None for 1.
    """

    def __init__(
        self,
        log_probs: Tensor,
        logits: Tensor,
        weight: Tensor | None,
        rank: int,
        generator: torch.Generator,
        batch: Batch,
        weights: Tensor | None = None,
    ) -> None:
        self.outputs = len(log_probs)
        self.weight, self.logits = weight, logits.shape
        self.width = logits.shape[-1] if weight is None else weight.shape[-1]
        self.shape = torch.Size([*logits.shape[:-1], self.width])
        self.dtype = logits.dtype
        self.batch, self.generator = batch, generator
        self.precise = torch.promote_types(logits.dtype, torch.float32)
        self.rank = rank
        self._operator = gauss_newton(log_probs, logits, weights)
        self._transposed = jacobian_transposed(log_probs, logits)
        self._roots = log_probs.detach().div(2).exp()
        if weights is not None:
            self._roots = self._roots * weights.to(self._roots).sqrt()[:, None]

    def chosen(self, coverage: float, remainder: int | None) -> Chosen:
        """At most ``rank`` vectors.

        Args:
            coverage: the share of the trace after which there are enough eigenvectors.
            remainder: how many random ones stand for what is left. None: none where the eigenvectors cover that share,
                else half of all.
        """
        sizes, order = self._sizes()
        total = sizes.sum() + self._left
        reached = torch.cumsum(sizes[order], 0) >= coverage * total
        enough = int(reached.nonzero()[0]) + 1 if reached.any() and coverage < 1 else None
        if coverage == 1 and len(order) == self.outputs * self.width:
            enough = len(order)  # all there are, whatever rounding says of their sum
        if remainder is None:
            remainder = 0 if enough is not None and enough <= self.rank else self.rank // 2
        remainder = min(remainder, self.rank)
        places = order[: min(self.rank - remainder, len(order) if enough is None else enough)]
        places = places[sizes[places] > 0]
        vectors = [self._of_state(self._found[0].flatten(0, 1)[places], places)] if len(places) else []
        weights = [sizes.new_ones(len(places))]
        omitted = (1 - sizes[places].sum() / total).clamp(min=0).item() if total > 0 else 0.0
        if remainder:
            vectors.append(self._random(remainder, places))
            weights.append(sizes.new_full((remainder,), 1 / remainder))
            omitted = 0.0
        if not vectors:  # nothing depends on the state
            return Chosen(sizes.new_zeros(1, *self.shape), sizes.new_ones(1), 0.0)
        return Chosen(torch.cat(vectors), torch.cat(weights), omitted)

    def _sizes(self) -> tuple[Tensor, Tensor]:
        """The squares of all factors, by output one after the other, and their order from the largest on."""
        sizes = self._found[0].square().sum(-1).flatten()
        return sizes, sizes.argsort(descending=True, stable=True)

    @cached_property
    def _found(self) -> tuple[Tensor, Tensor]:
        """Nystrom factors f (K, b, d), the largest first, and g (K, b, d): f = A^T q, and q . e = g . A^T e.

        Where f is sqrt(eigenvalue) times an eigenvector, g is the eigenvector over sqrt(eigenvalue).
        """
        # as many directions of all outputs together as of one
        directions = min(self.width, max(_STEPS, -(-2 * self.rank // self.outputs)))
        size = -(-directions // _STEPS)
        basis = self._first(size)
        images = self._times(basis)
        for _ in range(_STEPS - 1):
            new = orthonormal(images[:, -size:], basis)
            new = new[:, : self.width - basis.shape[1]]
            basis, images = torch.cat([basis, new], 1), torch.cat([images, self._times(new)], 1)
        core = basis @ images.mT
        values, vectors = torch.linalg.eigh((core + core.mT) / 2)
        kept = values > torch.finfo(self.precise).eps * 10 * values[:, -1:].clamp(min=0)
        roots = torch.where(kept, values, 1).rsqrt() * kept
        whitened = roots[..., None] * vectors.mT  # c^(-1/2) V^T
        factors = whitened @ images  # L^T, (K, b, d)
        left, size_of, right = torch.linalg.svd(factors, full_matrices=False)
        return size_of[..., None] * right, left.mT @ whitened @ basis

    def _first(self, size: int) -> Tensor:
        """(K, size, d), orthonormal; the same for each output, as all of them are random."""
        drawn = torch.randn(size, self.width, generator=self.generator, dtype=self.precise, device="cpu")
        return torch.linalg.qr(drawn.T).Q.T.to(self._roots.device).expand(self.outputs, -1, -1)

    def _times(self, vectors: Tensor) -> Tensor:
        """F of each output times its own vectors, (K, b, d)."""

        def product(rows: Tensor) -> Tensor:
            forth = rows if self.weight is None else rows.to(self.weight) @ self.weight.T
            return self._at_state(self._operator(self._placed(forth.to(self.dtype), self.logits)))

        return torch.cat(self.batch.run(vectors.transpose(0, 1), product)).transpose(0, 1)

    def _at_state(self, changes: Tensor) -> Tensor:
        """Gradients (R, *logits) at the logits as those at the state of each output, (R, K, d)."""
        rows = changes.reshape(len(changes), -1, changes.shape[-1])
        if rows[:, : -self.outputs].any():
            raise RuntimeError("The head's output is read at other positions than those of the predictions.")
        rows = rows[:, -self.outputs :]
        # one product of matrices: a weight for each row would be read as often
        back = rows if self.weight is None else rows.to(self.weight) @ self.weight
        return back.to(self.precise)

    def _placed(self, vectors: Tensor, shape: torch.Size) -> Tensor:
        """(R, K, ...) to (R, *shape), 0 at positions that predict nothing here."""
        positions = shape[:-1].numel()
        rows = vectors.new_zeros(len(vectors), positions, shape[-1])
        rows[:, positions - self.outputs :] = vectors
        return rows.view(-1, *shape)

    @cached_property
    def _drawn(self) -> Tensor:
        """A^T e of random signs, (K, S, d); what they say is summed over the outputs."""
        return self._signs(max(_FEWEST_SIGNS, -(-_SIGNS // self.outputs)))

    def _signs(self, count: int) -> Tensor:
        # a byte each: with many outputs there are count * K * V of them
        signs = torch.randint(2, (count, *self._roots.shape), generator=self.generator, dtype=torch.int8, device="cpu")

        def combined(rows: Tensor) -> Tensor:
            return self._at_state(self._transposed((2 * rows - 1).to(self._roots) * self._roots))

        return torch.cat(self.batch.run(signs, combined)).transpose(0, 1)

    @cached_property
    def _left(self) -> Tensor:
        """The trace of what all factors leave out, of all outputs together."""
        factors, duals = self._found
        rest = self._drawn - (self._drawn @ duals.mT) @ factors
        return rest.square().sum((0, 2)).mean()

    def _random(self, count: int, without: Tensor) -> Tensor:
        """Random vectors (count, *shape) with the second moment of what some factors leave out of F."""
        drawn = self._drawn
        if count > drawn.shape[1]:
            drawn = torch.cat([drawn, self._signs(count - drawn.shape[1])], 1)
        factors, duals = self._found
        kept = torch.zeros(factors.shape[:2], dtype=factors.dtype, device=factors.device).flatten()
        kept[without] = 1
        kept = kept.view(factors.shape[:2])
        rest = drawn[:, :count] - ((drawn[:, :count] @ duals.mT) * kept[:, None]) @ factors
        return self._placed(rest.transpose(0, 1), self.shape)

    def _of_state(self, vectors: Tensor, places: Tensor) -> Tensor:
        """Vectors (R, d) of the outputs that places (R,) of all factors belong to, as (R, *shape)."""
        owners = places // self._found[0].shape[1]
        rows = vectors.new_zeros(len(vectors), self.outputs, self.width)
        rows[torch.arange(len(vectors), device=rows.device), owners] = vectors
        return self._placed(rows, self.shape)
