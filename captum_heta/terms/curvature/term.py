"""The curvature term: which tokens vary together, which operator and estimator, which draws."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from captum_heta.features import Features
from captum_heta.models import MEMORY_VARIABLE, Batch, Stage, Trace
from captum_heta.options import CurvatureOptions
from captum_heta.terms.curvature.estimators import draw_probes, exact_block_norms, factored_block_norms
from captum_heta.terms.curvature.function import Varying
from captum_heta.terms.curvature.layerwise import Chain
from captum_heta.terms.curvature.low_rank import low_rank
from captum_heta.terms.curvature.operators import Operator, gauss_newton, jacobian_transposed

# The scores of some features.
Estimates = Iterator[tuple[list[int], Tensor]]


def curvature(
    trace: Trace,
    features: Features,
    targets: Sequence[int],
    options: CurvatureOptions,
    batch: Batch,
    progress: Callable[[int], object] = lambda done: None,
    joint: bool = False,
    contrast: Sequence[int] | None = None,
) -> Tensor:
    """S[i] = E_r norm1(P_i H P_i r), H the Hessian of log P(target) (Pramanik et al. 2026, arXiv 2604.13258).

    Every output starts from the same seed and features are drawn in the order of their tokens: an output's
    numbers do not depend on the other outputs nor on the batch size.

    Args:
        trace: the sequence.
        features: the blocks of P.
        targets: the K output token ids.
        options: the estimator and its draws.
        batch: products in one backward pass.
        progress: called with the number of features done.
        joint: the Hessian of the sum of all outputs' log-probabilities, in one estimate.
        contrast: K token ids that the targets are compared with: the Hessian of log P(target) - log P(contrast).

    Returns:
        (K, F), or (1, F) if ``joint``; float32 or better, non-negative.

    Raises:
        RuntimeError: if a second derivative is not finite.
    """
    together = [range(len(targets))] if joint else [range(k, k + 1) for k in range(len(targets))]
    if not features.by_first_token:
        return trace.log_probs.new_zeros(len(together), len(features))
    rows = []
    for outputs in together:
        row, counts = (trace.log_probs.new_zeros(len(features)) for _ in range(2))
        for names, norms in _Estimate(trace, features, outputs, targets, contrast, options, batch).run():
            places = torch.tensor(names, device=row.device)
            progress(int((counts[places] == 0).sum()))  # windows overlap
            row = row.index_add(0, places, norms.to(row))
            counts = counts.index_add(0, places, torch.ones_like(norms).to(counts))
        rows.append(row / counts.clamp(min=1))
    scores = torch.stack(rows)
    if not torch.isfinite(scores).all():
        dtype = trace.embeds.dtype
        advice = "Load the model in float32 or bfloat16." if dtype == torch.float16 else "Check its weights for NaN."
        raise RuntimeError(
            f"The second derivatives of {type(trace.lm.model).__name__} in {dtype} are not finite. {advice}"
        )
    return scores


def effort(
    trace: Trace, features: Features, options: CurvatureOptions, outputs: range, contrasted: bool = False
) -> tuple[str, int]:
    """The mode that `curvature` really runs for some outputs together, and how many products or gradients it takes."""
    return _Estimate(trace, features, outputs, (), () if contrasted else None, options, Batch(1)).effort()


@dataclass
class _Estimate:
    """The scores of some outputs together."""

    trace: Trace
    features: Features
    outputs: range
    targets: Sequence[int]
    contrast: Sequence[int] | None
    options: CurvatureOptions
    batch: Batch
    generator: torch.Generator = field(init=False)

    def __post_init__(self) -> None:
        self.generator = torch.Generator(device="cpu").manual_seed(self.options.seed)

    @property
    def mode(self) -> str:
        """The mode that is run."""
        if self.options.curvature != "auto":
            return self.options.curvature
        return "exact" if self._products_exact() <= self._products_low_rank() else "low_rank"

    def effort(self) -> tuple[str, int]:
        """The mode, and how many products, or gradients in "fisher"."""
        windows = len(self.features.windows(self.options.window, self.options.overlap))
        count = {"fisher": self.options.rank, "low_rank": self.options.rank * windows, "gradient": 1}
        if self.contrast is not None:
            count |= dict.fromkeys(("fisher", "gauss_newton"), len(self.outputs))
        return self.mode, count.get(self.mode, len(self.features.by_first_token) * self.options.n_samples)

    def run(self) -> Estimates:
        return {
            "exact": self._exact,
            "low_rank": self._low_rank,
            "gauss_newton": self._gauss_newton if self.contrast is None else self._choices,
            "fisher": self._fisher if self.contrast is None else self._choices,
            "gradient": self._gradient,
        }[self.mode]()

    def _exact(self) -> Estimates:
        return self._products(self._hessian)

    def _gauss_newton(self) -> Estimates:
        def matrix(function: Varying, x: Tensor) -> tuple[Operator, Batch]:
            chain, last, batch = self._chain(function, x)
            return chain.sandwiched(gauss_newton(last(chain.top), chain.top)), batch

        return self._products(matrix)

    def _products(self, matrix: Callable[[Varying, Tensor], tuple[Operator, Batch]]) -> Estimates:
        for names in self.features.batches():
            with torch.enable_grad():
                function, x, blocks, probes = self._varied(names)
                operator, batch = matrix(function, x)
                norms = exact_block_norms(operator, blocks, probes, batch)
            yield names, norms

    def _low_rank(self) -> Estimates:
        for names in self.features.windows(self.options.window, self.options.overlap):
            with torch.enable_grad():
                function, x, blocks, probes = self._varied(names)
                operator, batch = self._hessian(function, x)
                vectors, values = low_rank(operator, x.detach(), self.options.rank, self.generator, batch)
            yield names, factored_block_norms(vectors, values, blocks, probes)

    def _fisher(self) -> Estimates:
        # The Fisher matrix is E_y[s_y s_y^T], s_y the gradient of log P(y). sum_y sqrt(P(y)) e_y s_y with random signs
        # e has it as its second moment too, and a lower variance than drawing y: a model that is sure would draw the
        # same y, whose s_y is about 0, again and again.
        names, rank = self.features.by_first_token, self.options.rank
        with torch.enable_grad():
            function, x, blocks, probes = self._varied(names)
            chain, last, batch = self._chain(function, x)
            log_probs = last(chain.top)
            transposed = jacobian_transposed(log_probs, chain.top)
            roots = log_probs.detach().div(2).exp()
            # a byte each: with many outputs there are rank * K * V of them
            signs = torch.randint(2, (rank, *roots.shape), generator=self.generator, dtype=torch.int8, device="cpu")

            def gradients(rows: Tensor) -> Tensor:
                return chain.pulled_back(transposed((2 * rows - 1).to(roots) * roots))

            factors = torch.cat(batch.run(signs, gradients))
        yield names, factored_block_norms(factors, roots.new_full((rank,), 1 / rank), blocks, probes)

    def _choices(self) -> Estimates:
        # Between two tokens the model chooses with P(a | a or b) = sigmoid(u), u = log P(a) - log P(b). The Fisher
        # matrix of that choice, and its Gauss-Newton matrix too, is P(a | a or b) P(b | a or b) u' u'^T.
        names = self.features.by_first_token
        with torch.enable_grad():
            function, x, blocks, probes = self._varied(names)
            chain, last, batch = self._chain(function, x)
            log_probs = last(chain.top)
            transposed = jacobian_transposed(log_probs, chain.top)
            factors = torch.cat(
                batch.run(
                    torch.arange(len(log_probs)),
                    lambda rows: chain.pulled_back(transposed(self._roots(rows, log_probs))),
                )
            )
        yield names, factored_block_norms(factors, factors.new_ones(len(factors)), blocks, probes)

    def _roots(self, rows: Tensor, log_probs: Tensor) -> Tensor:
        """(R, K, V): for some outputs, what to multiply the gradients with for a factor of `_choices` each."""
        found = log_probs.new_zeros(len(rows), *log_probs.shape)
        for root, row in zip(found, rows.tolist(), strict=True):
            assert self.contrast is not None
            target, other = self.targets[self.outputs[row]], self.contrast[self.outputs[row]]
            u = (log_probs[row, target] - log_probs[row, other]).detach()
            weight = (u.sigmoid() * (-u).sigmoid()).sqrt()
            root[row, target] += weight
            root[row, other] -= weight
        return found

    def _gradient(self) -> Estimates:
        names = self.features.by_first_token
        with torch.enable_grad():
            function, x, blocks, _ = self._varied(names)
            chain, last, _ = self._chain(function, x)
            log_probs = last(chain.top)
            (above,) = torch.autograd.grad(self._log_prob(log_probs), chain.top, materialize_grads=True)
            gradient = chain.pulled_back(above[None])[0]
        dtype = torch.promote_types(gradient.dtype, torch.float32)
        yield names, blocks.to(dtype) @ gradient.to(dtype).square().sum(-1)

    def _hessian(self, function: Varying, x: Tensor) -> tuple[Operator, Batch]:
        """The Hessian of the outputs' log-probability, and how many of its products at once."""
        chain, last, batch = self._chain(function, x)
        return chain.hessian(lambda states: self._log_prob(last(states))), batch

    def _chain(self, function: Varying, x: Tensor) -> tuple[Chain, Stage, Batch]:
        """The function of x as stages and a last one, whose graph is kept; and how many products at once."""
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
        batch = self.batch.at_least(self.trace.lm.layer_rows(function.stop - function.start))
        return Chain(stages, x), last, batch

    def _varied(self, names: list[int]) -> tuple[Varying, Tensor, Tensor, Tensor]:
        """Some features vary together: a function, the point x (m, d) where it is differentiated, and how.

        That is which tokens each feature has (len(names), m), and its probes (n_samples, m, d).
        """
        groups = [self.features.groups[name] for name in names]
        tokens = sorted(token for group in groups for token in group)
        positions = torch.tensor(tokens, device=self.trace.embeds.device)
        function = Varying(self.trace, positions, self.outputs, self.options.last_n_layers)
        x = function.point()
        blocks = torch.tensor([[token in group for token in tokens] for group in map(set, groups)], device=x.device)
        return function, x, blocks, draw_probes(groups, self.options.n_samples, x.detach(), self.generator)

    def _log_prob(self, log_probs: Tensor) -> Tensor:
        rows = list(zip(log_probs, self.outputs, strict=True))
        total = sum((row[self.targets[k]] for row, k in rows), log_probs.new_zeros(()))
        if self.contrast is None:
            return total
        return total - sum((row[self.contrast[k]] for row, k in rows), log_probs.new_zeros(()))

    def _products_exact(self) -> int:
        # each over the positions from the first token of its batch on
        return sum(len(names) * self.options.n_samples * self._suffix(names) for names in self.features.batches())

    def _products_low_rank(self) -> int:
        windows = self.features.windows(self.options.window, self.options.overlap)
        return sum(self.options.rank * self._suffix(names) for names in windows)

    def _suffix(self, names: list[int]) -> int:
        first = self.trace.first_run(self.features.groups[names[0]][0])
        return int(self.trace.output_positions[self.outputs[-1]]) + 1 - first
