"""How long does it take? ``python -m captum_heta.benchmark.speed --tokens 64 256 --shape gpt2``.

Times HETA's parts against the naive reference of `captum_heta.testing` (one product, one masked pass at a time, with
all logits) and against three of Captum's methods, on random weights of a shape and random tokens: nothing is
downloaded. All ratios come from one run. What would take too long is timed in part and scaled, and marked with ~.
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from captum.attr import FeatureAblation, LayerIntegratedGradients, ShapleyValueSampling
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from captum_heta.attr import HETA
from captum_heta.features import Features
from captum_heta.models import Batch, CausalLM, Trace, trace_of
from captum_heta.options import CurvatureOptions
from captum_heta.terms.curvature import curvature
from captum_heta.terms.curvature.estimators import draw_probes, exact_block_norms
from captum_heta.terms.curvature.function import Varying
from captum_heta.terms.curvature.operators import hessian
from captum_heta.terms.information import Masking, information
from captum_heta.testing import reference
from captum_heta.testing.architectures import SHAPES, shaped_model

SAMPLES = 10
IG_STEPS = 50
SHAPLEY_SAMPLES = 25


@dataclass
class Row:
    """One line of the table.

    Attributes:
        part: what was timed.
        seconds: how long it took, or would have.
        whole: False if it was timed in part and scaled.
        ratio: to what it is compared with, or None.
        against: what that is.
    """

    part: str
    seconds: float
    whole: bool = True
    ratio: float | None = None
    against: str = ""


def seconds(call: Callable[[], object], device: torch.device, warm: bool = False) -> float:
    """Wall time of one call, after another on which caches and thread pools warm up if ``warm``."""
    if warm:
        call()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


class Bench:
    """One model and one prompt."""

    def __init__(self, model: Any, tokens: int, products: int) -> None:
        self.model, self.products = model, products
        self.ids = torch.randint(model.config.vocab_size, (1, tokens), device=model.device)
        self.target, self.tokens = 1, tokens
        self.lm, self.features = CausalLM(model), Features.of_tokens(range(tokens))
        self.time = lambda call: seconds(call, model.device)

    def trace(self) -> Trace:
        """The prompt's trace. Call within `CausalLM.ready`."""
        return trace_of(self.lm, self.lm.embed(self.ids[0]), 1, per_layer=self.lm.per_layer(self.ids[0]))

    def curvature(self, trace: Trace, mode: str, n_samples: int = SAMPLES) -> Tensor:
        """S of every token."""
        batch = Batch(self.lm.batch_size(self.tokens, 1, products=True))
        options = CurvatureOptions(curvature=mode, n_samples=n_samples)
        return curvature(trace, self.features, [self.target], options, batch).scores

    def naive_product(self) -> float:
        """Seconds of one Hessian product of the reference."""
        embeds = self.lm.embed(self.ids[0])
        probes = torch.ones(self.products, *embeds.shape, dtype=embeds.dtype, device=embeds.device)

        def run() -> None:
            reference.naive_curvature(self.model, embeds, self.target, [[self.tokens // 2]], probes)

        return seconds(run, embeds.device, warm=True) / self.products

    def naive_masked_pass(self) -> float:
        """Seconds of one masked pass of the reference."""
        embeds = self.lm.embed(self.ids[0])
        groups = [[i] for i in range(self.products)]

        def run() -> None:
            reference.naive_information(self.model, embeds, 1, groups, torch.zeros_like(embeds))

        return seconds(run, embeds.device, warm=True) / (self.products + 1)

    def exact(self, trace: Trace) -> tuple[float, bool]:
        """Seconds of `curvature` in the mode exact; from one and two probes where the prompt is long."""
        if self.tokens <= 64:
            return self.time(lambda: self.curvature(trace, "exact")), True
        one = self.time(lambda: self.curvature(trace, "exact", 1))
        two = self.time(lambda: self.curvature(trace, "exact", 2))
        return one + (SAMPLES - 1) * (two - one), False

    def arithmetic_rate(self, trace: Trace) -> tuple[float, float]:
        """Operations a second of one graph and its products in the mode exact, and of a matrix product."""
        first = Features.of_tokens(range(max(1, self.tokens // 8)))  # as many as share a graph
        batch = Batch(self.lm.batch_size(self.tokens, 1, products=True))

        def run() -> None:
            with torch.enable_grad():
                tokens = torch.arange(len(first), device=self.ids.device)
                function = Varying(trace, tokens, range(1))
                x = function.point()
                operator = hessian(function.log_probs(x)[0, self.target], x)
                blocks = torch.eye(len(first), dtype=torch.bool, device=self.ids.device)
                probes = draw_probes(first.groups, SAMPLES, x.detach(), torch.Generator(device="cpu"))
                exact_block_norms(operator, blocks, probes, batch)

        counter = FlopCounterMode(display=False)
        with counter:
            run()
        spent = min(self.time(run) for _ in range(2))
        width = 2048
        left, right = torch.randn(2, width, width, device=self.ids.device, dtype=trace.embeds.dtype)
        product = min(self.time(lambda: left @ right) for _ in range(5))
        return counter.get_total_flops() / spent, 2 * width**3 / product

    def captum(self) -> dict[str, tuple[float, bool]]:
        """Seconds of Captum's methods on the same prediction."""
        model = self.model

        def forward(ids: Tensor) -> Tensor:
            return model(ids).logits[:, -1].log_softmax(-1)

        integrated = LayerIntegratedGradients(forward, model.get_input_embeddings())
        ablation, shapley = FeatureAblation(forward), ShapleyValueSampling(forward)
        baselines, target = torch.zeros_like(self.ids), self.target
        batch = max(1, 1024 // self.tokens)
        return {
            f"Integrated Gradients ({IG_STEPS})": (
                self.time(
                    lambda: integrated.attribute(
                        self.ids, baselines, target, n_steps=IG_STEPS, internal_batch_size=batch
                    )
                ),
                True,
            ),
            "Feature Ablation": (
                self.time(lambda: ablation.attribute(self.ids, baselines, target, perturbations_per_eval=batch)),
                True,
            ),
            f"Shapley Value Sampling ({SHAPLEY_SAMPLES})": (
                self.time(
                    lambda: shapley.attribute(self.ids, baselines, target, n_samples=1, perturbations_per_eval=batch)
                )
                * SHAPLEY_SAMPLES,
                False,
            ),
        }

    def target_rows(self, counts: Sequence[int]) -> list[Row]:
        """HETA in the mode fisher on so many output tokens, each by itself and all together."""
        heta = HETA(self.model)
        rows: list[Row] = []
        for count in counts:
            outputs = torch.arange(count, device=self.ids.device) % self.lm.vocab_size
            for name, per_token in (("each", True), ("together", False)):

                def run(outputs: Tensor = outputs, per_token: bool = per_token) -> None:
                    heta.attribute_outputs(self.ids[0], outputs, self.features, per_token=per_token, curvature="fisher")

                spent = self.time(run)
                first = next((row.seconds for row in rows if row.part.endswith(name)), spent)
                label = f"{count} target{'s' if count > 1 else ''}, {name}"
                rows.append(Row(label, spent, True, spent / first, f"of {counts[0]}"))
        return rows

    def rows(self) -> list[Row]:
        """Everything, compared."""
        naive_exact = self.naive_product() * SAMPLES * self.tokens
        naive_information = self.naive_masked_pass() * (self.tokens + 1)
        rows = [
            Row("naive exact curvature", naive_exact, whole=False),
            Row("naive information", naive_information, whole=False),
        ]
        with self.lm.ready():
            trace = self.trace()
            spent, whole = self.exact(trace)
            rows.append(Row("curvature: exact", spent, whole, naive_exact / spent, "naive exact"))
            # gauss_newton takes as long as exact
            for mode in ("low_rank", *(["gauss_newton"] if whole else []), "fisher"):
                spent = self.time(lambda mode=mode: self.curvature(trace, mode))
                rows.append(Row(f"curvature: {mode}", spent, True, naive_exact / spent, "naive exact"))
            masked, copies = torch.zeros_like(trace.embeds), Batch(self.lm.batch_size(self.tokens, 1))
            spent = self.time(lambda: information(trace, self.features, Masking(masked, copies)))
            rows.append(Row("information", spent, True, naive_information / spent, "naive information"))
            rate, best = self.arithmetic_rate(trace)
        captum = self.captum()
        gradients = captum[f"Integrated Gradients ({IG_STEPS})"][0]
        for mode in ("auto", "fisher"):
            spent = self.time(
                lambda mode=mode: HETA(self.model).attribute(self.ids, target=self.target, curvature=mode)
            )
            rows.append(Row(f"HETA ({mode})", spent, True, spent / gradients, "of Integrated Gradients"))
        rows += [
            Row(name, spent, whole, spent / gradients, "of Integrated Gradients")
            for name, (spent, whole) in captum.items()
        ]
        rows.append(Row("arithmetic rate of exact", rate / 1e9, True, rate / best, "of a matrix product's (GFLOP/s)"))
        return rows


def table(found: dict[int, list[Row]]) -> str:
    """A Markdown table."""
    lines = ["| tokens | part | seconds | ratio | |", "|---:|---|---:|---:|---|"]
    for tokens, rows in found.items():
        for row in rows:
            ratio = "" if row.ratio is None else f"{row.ratio:.2f}" if row.ratio < 10 else f"{row.ratio:.0f}"
            spent = f"{'' if row.whole else '~'}{row.seconds:.3g}"
            if row.part.startswith("arithmetic"):
                spent = f"{row.seconds:.0f} GFLOP/s"
            lines.append(f"| {tokens} | {row.part} | {spent} | {ratio} | {row.against} |")
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--tokens", type=int, nargs="+", default=[64, 256], help="lengths of the prompt (64 256)")
    parser.add_argument("--shape", choices=SHAPES, default="gpt2", help="default: gpt2")
    parser.add_argument("--targets", type=int, nargs="*", default=[], help="numbers of output tokens to time too")
    parser.add_argument("--products", type=int, default=3, help="products of the naive reference to time (3)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    arguments = parser.parse_args()
    model = shaped_model(arguments.shape).to(arguments.device, getattr(torch, arguments.dtype))
    found = {}
    for tokens in arguments.tokens:
        bench = Bench(model, tokens, arguments.products)
        found[tokens] = bench.rows() + bench.target_rows(arguments.targets)
    print(f"{arguments.shape}, {model.num_parameters() / 1e6:.1f} million parameters, {arguments.device}\n")
    print(table(found))
    if arguments.json:
        figures = {tokens: [asdict(row) for row in rows] for tokens, rows in found.items()}
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
