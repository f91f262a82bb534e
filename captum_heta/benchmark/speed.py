"""How long does it take? ``python -m captum_heta.benchmark.speed --tokens 64 256 --shape gpt2``.

Times HETA's parts against the naive reference of `captum_heta.testing` (one product, one masked pass at a time, with
all logits) and whole methods against Captum's and, where they are installed, Inseq's and FlashTrace's. With random
weights of a shape and random tokens nothing is downloaded; with ``--model`` the prompts are texts that ask something.

All ratios come from one run. What would take too long is timed in part and scaled, and marked with ~. From 512 tokens
on that is:

- Integrated Gradients: on the line through one and two steps. Feature Ablation and Shapley values: from passes.
- masked passes of all features: from some in the middle of the prompt, whose mean length they have.
- ``fisher``: on the line through two and four gradients.
- the naive parts, ``exact`` and ``low_rank``: from one product or pass on 256 tokens, by how its operations grow.
- Targeted HETA, on random tokens alone: from these, with the share of masked passes that 256 tokens need.
"""

import argparse
import json
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path

import torch

from captum_heta.benchmark.speed_memory import growth
from captum_heta.benchmark.speed_parts import RATES
from captum_heta.benchmark.speed_prompt import TEXTS, Setting, Subject
from captum_heta.benchmark.speed_rows import ROWS, Bench
from captum_heta.benchmark.speed_table import Row, table
from captum_heta.demo import MODELS
from captum_heta.testing.architectures import SHAPES

_SHORTEST = 8


def main() -> None:
    """Measure and print."""
    arguments = _parser().parse_args()
    try:
        setting = Setting(
            arguments.shape,
            arguments.model,
            arguments.text,
            max(arguments.tokens),
            arguments.device,
            arguments.dtype,
        )
    except ValueError as error:
        raise SystemExit(str(error)) from error
    names = arguments.methods
    # before the model is loaded here, as `growth` asks
    memory = {
        tokens: {name: growth(setting, tokens, name) for name in names if name not in RATES}
        for tokens in (arguments.tokens if arguments.memory else [])
    }
    try:
        subjects = {tokens: setting.subject(tokens) for tokens in arguments.tokens}
    except ValueError as error:
        raise SystemExit(str(error)) from error
    found: dict[int, list[Row]] = {}
    notes = []
    for tokens, subject in subjects.items():
        bench = Bench(subject, arguments.products)
        found[tokens] = bench.rows(names, memory.get(tokens), partial(_tell, tokens)) + bench.target_rows(
            arguments.targets
        )
        if arguments.json:  # after each length: the next may take long
            figures = {count: [asdict(row) for row in rows] for count, rows in found.items()}
            arguments.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
        notes += [_prompt(tokens, subject), bench.missing(names)]
    model, _ = setting.loaded
    print(
        f"{arguments.model or arguments.shape}, {model.num_parameters() / 1e6:.1f} million parameters, "
        f"{arguments.device}\n"
    )
    print(table(found))
    for note in dict.fromkeys(note for note in notes if note):
        print(f"\n{note}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--tokens", type=_length, nargs="+", default=[64, 256], help="lengths of the prompt (64 256)")
    parser.add_argument("--shape", choices=SHAPES, default="gpt2", help="of a model with random weights (gpt2)")
    parser.add_argument(
        "--model", help=f"a Hugging Face id or folder, or {' or '.join(MODELS)}, embedded ones; then on text"
    )
    parser.add_argument("--text", choices=TEXTS, help="what the texts are; needles, or facts below 128 tokens")
    parser.add_argument("--methods", choices=ROWS, nargs="+", default=list(ROWS), metavar="NAME", help=", ".join(ROWS))
    parser.add_argument("--targets", type=int, nargs="*", default=[], help="numbers of output tokens to time too")
    parser.add_argument("--products", type=int, default=3, help="products of the naive reference to time (3)")
    parser.add_argument("--memory", action="store_true", help="each row once more, by how much it makes a process grow")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    return parser


def _length(text: str) -> int:
    if not text.isdecimal() or int(text) < _SHORTEST:
        raise argparse.ArgumentTypeError(f"a prompt has at least {_SHORTEST} tokens, got {text!r}")
    return int(text)


def _tell(tokens: int, row: Row) -> None:
    """What is done, for those who wait."""
    print(f"{tokens} tokens, {row.part}", file=sys.stderr, flush=True)


def _prompt(tokens: int, subject: Subject) -> str:
    if subject.answered is None:
        return ""
    return (
        f"{tokens} tokens: a text of {len(subject.ids)}, whose answer{subject.answer!r} is "
        f"{'' if subject.answered else 'not '}the model's likeliest."
    )


if __name__ == "__main__":
    main()
