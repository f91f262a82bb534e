"""Do the methods find the sentence that holds the answer? ``python -m captum_heta.benchmark.alignment``.

Runs HETA in its modes, each of its terms, every other method by name, and random scores on held-out examples of the
embedded model, where the evidence is known, and prints a Markdown table.
"""

import argparse
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from captum_heta.attr import HETA
from captum_heta.benchmark.gold import gold
from captum_heta.comparison import Comparison, compare
from captum_heta.demo import examples, load_model
from captum_heta.methods import METHODS, named_methods
from captum_heta.metrics import alignment_f1, dsa, top1_hit
from captum_heta.options import CURVATURE_MODES

MODES = CURVATURE_MODES[1:]  # "auto" is one of them
RANDOM = "random"


def run(count: int, seed: int, names: Sequence[str] = tuple(METHODS)) -> dict[str, list[float]]:
    """Mean DSA, F1, top-1 hit and seconds of each method over ``count`` examples."""
    model, tokenizer = load_model()
    generator = torch.Generator(device="cpu").manual_seed(seed)
    heta = {f"HETA ({mode})": {"curvature": mode, "seed": seed} for mode in MODES} if "heta" in names else {}
    methods: dict[str, Any] = {name: HETA(model) for name in heta}
    methods |= named_methods([name for name in names if name != "heta"], model)
    rows: dict[str, list[list[float]]] = {}
    torch.manual_seed(seed)  # of which Captum's methods draw; this is a command
    for item in examples(count, seed):
        found = compare(methods, tokenizer, item.prompt, item.target, options=heta)
        if found.failures:
            raise RuntimeError(f"{item.id}: {found.failures}")
        marked = gold(item, found.spans)
        scored = _scores(found) | {RANDOM: (torch.rand(len(found.tokens), generator=generator, device="cpu"), 0.0)}
        for name, (scores, seconds) in scored.items():
            quality = (dsa(scores, *marked), alignment_f1(scores, marked[0]), top1_hit(scores, marked[0]))
            rows.setdefault(name, []).append([*(value.item() for value in quality), seconds])
    return {name: torch.tensor(values).mean(0).tolist() for name, values in rows.items()}


def _scores(found: Comparison) -> dict[str, tuple[Tensor, float]]:
    """Scores (F,) and seconds of each method, and after ``exact`` HETA's terms, which took no time of their own."""
    scores = {}
    for name, row in zip(found.names, found.matrix("none"), strict=True):
        scores[name] = (row, found.seconds[name])
        if name == "HETA (exact)":
            for term, values in found.results[name].terms._asdict().items():
                scores[f"HETA: {term.replace('_', ' ')} alone"] = (values[0], 0.0)
    return scores


def table(rows: dict[str, list[float]]) -> str:
    """A Markdown table. What takes no time of its own has no seconds."""
    lines = ["| method | DSA | F1 | top-1 hit | seconds |", "|---|---:|---:|---:|---:|"]
    for name, (mass, f1, hit, seconds) in rows.items():
        spent = f"{seconds:.3f}" if seconds else ""
        lines.append(f"| {name} | {mass:+.2f} | {f1:.2f} | {hit:.2f} | {spent} |")
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--examples", type=int, default=100, help="how many prompts (default: 100)")
    parser.add_argument(
        "--seed", type=int, default=0, help="of the prompts, the probes and the random scores (default: 0)"
    )
    parser.add_argument(
        "--methods", default=",".join(METHODS), help=f"separated by commas (default: all, {', '.join(METHODS)})"
    )
    arguments = parser.parse_args()
    print(table(run(arguments.examples, arguments.seed, arguments.methods.split(","))))


if __name__ == "__main__":
    main()
