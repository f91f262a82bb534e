"""How near are the curvature modes to each other? ``python -m captum_heta.benchmark.agreement --examples 50``.

Ranks the tokens of held-out examples of the embedded model by S and by HETA's scores in each mode, and prints Spearman
correlations with ``exact`` and 400 probes. That estimate takes most of the time, about a minute an example.
"""

import argparse
import time
from typing import Any

import torch
from torch import Tensor

from captum_heta.attr import HETA
from captum_heta.demo import examples, load_model
from captum_heta.metrics import spearman
from captum_heta.options import CURVATURE_MODES

PROBES = 400
MODES = tuple(mode for mode in CURVATURE_MODES if mode not in ("auto", "gradient"))  # one of them; no curvature


def run(count: int, seed: int, probes: int = PROBES) -> dict[str, list[float]]:
    """Mean Spearman correlation of S, that of the scores, and seconds, of each mode over ``count`` examples."""
    model, tokenizer = load_model()
    heta = HETA(model)
    rows: dict[str, list[list[float]]] = {}
    for item in examples(count, seed):
        ids = torch.tensor([tokenizer.encode(item.prompt)])
        target = tokenizer.encode(item.target, add_special_tokens=False)[0]

        def explained(**options: Any) -> tuple[Tensor, Tensor]:
            scores, terms = heta.attribute(ids, target=target, return_terms=True, **options)  # noqa: B023
            return terms.curvature[0], scores[0]

        # other probes than the modes get
        truth = explained(curvature="exact", n_samples=probes, seed=seed + 1)
        for mode in MODES:
            start = time.perf_counter()
            found = explained(curvature=mode, seed=seed)
            seconds = time.perf_counter() - start
            agreement = [spearman(one, other).item() for one, other in zip(found, truth, strict=True)]
            rows.setdefault(mode, []).append([*agreement, seconds])
    return {mode: torch.tensor(values).mean(0).tolist() for mode, values in rows.items()}


def table(rows: dict[str, list[float]]) -> str:
    """A Markdown table."""
    lines = ["| curvature | Spearman of S | Spearman of the scores | seconds |", "|---|---:|---:|---:|"]
    lines += [f"| `{mode}` | {s:.3f} | {score:.3f} | {spent:.2f} |" for mode, (s, score, spent) in rows.items()]
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--examples", type=int, default=50, help="how many prompts (default: 50)")
    parser.add_argument("--seed", type=int, default=0, help="of the prompts and the probes (default: 0)")
    arguments = parser.parse_args()
    print(table(run(arguments.examples, arguments.seed)))


if __name__ == "__main__":
    main()
