"""The lines of the table of a speed run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

OF_GRADIENTS = "of Integrated Gradients"


class Cost(NamedTuple):
    """What something takes.

    Attributes:
        seconds: how long it took, or would have.
        whole: False if it was timed in part and scaled.
        products: Hessian products, or gradients of a factored mode; None where nothing says.
        passes: passes over masked copies.
        skipped: features whose masked pass was not needed.
    """

    seconds: float
    whole: bool = True
    products: int | None = None
    passes: int | None = None
    skipped: int | None = None


@dataclass
class Row:
    """One line of the table.

    Attributes:
        part: what was timed.
        seconds: how long it took, or would have; of a rate of arithmetic, 10^9 operations a second.
        whole: False if it was timed in part and scaled.
        ratio: to what it is compared with, or None.
        against: what that is.
        products: as in `Cost`.
        passes: as in `Cost`.
        skipped: as in `Cost`.
        memory: by how many MiB the process grew, or None.
    """

    part: str
    seconds: float
    whole: bool = True
    ratio: float | None = None
    against: str = ""
    products: int | None = None
    passes: int | None = None
    skipped: int | None = None
    memory: float | None = None


def table(found: Mapping[int, Sequence[Row]]) -> str:
    """A Markdown table. The columns of counts and of memory are there where a row has some."""
    rows = [row for some in found.values() for row in some]
    counts = [
        (name, title)
        for name, title in {
            "products": "products", "passes": "masked passes", "skipped": "skipped", "memory": "MiB more",
        }.items()
        if any(getattr(row, name) is not None for row in rows)
    ]  # fmt: skip
    lines = [
        "| tokens | part | seconds | ratio | |" + "".join(f" {title} |" for _, title in counts),
        "|---:|---|---:|---:|---|" + "---:|" * len(counts),
    ]
    for tokens, some in found.items():
        for row in some:
            ratio = "" if row.ratio is None else f"{row.ratio:.2f}" if row.ratio < 10 else f"{row.ratio:.0f}"
            spent = f"{'' if row.whole else '~'}{row.seconds:.3g}"
            if row.part.startswith("arithmetic"):
                spent = f"{'' if row.whole else '~'}{row.seconds:.0f} GFLOP/s"
            more = "".join(f" {_count(getattr(row, name))} |" for name, _ in counts)
            lines.append(f"| {tokens} | {row.part} | {spent} | {ratio} | {row.against} |{more}")
    return "\n".join(lines)


def _count(value: float | None) -> str:
    return "" if value is None else f"{value:.0f}"
