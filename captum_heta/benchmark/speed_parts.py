"""What HETA's parts take, beside the naive reference of `captum_heta.testing`."""

from collections.abc import Callable
from functools import cached_property, partial

import torch
from torch import Tensor

from captum_heta.benchmark.speed_clock import BASE, LONG, by_operations, line, product_rate, rate, seconds
from captum_heta.benchmark.speed_prompt import Subject
from captum_heta.benchmark.speed_table import Cost
from captum_heta.features import Features
from captum_heta.models import Batch, CausalLM, Trace, trace_of
from captum_heta.options import CurvatureOptions
from captum_heta.terms.contribution_flow import contribution_flow
from captum_heta.terms.curvature import Sensitivity, curvature
from captum_heta.terms.curvature.estimators import draw_probes, exact_block_norms
from captum_heta.terms.curvature.function import Varying
from captum_heta.terms.curvature.operators import hessian
from captum_heta.terms.information import MaskedCopies, Masking, divergence, information
from captum_heta.testing import reference

SAMPLES = 10
# Up to so many tokens "exact" is timed as a whole; above from one and two probes.
_EXACT = 64
# Probes and masked copies that a line is drawn through: a batch, within these.
_FEW, _MANY = 4, 64

# The rows by their short names. Where a row is compared with another: the title of that, and how it is called.
TITLES = {
    "naive_exact": "naive exact curvature",
    "naive_information": "naive information",
    "trace": "trace",
    "flow": "contribution flow",
    "exact": "curvature: exact",
    "low_rank": "curvature: low_rank",
    "gauss_newton": "curvature: gauss_newton",
    "fisher": "curvature: fisher",
    "information": "information",
}
COMPARED = dict.fromkeys(("exact", "low_rank", "gauss_newton", "fisher"), ("naive_exact", "naive exact")) | {
    "information": ("naive_information", "naive information")
}
RATES = {"rate_exact": "arithmetic rate of exact", "rate_information": "arithmetic rate of masked passes"}


class Parts:
    """The costs of one prompt's parts. Each is found once, when it is asked for.

    Args:
        subject: the model and the prompt.
        products: products and masked passes of the naive reference to time.
        long: from so many tokens on, costs are found from parts of them.
        base: tokens of the beginning that stands for a long prompt.
    """

    def __init__(self, subject: Subject, products: int = 3, long: int = LONG, base: int = BASE) -> None:
        self.subject, self.few = subject, min(products, len(subject.ids))
        self.model, self.features = subject.model, subject.features
        self.tokens, self.target = len(subject.ids), subject.target
        self.long, self.base = self.tokens >= long, base
        self.lm = CausalLM(self.model)
        self.time = partial(seconds, device=self.lm.device)
        self._traces: dict[int, Trace] = {}
        self._known: dict[str, Cost | None] = {}

    def cost(self, name: str) -> Cost | None:
        """What one of `TITLES` takes; None if that is not known of so long a prompt."""
        if name not in self._known:
            find: dict[str, Callable[[], Cost | None]] = {
                "naive_exact": self._naive_exact,
                "naive_information": self._naive_information,
                "trace": self._trace_cost,
                "flow": self._flow,
                "exact": self._exact,
                "low_rank": self._low_rank,
                "gauss_newton": self._gauss_newton,
                "fisher": self._fisher,
                "information": self._information,
            }
            if name.startswith("naive"):  # as a person runs it, with the model's own attention
                self._known[name] = find[name]()
            else:
                with self.lm.ready():
                    self._known[name] = find[name]()
        return self._known[name]

    def rate(self, name: str) -> float:
        """Operations a second of one of `RATES`; of a long prompt, on ``base`` tokens."""
        with self.lm.ready():
            trace = self._trace(self.base if self.long else self.tokens)
            if name == "rate_exact":
                return rate(self._some_products(trace), self.lm.device)
            return rate(partial(self._copies, trace, self._few_copies(trace)), self.lm.device)

    @cached_property
    def best_rate(self) -> float:
        """Operations a second of a matrix product."""
        return product_rate(self.lm.device, self.lm.model.dtype)

    @property
    def embeds(self) -> Tensor:
        """X, (n, d)."""
        return self.lm.embed(self.subject.ids)

    def _made(self, length: int, residuals: bool = True) -> Trace:
        ids = self.subject.ids[:length]
        with torch.no_grad():
            return trace_of(self.lm, self.lm.embed(ids), 1, per_layer=self.lm.per_layer(ids), residuals=residuals)

    def _trace(self, length: int) -> Trace:
        """The trace of the first so many tokens."""
        if length not in self._traces:
            self._traces[length] = self._made(length)
        return self._traces[length]

    def _naive_exact(self) -> Cost:
        embeds, count = self.embeds, SAMPLES * len(self.features)

        def product(length: int, probes: int = 1) -> None:
            signs = torch.ones(probes, length, embeds.shape[1], dtype=embeds.dtype, device=embeds.device)
            reference.naive_curvature(self.model, embeds[:length], self.target, [[length // 2]], signs)

        if self.long:
            return Cost(count * self._by_operations(product), False, count)
        return Cost(count * self.time(lambda: product(self.tokens, self.few), warm=True) / self.few, False, count)

    def _naive_information(self) -> Cost:
        embeds, count = self.embeds, len(self.features) + 1

        def run(length: int, groups: int = 1) -> None:
            some = embeds[:length]
            reference.naive_information(self.model, some, 1, [[i] for i in range(groups)], torch.zeros_like(some))

        if self.long:  # a masked pass and the one without a mask
            return Cost(count * self._by_operations(run) / 2, False, passes=count)
        spent = self.time(lambda: run(self.tokens, self.few), warm=True) / (self.few + 1)
        return Cost(count * spent, False, passes=count)

    def _trace_cost(self) -> Cost:
        return Cost(self.time(lambda: self._made(self.tokens)))

    def _flow(self) -> Cost:
        trace = self._trace(self.tokens)
        return Cost(self.time(lambda: contribution_flow(trace.layers, trace.output_positions)))

    def _curvature(
        self, mode: str, trace: Trace | None = None, features: Features | None = None, **options: int | None
    ) -> Sensitivity:
        trace = self._trace(self.tokens) if trace is None else trace
        batch = Batch(self.lm.batch_size(len(trace.embeds), 1, products=True))
        chosen = CurvatureOptions(curvature=mode, **options)  # type: ignore[arg-type]
        return curvature(trace, self.features if features is None else features, [self.target], chosen, batch)

    def _timed(self, mode: str) -> Cost:
        found: list[Sensitivity] = []
        self._trace(self.tokens)
        spent = self.time(lambda: found.append(self._curvature(mode)))
        return Cost(spent, products=found[0].products)

    def _exact(self) -> Cost:
        count = SAMPLES * len(self.features)
        if self.long:
            batches = [(len(names) * SAMPLES, names) for names in self.features.batches()]
            return Cost(self._products(batches), False, count)
        if self.tokens <= _EXACT:
            return self._timed("exact")
        self._trace(self.tokens)
        spent = line(lambda some: self.time(lambda: self._curvature("exact", n_samples=some)), 1, SAMPLES)
        return Cost(spent, False, count)

    def _gauss_newton(self) -> Cost | None:
        if self.long or self.tokens > _EXACT:
            return None  # it takes as long as "exact"
        return self._timed("gauss_newton")

    def _low_rank(self) -> Cost:
        if not self.long:
            return self._timed("low_rank")
        options = CurvatureOptions(curvature="low_rank")
        rank = options.products("low_rank")
        windows = self.features.windows(options.window, options.overlap)
        return Cost(self._products([(rank, names) for names in windows]), False, rank * len(windows))

    def _fisher(self) -> Cost:
        if not self.long or self.subject.text is not None:  # where fewer gradients may do
            return self._timed("fisher")
        most = CurvatureOptions(curvature="fisher").products("fisher")
        self._trace(self.tokens)
        spent = line(lambda rank: self.time(lambda: self._curvature("fisher", rank=rank)), 2, most)
        return Cost(spent, False, most)

    def _information(self) -> Cost:
        trace, count = self._trace(self.tokens), len(self.features)
        if self.long:  # the mean pass begins in the middle
            spent = line(lambda some: self.time(lambda: self._copies(trace, some)), self._few_copies(trace), count)
            return Cost(spent, False, passes=count)
        spent = self.time(lambda: information(trace, self.features, self._masking(trace)))
        return Cost(spent, passes=count)

    def _masking(self, trace: Trace) -> Masking:
        return Masking(torch.zeros_like(trace.embeds), Batch(self.lm.batch_size(len(trace.embeds), 1)))

    def _few_copies(self, trace: Trace) -> int:
        length = len(trace.embeds)
        return max(1, min(length // 4, _MANY, max(_FEW, self.lm.batch_size(length, 1))))

    def _copies(self, trace: Trace, count: int) -> None:
        """So many masked passes, of tokens from the middle on."""
        length = len(trace.embeds)
        first = max(0, min(length // 2, length - count))
        MaskedCopies(trace, self._masking(trace), [divergence]).of(Features.of_tokens(range(length)[first:][:count]))

    def _products(self, batches: list[tuple[int, list[int]]]) -> float:
        """Seconds of Hessian products by formula, as if the graph was kept whole.

        Args:
            batches: how many products, and the features that vary in them. A product takes as long as there are
                positions from the first of them on.
        """
        traces = {size: self._trace(size) for size in (self.base // 2, self.base)}

        def probed(count: int) -> float:
            def run(length: int) -> None:
                self._curvature("exact", traces[length], Features.of_tokens([0]), n_samples=count)

            return self._by_operations(run)

        few = min(_MANY, max(_FEW, self.lm.batch_size(self.base, 1, products=True)))
        some, twice = probed(few), probed(2 * few)
        # noise may make the longer call the shorter one; what comes before the first product is in this then
        one = (twice - some) / few if twice > some else twice / (2 * few)
        starts = [self.features.groups[names[0]][0] for _, names in batches]
        return sum(
            count * one * (self.tokens - start) / self.tokens for (count, _), start in zip(batches, starts, strict=True)
        )

    def _by_operations(self, call: Callable[[int], object]) -> float:
        return by_operations(call, self.tokens, self.base, self.lm.device)

    def _some_products(self, trace: Trace) -> Callable[[], object]:
        """One graph and its products in the mode exact."""
        length = len(trace.embeds)
        first = Features.of_tokens(range(max(1, length // 8)))  # as many as share a graph
        batch, device = Batch(self.lm.batch_size(length, 1, products=True)), self.lm.device

        def run() -> None:
            with torch.enable_grad():
                tokens = torch.arange(len(first), device=device)
                function = Varying(trace, tokens, range(1))
                x = function.point()
                operator = hessian(function.log_probs(x)[0, self.target], x)
                blocks = torch.eye(len(first), dtype=torch.bool, device=device)
                probes = draw_probes(first.groups, SAMPLES, x.detach(), torch.Generator(device="cpu"))
                exact_block_norms(operator, blocks, probes, batch)

        return run
