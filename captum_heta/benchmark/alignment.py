"""Do the methods find the sentence that holds the answer? ``python -m captum_heta.benchmark.alignment``.

Runs HETA, each of its terms, three of Captum's methods and random scores on held-out examples of the embedded model,
where the evidence is known, and prints a Markdown table.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import torch
from captum.attr import (
    FeatureAblation,
    LayerGradientXActivation,
    LayerIntegratedGradients,
    LLMAttribution,
    LLMGradientAttribution,
    TextTokenInput,
)
from torch import Tensor

from captum_heta.attr import HETA, LLMTokenAttribution
from captum_heta.datasets import Example
from captum_heta.demo import examples, load_model
from captum_heta.features import Features
from captum_heta.metrics import alignment_f1, dsa, top1_hit
from captum_heta.text import token_spans

# One example in, named rows of scores (F,) out: HETA's call also gives its terms.
Method = Callable[[TextTokenInput, Tensor], dict[str, Tensor]]


def methods(model: Any, tokenizer: Any, seed: int) -> list[Method]:
    """The methods to compare, through Captum's interfaces."""
    embeddings = model.get_input_embeddings()
    heta = LLMTokenAttribution(HETA(model), tokenizer)
    captum = {
        "Feature Ablation": LLMAttribution(FeatureAblation(model), tokenizer),
        "Integrated Gradients (50)": LLMGradientAttribution(LayerIntegratedGradients(model, embeddings), tokenizer),
        "Gradient x Activation": LLMGradientAttribution(LayerGradientXActivation(model, embeddings), tokenizer),
    }
    generator = torch.Generator().manual_seed(seed)

    def exact(inp: TextTokenInput, target: Tensor) -> dict[str, Tensor]:
        result = heta.attribute(inp, target, curvature="exact", seed=seed)
        terms = {
            "HETA: semantic flow alone": result.terms.semantic_flow,
            "HETA: curvature alone": result.terms.curvature,
            "HETA: information alone": result.terms.information,
        }
        return {"HETA (exact)": result.seq_attr} | {name: term[0] for name, term in terms.items()}

    def mode(name: str) -> Method:
        return lambda inp, target: {f"HETA ({name})": heta.attribute(inp, target, curvature=name, seed=seed).seq_attr}

    def wrapped(name: str) -> Method:
        return lambda inp, target: {name: captum[name].attribute(inp, target).seq_attr.detach()}

    def random(inp: TextTokenInput, target: Tensor) -> dict[str, Tensor]:
        return {"random": torch.rand(inp.n_itp_features, generator=generator)}

    modes = [mode(name) for name in ("low_rank", "gauss_newton", "fisher")]
    return [exact, *modes, *(wrapped(name) for name in captum), random]


def gold(item: Example, tokenizer: Any, inp: TextTokenInput) -> tuple[Tensor, Tensor]:
    """Which features of ``inp`` lie in the evidence and in the distractors, each (F,) bool."""
    _, spans = token_spans(item.prompt, tokenizer)
    marked = Features.of_spans([item.evidence, item.distractors], spans)
    kept = torch.ones(len(spans), dtype=torch.bool) if inp.itp_mask is None else inp.itp_mask[0]
    evidence, distractors = (torch.zeros(len(spans), dtype=torch.bool) for _ in range(2))
    evidence[list(marked.groups[0])] = True
    distractors[list(marked.groups[1])] = True
    return evidence[kept], distractors[kept]


def run(count: int, seed: int) -> dict[str, list[float]]:
    """Mean DSA, F1, top-1 hit and seconds of each method over ``count`` examples."""
    model, tokenizer = load_model()
    rows: dict[str, list[list[float]]] = {}
    compared = methods(model, tokenizer, seed)
    for item in examples(count, seed):
        inp = TextTokenInput(item.prompt, tokenizer, skip_tokens=[tokenizer.bos_token_id])
        target = torch.tensor(tokenizer.encode(item.target, add_special_tokens=False))
        evidence, distractors = gold(item, tokenizer, inp)
        for method in compared:
            start = time.perf_counter()
            found = method(inp, target)
            seconds = time.perf_counter() - start
            for name, scores in found.items():
                quality = (
                    dsa(scores, evidence, distractors),
                    alignment_f1(scores, evidence),
                    top1_hit(scores, evidence),
                )
                rows.setdefault(name, []).append([*(value.item() for value in quality), seconds])
    return {name: torch.tensor(values).mean(0).tolist() for name, values in rows.items()}


def table(rows: dict[str, list[float]]) -> str:
    """A Markdown table. The seconds of a term are left out: it was computed with the others."""
    lines = ["| method | DSA | F1 | top-1 hit | seconds |", "|---|---:|---:|---:|---:|"]
    for name, (mass, f1, hit, seconds) in rows.items():
        spent = "" if "alone" in name else f"{seconds:.3f}"
        lines.append(f"| {name} | {mass:+.2f} | {f1:.2f} | {hit:.2f} | {spent} |")
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--examples", type=int, default=100, help="how many prompts (default: 100)")
    parser.add_argument(
        "--seed", type=int, default=0, help="of the prompts, the probes and the random scores (default: 0)"
    )
    arguments = parser.parse_args()
    print(table(run(arguments.examples, arguments.seed)))


if __name__ == "__main__":
    main()
