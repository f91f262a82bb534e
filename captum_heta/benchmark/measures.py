"""The metrics of a benchmark by name, each a number for one example and one attribution."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from captum.attr import TextTokenInput
from torch import Tensor

from captum_heta.benchmark.case import Case
from captum_heta.inputs import TextInput
from captum_heta.metrics import (
    alignment_f1,
    comprehensiveness,
    decoding_stability,
    dsa,
    gaussian_sensitivity,
    mass_on,
    paraphrase_consistency,
    soft_nc,
    soft_ns,
    sufficiency,
    top1_hit,
    word_scores,
)

# of the elements that are kept, for the metrics that compare methods at the same
PARTS = (0.1, 0.3, 0.5, 0.7, 0.9)


@dataclass(frozen=True)
class Explained:
    """Attributions of one example, and the way to have others like it.

    Attributes:
        model: what was explained.
        tokenizer: of the model.
        case: the example.
        scores: (F,).
        explain: from an input and output token ids (K,) to the scores of its features.
        draws: of metrics that draw.
        seed: of them.
    """

    model: Any
    tokenizer: Any
    case: Case
    scores: Tensor
    explain: Callable[[TextTokenInput, Tensor], Tensor]
    draws: int
    seed: int

    @property
    def attributions(self) -> Tensor:
        """(1, n), 0 for special tokens."""
        return self.case.spread(self.scores)

    def drawn(self, metric: Callable[..., Tensor], retain: float | None = None) -> float:
        """A soft metric."""
        found = metric(
            self.model,
            self.case.ids.to(self.model.device),
            self.attributions,
            fixed=self.case.fixed,
            n_draws=self.draws,
            seed=self.seed,
            retain=retain,
        )
        return found.item()

    def at_parts(self, metric: Callable[..., Tensor]) -> float:
        """The mean of a soft metric over parts that are kept."""
        return sum(self.drawn(metric, part) for part in PARTS) / len(PARTS)

    def masked(self, metric: Callable[..., Tensor]) -> float:
        """A metric of the output's probability without some tokens."""
        ids = self.case.ids.to(self.model.device)
        return metric(self.model, ids, self.attributions, target=self.case.output.to(ids), fixed=self.case.fixed).item()


def _sensitivity(found: Explained) -> float:
    case = found.case
    moved = gaussian_sensitivity(
        lambda ids: case.spread(found.explain(case.inp, case.output)).to(ids.device),
        found.model,
        case.ids.to(found.model.device),
        n_draws=found.draws,
        seed=found.seed,
    )
    return moved.item()


def _paraphrase(found: Explained) -> float:
    case = found.case
    text = case.example.paraphrase
    if text is None:
        return math.nan
    other = TextInput(text, found.tokenizer)
    words, scores = word_scores(found.scores.abs().cpu(), case.example.prompt, case.spans)
    other_words, other_scores = word_scores(found.explain(other, case.output).abs().cpu(), text, other.spans)
    return paraphrase_consistency(scores, words, other_scores, other_words).item()


def _decoding(found: Explained) -> float:
    case = found.case
    return decoding_stability(
        lambda output: found.explain(case.inp, output.cpu()),
        found.model,
        case.ids.to(found.model.device),
        seeds=range(found.seed, found.seed + 2),
        max_new_tokens=4,
    ).item()


@dataclass(frozen=True)
class Measure:
    """A metric.

    Attributes:
        title: in tables.
        better: "higher" or "lower".
        of: the metric; NaN where it has no value.
        marks: which of evidence and distractors it needs; the metric has no value where an example has none.
    """

    title: str
    better: str
    of: Callable[[Explained], float]
    marks: Sequence[str] = ()

    @property
    def arrow(self) -> str:
        """Up if higher is better, down if lower is."""
        return {"higher": "\N{UPWARDS ARROW}", "lower": "\N{DOWNWARDS ARROW}"}[self.better]

    def __call__(self, found: Explained) -> float | None:
        """The metric, or None where it has no value."""
        if any(not getattr(found.case, mark).any() for mark in self.marks):
            return None
        value = self.of(found)
        return value if math.isfinite(value) else None


MEASURES = {
    "soft_nc": Measure("Soft-NC", "higher", lambda found: found.drawn(soft_nc)),
    "soft_ns": Measure("Soft-NS", "higher", lambda found: found.drawn(soft_ns)),
    "pi_soft_nc": Measure("\N{GREEK SMALL LETTER PI}-Soft-NC", "higher", lambda found: found.at_parts(soft_nc)),
    "pi_soft_ns": Measure("\N{GREEK SMALL LETTER PI}-Soft-NS", "higher", lambda found: found.at_parts(soft_ns)),
    "comprehensiveness": Measure("comprehensiveness", "higher", lambda found: found.masked(comprehensiveness)),
    "sufficiency": Measure("sufficiency", "lower", lambda found: found.masked(sufficiency)),
    "dsa": Measure(
        "DSA",
        "higher",
        lambda found: dsa(found.scores, found.case.evidence, found.case.distractors).item(),
        ("evidence", "distractors"),
    ),
    "mass": Measure(
        "mass on evidence", "higher", lambda found: mass_on(found.scores, found.case.evidence).item(), ("evidence",)
    ),
    "f1": Measure("F1", "higher", lambda found: alignment_f1(found.scores, found.case.evidence).item(), ("evidence",)),
    "top1": Measure("top-1", "higher", lambda found: top1_hit(found.scores, found.case.evidence).item(), ("evidence",)),
    "sensitivity": Measure("sensitivity to noise", "lower", _sensitivity),
    "paraphrase": Measure("paraphrase", "higher", _paraphrase),
    "decoding": Measure("change with decoding", "lower", _decoding),
}


def checked(names: Sequence[str]) -> tuple[str, ...]:
    """The names themselves.

    Raises:
        ValueError: if one is not among `MEASURES` or there twice, or there are none.
    """
    unknown = [name for name in names if name not in MEASURES]
    if unknown or not names:
        raise ValueError(f"There is no metric {(unknown or [''])[0]!r}; there are {', '.join(MEASURES)}.")
    if len(set(names)) < len(names):
        raise ValueError(f"The metric {next(name for name in names if names.count(name) > 1)!r} is there twice.")
    return tuple(names)
