"""The rows of a speed run, and what each is compared with."""

from collections.abc import Callable, Mapping, Sequence

from captum_heta.benchmark import speed_methods, speed_parts
from captum_heta.benchmark.speed_clock import BASE, LONG
from captum_heta.benchmark.speed_methods import Methods
from captum_heta.benchmark.speed_parts import RATES, Parts
from captum_heta.benchmark.speed_peers import missing
from captum_heta.benchmark.speed_prompt import Subject
from captum_heta.benchmark.speed_table import OF_GRADIENTS, Cost, Row

# By short names, in the order of the table.
ROWS: dict[str, str] = speed_parts.TITLES | speed_methods.TITLES | RATES


class Bench:
    """The rows of one prompt.

    Args:
        subject: the model and the prompt.
        products: products and masked passes of the naive reference to time.
        long: from so many tokens on, what takes long is timed in part.
        base: tokens of the beginning that stands for a long prompt.
    """

    def __init__(self, subject: Subject, products: int = 3, long: int = LONG, base: int = BASE) -> None:
        self.subject = subject
        self.parts = Parts(subject, products, long, base)
        self.methods = Methods(self.parts)

    def cost(self, name: str) -> Cost | None:
        """What a row takes; None if it is not run on this prompt."""
        if name in RATES:
            return None
        return self.parts.cost(name) if name in speed_parts.TITLES else self.methods.cost(name)

    def rows(
        self,
        names: Sequence[str],
        memory: Mapping[str, float | None] | None = None,
        progress: Callable[[Row], object] = lambda row: None,
    ) -> list[Row]:
        """Some of `ROWS`, in its order; a method is compared with Integrated Gradients, which is there then too.

        Args:
            names: keys of `ROWS`.
            memory: MiB by these names.
            progress: called with each row when it is found.
        """
        asked = [name for name in ROWS if name in names or (name == "ig" and set(names) & set(speed_methods.TITLES))]
        memory = memory or {}
        known: dict[str, float] = {}
        rows = []
        for name in asked:
            if name in RATES:
                rate, whole = self.parts.rate(name), not self.parts.long
                ratio, against = rate / self.parts.best_rate, "of a matrix product's (GFLOP/s)"
                rows.append(Row(ROWS[name], rate / 1e9, whole, ratio, against))
                progress(rows[-1])
                continue
            cost = self.cost(name)
            if cost is None:
                continue
            known[name] = cost.seconds
            of, title = _compared(name, known)
            rows.append(Row(ROWS[name], cost.seconds, cost.whole, of, title, *cost[2:], memory.get(name)))
            progress(rows[-1])
        return rows

    def target_rows(self, counts: Sequence[int]) -> list[Row]:
        """HETA in the mode fisher on so many output tokens, each by itself and all together."""
        rows: list[Row] = []
        first: dict[str, float] = {}
        for count in counts:
            for name, together in (("each", False), ("together", True)):
                cost = self.methods.targets(count, together)
                first.setdefault(name, cost.seconds)
                label = f"{count} target{'s' if count > 1 else ''}, {name}"
                rows.append(Row(label, cost.seconds, True, cost.seconds / first[name], f"of {counts[0]}", *cost[2:]))
        return rows

    def missing(self, names: Sequence[str]) -> str:
        """Why some peers among ``names`` are in no row."""
        return missing([name for name in speed_methods.PEERS if name in names], [self.subject])


def _compared(name: str, known: Mapping[str, float]) -> tuple[float | None, str]:
    """A row's ratio to what it is compared with, and what that is."""
    if name in speed_methods.TITLES:
        return known[name] / known["ig"], OF_GRADIENTS
    other, title = speed_parts.COMPARED.get(name, ("", ""))
    return (known[other] / known[name], title) if other in known else (None, "")
