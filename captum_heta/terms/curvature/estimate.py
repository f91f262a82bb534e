"""One estimate of S: which tokens vary together, which operator and estimator, which draws."""

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from captum_heta.features import Features
from captum_heta.models import MEMORY_VARIABLE, Batch, Stage, Trace
from captum_heta.options import FACTORED, CurvatureOptions
from captum_heta.ranks import spearman
from captum_heta.terms.curvature.estimators import (
    Factors,
    draw_probes,
    draws_of_groups,
    exact_block_norms,
    mean_and_error,
)
from captum_heta.terms.curvature.function import Varying
from captum_heta.terms.curvature.layerwise import Chain
from captum_heta.terms.curvature.low_rank import low_rank
from captum_heta.terms.curvature.operators import Operator, gauss_newton, jacobian_transposed
from captum_heta.terms.curvature.output_fisher import OutputFisher

# Some features, their S, and the standard errors of these.
Estimates = Iterator[tuple[list[int], Tensor, Tensor]]

# Probes that "low_rank" looks with whether S has settled, and at which correlation of the ranks its order has.
_LOOKS = 10
_SETTLED_CHANGE = 0.2
_SETTLED_ORDER = 0.98
# Probes of one round where they are drawn up to a tolerance: a standard error needs some.
_ROUND = 10


@dataclass
class Estimate:
    """The scores of some outputs together.

    Attributes:
        weights: of each of the outputs; None for 1.
        products: how many products or gradients there were so far.
        omitted: the largest share of a matrix that was left out so far.
    """

    trace: Trace
    outputs: range
    targets: Sequence[int]
    contrast: Sequence[int] | None
    options: CurvatureOptions
    batch: Batch
    weights: Tensor | None = None
    products: int = 0
    omitted: float = 0.0
    _factors: dict[tuple[int, ...], Factors] = field(default_factory=dict)

    @property
    def stop(self) -> int:
        """After the last position that any of its outputs reads."""
        return int(self.trace.output_positions[self.outputs[-1]]) + 1

    def mode(self, features: Features) -> str:
        """The mode that is run."""
        if self.options.curvature != "auto":
            return self.options.curvature
        return "exact" if self._cost_of_exact(features) <= self._cost_of_low_rank(features) else "low_rank"

    def is_factored(self, mode: str) -> bool:
        """Whether a mode knows the matrix by factors; that of a choice between two tokens has one factor an output."""
        return mode in FACTORED or (mode == "gauss_newton" and self.contrast is not None)

    def has_one_window(self, features: Features) -> bool:
        """Whether all features vary together in "low_rank"."""
        return len(features.windows(self.options.window, self.options.overlap)) == 1

    def run(self, features: Features, mode: str) -> Estimates:
        """S of some features in a mode, as many at a time as vary together."""
        generator = torch.Generator(device="cpu").manual_seed(self.options.seed)
        if not self.is_factored(mode):
            yield from self._by_products(features, mode, generator)
            return
        windows = [features.by_first_token]
        if mode == "low_rank":
            windows = features.windows(self.options.window, self.options.overlap)
        for names in windows:
            groups = [features.groups[name] for name in names]
            factors = self._found(groups, mode)
            if mode == "gradient":
                norms = torch.stack([factors.of_group(group).square().sum() for group in groups])
                yield names, norms, torch.zeros_like(norms)
                continue
            yield names, *self._norms(factors, groups, self.options.samples(mode, factored=True), generator)

    def _norms(
        self, factors: Factors, groups: Sequence[Sequence[int]], count: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        drawn = draws_of_groups(groups, count, factors.vectors[:1, 0], generator)
        return mean_and_error(
            torch.stack([factors.norms(group, probes) for group, probes in zip(groups, drawn, strict=True)])
        )

    def _found(self, groups: Sequence[Sequence[int]], mode: str) -> Factors:
        """The factors of the matrix of some tokens, computed once."""
        tokens = tuple(sorted(token for group in groups for token in group))
        if tokens not in self._factors:
            generator = torch.Generator(device="cpu").manual_seed(_other_seed(self.options.seed))
            find = {
                "low_rank": self._low_rank,
                "fisher": self._fisher if self.contrast is None else self._choices,
                "gauss_newton": self._choices,
                "gradient": self._gradient,
            }[mode]
            function = self._function(tokens)
            # no second derivatives, so that long texts go through fused kernels
            fast = mode != "low_rank" and not function.graph_fits()
            with torch.enable_grad(), self.trace.lm.fastest(gradients=True) if fast else nullcontext():
                found = find(function, groups, generator)
            self._factors[tokens] = found
            self.products += found.products
            self.omitted = max(self.omitted, found.omitted)
        return self._factors[tokens]

    def _by_products(self, features: Features, mode: str, generator: torch.Generator) -> Estimates:
        for names in features.batches():
            groups = [features.groups[name] for name in names]
            tokens = sorted(token for group in groups for token in group)
            with torch.enable_grad():
                function = self._function(tokens)
                x = function.point()
                operator, batch = (self._hessian if mode == "exact" else self._gauss_newton)(function, x)
                norms = self._sampled(operator, batch, groups, function.tokens, x.detach(), generator, mode)
            means, errors = zip(*map(mean_and_error, norms), strict=True)
            yield names, torch.stack(means), torch.stack(errors)

    def _sampled(
        self,
        operator: Operator,
        batch: Batch,
        groups: Sequence[Sequence[int]],
        tokens: Tensor,
        x: Tensor,
        generator: torch.Generator,
        mode: str,
    ) -> list[Tensor]:
        """The norms that the probes of each group gave; as many as its standard error needs."""
        tolerance, most = self.options.tolerance, self.options.samples(mode)
        found: list[Tensor] = [torch.empty(0, device=x.device)] * len(groups)
        asked, done, varying = list(range(len(groups))), 0, tokens.tolist()
        while asked and done < most:
            count = most if tolerance is None else min(_ROUND, most - done)
            some = [groups[i] for i in asked]
            varied = {token for group in some for token in group}
            places = torch.tensor([i for i, token in enumerate(varying) if token in varied], device=x.device)
            probes = x.new_zeros(count, *x.shape).index_copy(1, places, draw_probes(some, count, x, generator))
            blocks = torch.tensor([[token in group for token in varying] for group in map(set, some)], device=x.device)
            norms = exact_block_norms(operator, blocks, probes, batch)
            self.products += norms.numel()
            done += count
            for i, row in zip(asked, norms, strict=True):
                found[i] = torch.cat([found[i].to(row), row])
            if tolerance is not None:
                asked = [i for i in asked if not _within(found[i], tolerance)]
        return found

    def _low_rank(self, function: Varying, groups: Sequence[Sequence[int]], generator: torch.Generator) -> Factors:
        x = function.point()
        operator, batch = self._hessian(function, x)
        tolerance = _SETTLED_CHANGE if self.options.tolerance is None else self.options.tolerance
        seen: list[Tensor] = []

        def settled(vectors: Tensor, values: Tensor) -> bool:
            looks = torch.Generator(device="cpu").manual_seed(self.options.seed)
            now, _ = self._norms(Factors(function.tokens, vectors, values, 0), groups, _LOOKS, looks)
            seen.append(now)
            return len(seen) > 1 and _alike(seen[-2], now, tolerance)

        most = self.options.products("low_rank")
        found = low_rank(operator, x.detach(), most, generator, batch, settled if tolerance > 0 else lambda *_: False)
        return Factors(function.tokens, *found)

    def _fisher(self, function: Varying, groups: Sequence[Sequence[int]], generator: torch.Generator) -> Factors:
        # sum_t sqrt(P(t)) e_t s_t with random signs e has the Fisher matrix E_t[s_t s_t^T] as its second moment, as
        # drawing t has, and a lower variance: a model that is sure would draw the same t, whose s_t is about 0, again
        # and again.
        chain, last, batch = self._chain(function, function.point(), gradients=True)
        state, fisher = self._at_head(chain.top, last, generator, batch)
        chosen = fisher.chosen(self.options.coverage, self.options.remainder)
        transposed = jacobian_transposed(state, chain.top)
        rows = chosen.vectors.to(state.device, state.dtype)
        factors = torch.cat(batch.run(rows, lambda some: chain.pulled_back(transposed(some))))
        return Factors(function.tokens, factors, chosen.weights.to(factors.device), len(rows), chosen.omitted)

    def _at_head(
        self, top: Tensor, last: Stage, generator: torch.Generator, batch: Batch
    ) -> tuple[Tensor, OutputFisher]:
        """The state that enters the head, and its Fisher matrix.

        Where the head is not one that can be cut off, the log-probabilities are the state themselves: the matrix of the
        embeddings is the same, and the eigenvectors say less.
        """
        most = self.options.products("fisher")
        with self.trace.lm.cut_at_head() as cut:
            log_probs = last(top)
        found = cut.only()
        if found is not None:
            state, logits, weight = found
            return state, OutputFisher(log_probs, logits, weight, most, generator, batch, self.weights)
        if cut.states:  # several calls, all of them cut
            log_probs = last(top)
        logits = log_probs.detach().requires_grad_()
        return log_probs, OutputFisher(logits.log_softmax(-1), logits, None, most, generator, batch, self.weights)

    def _choices(self, function: Varying, groups: Sequence[Sequence[int]], generator: torch.Generator) -> Factors:
        # Between two tokens the model chooses with P(a | a or b) = sigmoid(u), u = log P(a) - log P(b). The Fisher
        # matrix of that choice, and its Gauss-Newton matrix too, is P(a | a or b) P(b | a or b) u' u'^T.
        chain, last, batch = self._chain(function, function.point(), gradients=True)
        log_probs = last(chain.top)
        transposed = jacobian_transposed(log_probs, chain.top)
        factors = torch.cat(
            batch.run(
                torch.arange(len(log_probs)),
                lambda rows: chain.pulled_back(transposed(self._roots(rows, log_probs))),
            )
        )
        return Factors(function.tokens, factors, factors.new_ones(len(factors)), len(factors))

    def _roots(self, rows: Tensor, log_probs: Tensor) -> Tensor:
        """(R, K, V): for some outputs, what to multiply the gradients with for a factor of `_choices` each."""
        found = log_probs.new_zeros(len(rows), *log_probs.shape)
        for root, row in zip(found, rows.tolist(), strict=True):
            assert self.contrast is not None
            target, other = self.targets[self.outputs[row]], self.contrast[self.outputs[row]]
            u = (log_probs[row, target] - log_probs[row, other]).detach()
            weight = (self._weight(row) * u.sigmoid() * (-u).sigmoid()).sqrt()
            root[row, target] += weight
            root[row, other] -= weight
        return found

    def _gradient(self, function: Varying, groups: Sequence[Sequence[int]], generator: torch.Generator) -> Factors:
        chain, last, _ = self._chain(function, function.point(), gradients=True)
        (above,) = torch.autograd.grad(self._log_prob(last(chain.top)), chain.top, materialize_grads=True)
        gradient = chain.pulled_back(above[None])
        return Factors(function.tokens, gradient, gradient.new_ones(1), 1)

    def _hessian(self, function: Varying, x: Tensor) -> tuple[Operator, Batch]:
        """The Hessian of the outputs' log-probability, and how many of its products at once."""
        chain, last, batch = self._chain(function, x)
        return chain.hessian(lambda states: self._log_prob(last(states))), batch

    def _gauss_newton(self, function: Varying, x: Tensor) -> tuple[Operator, Batch]:
        chain, last, batch = self._chain(function, x)
        return chain.sandwiched(gauss_newton(last(chain.top), chain.top, self.weights)), batch

    def _chain(self, function: Varying, x: Tensor, gradients: bool = False) -> tuple[Chain, Stage, Batch]:
        """The function of x as stages and a last one whose graph is kept; how many products, or gradients, at once."""
        if function.graph_fits():
            return Chain([], x), function.log_probs, self.batch
        stages, predict = function.stages()
        expected = self.trace.log_probs[self.outputs.start : self.outputs.stop]

        def last(states: Tensor) -> Tensor:
            found = predict(states)
            if not self.trace.lm.findings.agree(expected, found.detach().to(expected)):
                raise RuntimeError(
                    f"{type(self.trace.lm.model).__name__} predicts something else when its layers are run one by one: "
                    "they read more than their arguments, or hooks on all modules are in force. Set "
                    f"{MEMORY_VARIABLE} so high that its graph is kept whole."
                )
            return found

        # every batch makes the graphs of all layers anew: more products in one
        rows = self.trace.lm.gradient_rows if gradients else self.trace.lm.layer_rows
        return Chain(stages, x, batched=not gradients), last, self.batch.at_least(rows(function.stop - function.start))

    def _function(self, tokens: Sequence[int]) -> Varying:
        """The outputs as a function of some tokens (ascending), which vary together."""
        positions = torch.tensor(tokens, device=self.trace.embeds.device)
        return Varying(self.trace, positions, self.outputs, self.options.last_n_layers)

    def _log_prob(self, log_probs: Tensor) -> Tensor:
        total = log_probs.new_zeros(())
        for row, k in enumerate(self.outputs):
            found = log_probs[row, self.targets[k]]
            if self.contrast is not None:
                found = found - log_probs[row, self.contrast[k]]
            total = total + self._weight(row) * found
        return total

    def _weight(self, row: int) -> float:
        return 1.0 if self.weights is None else self.weights[row].item()

    def _cost_of_exact(self, features: Features) -> int:
        # each over the positions from the first token of its batch on
        samples = self.options.samples("exact")
        return sum(len(names) * samples * self._suffix(features, names) for names in features.batches())

    def _cost_of_low_rank(self, features: Features) -> int:
        windows = features.windows(self.options.window, self.options.overlap)
        return sum(self.options.products("low_rank") * self._suffix(features, names) for names in windows)

    def _suffix(self, features: Features, names: list[int]) -> int:
        first = self.trace.first_run(features.groups[names[0]][0])
        return self.stop - first


def _within(norms: Tensor, tolerance: float) -> bool:
    """Whether the standard error of a mean is at most this part of it."""
    mean, error = mean_and_error(norms)
    return bool(error <= tolerance * mean)


def _alike(before: Tensor, now: Tensor, tolerance: float) -> bool:
    """Whether S changed by at most ``tolerance``, and its order as little as two draws of it differ."""
    if (now - before).abs().sum() > tolerance * now.sum():
        return False
    order = spearman(before, now)
    return bool(order.isnan() or order >= _SETTLED_ORDER)  # there is no order among equals


def _other_seed(seed: int) -> int:
    """A seed that follows from one: signs from the same would be those of the probes."""
    return int(np.random.SeedSequence(seed, spawn_key=(1,)).generate_state(1, np.uint64)[0] >> 1)
