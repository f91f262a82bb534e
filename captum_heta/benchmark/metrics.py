"""The metrics of a benchmark by name, each a number for one example and one attribution."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from captum_heta import metrics as functions

if TYPE_CHECKING:  # the help of the command line needs the names alone, and neither torch nor Captum
    from captum.attr import TextTokenInput
    from torch import Tensor

    from captum_heta.benchmark.case import Case
    from captum_heta.tokenizers import Tokenizer

# of the elements that are kept, for the metrics that compare methods at the same
PARTS = (0.1, 0.3, 0.5, 0.7, 0.9)
# of the curves of insertion and deletion, for prompts with more tokens than that
STEPS = 20


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
    tokenizer: Tokenizer
    case: Case
    scores: Tensor
    explain: Callable[[TextTokenInput, Tensor], Tensor]
    draws: int
    seed: int

    @property
    def attributions(self) -> Tensor:
        """(1, n), 0 for special tokens."""
        return self.case.spread(self.scores)

    def soft(self, metric: Callable[..., Tensor], retain: float | None = None) -> float:
        """A metric of masks that are drawn, which keep the part ``retain``."""
        value = metric(
            self.model,
            self.case.ids.to(self.model.device),
            self.attributions,
            fixed=self.case.fixed,
            n_draws=self.draws,
            seed=self.seed,
            retain=retain,
        )
        return value.item()

    def soft_at_parts(self, metric: Callable[..., Tensor]) -> float:
        """The mean of such a metric over `PARTS`."""
        return sum(self.soft(metric, part) for part in PARTS) / len(PARTS)

    def hard(self, metric: Callable[..., Tensor], **options: Any) -> float:
        """A metric of the output's probability without some tokens."""
        ids, output = self.case.ids.to(self.model.device), self.case.output
        return metric(
            self.model, ids, self.attributions, target=output.to(ids), fixed=self.case.fixed, **options
        ).item()


def _sensitivity(explained: Explained) -> float:
    case = explained.case
    moved = functions.gaussian_sensitivity(
        lambda ids: case.spread(explained.explain(case.inp, case.output)).to(ids.device),
        explained.model,
        case.ids.to(explained.model.device),
        n_draws=explained.draws,
        seed=explained.seed,
    )
    return moved.item()


def _paraphrase(explained: Explained) -> float:
    case = explained.case
    text = case.example.paraphrase
    if text is None:
        return math.nan
    from captum_heta.inputs import TextInput

    other = TextInput(text, explained.tokenizer)
    words, scores = functions.word_scores(explained.scores.abs().cpu(), case.example.prompt, case.spans)
    other_words, other_scores = functions.word_scores(
        explained.explain(other, case.output).abs().cpu(), text, other.spans
    )
    return functions.paraphrase_consistency(scores, words, other_scores, other_words).item()


def _decoding(explained: Explained) -> float:
    case = explained.case
    return functions.decoding_stability(
        lambda output: explained.explain(case.inp, output.cpu()),
        explained.model,
        case.ids.to(explained.model.device),
        seeds=range(explained.seed, explained.seed + 2),
        max_new_tokens=4,
    ).item()


@dataclass(frozen=True)
class Metric:
    """A metric.

    Attributes:
        title: in tables.
        better: "higher" or "lower".
        compute: the number; NaN where it has no value.
        needs: which of evidence, distractors and passage; the metric has no value where an example has none.
        relative_to_random: whether the literature gives it as a multiple of what random scores have, which tables then
            show too.
    """

    title: str
    better: str
    compute: Callable[[Explained], float]
    needs: Sequence[str] = ()
    relative_to_random: bool = False

    @property
    def arrow(self) -> str:
        """Up if higher is better, down if lower is."""
        return {"higher": "\N{UPWARDS ARROW}", "lower": "\N{DOWNWARDS ARROW}"}[self.better]

    def value(self, explained: Explained) -> float | None:
        """The number, or None where there is none."""
        if any(not getattr(explained.case, mark).any() for mark in self.needs):
            return None
        number = self.compute(explained)
        return number if math.isfinite(number) else None


def _of_evidence(name: str) -> Callable[[Explained], float]:
    return lambda explained: getattr(functions, name)(explained.scores, explained.case.evidence).item()


def _in_passage(name: str) -> Callable[[Explained], float]:
    def compute(explained: Explained) -> float:
        case = explained.case
        return getattr(functions, name)(explained.scores, case.evidence, among=case.passage).item()

    return compute


def _of_parts(name: str, **options: Any) -> Callable[[Explained], float]:
    """A metric of whole sentences: each span of the evidence and of the distractors is a part, scored by its sum."""

    def compute(explained: Explained) -> float:
        import torch

        from captum_heta.features import Features

        case = explained.case
        spans = [*case.example.evidence, *case.example.distractors]
        parts = Features.of_spans([[span] for span in spans], case.spans)
        evidence = torch.arange(len(spans), device="cpu") < len(case.example.evidence)
        return getattr(functions, name)(parts.sum(explained.scores.abs().cpu()), evidence, **options).item()

    return compute


def _dsa(explained: Explained) -> float:
    return functions.dsa(explained.scores, explained.case.evidence, explained.case.distractors).item()


_PI = "\N{GREEK SMALL LETTER PI}"

METRICS = {
    "soft_nc": Metric(
        "Soft-NC", "higher", lambda explained: explained.soft(functions.soft_nc), relative_to_random=True
    ),
    "soft_ns": Metric(
        "Soft-NS", "higher", lambda explained: explained.soft(functions.soft_ns), relative_to_random=True
    ),
    "pi_soft_nc": Metric(
        f"{_PI}-Soft-NC",
        "higher",
        lambda explained: explained.soft_at_parts(functions.soft_nc),
        relative_to_random=True,
    ),
    "pi_soft_ns": Metric(
        f"{_PI}-Soft-NS",
        "higher",
        lambda explained: explained.soft_at_parts(functions.soft_ns),
        relative_to_random=True,
    ),
    "comprehensiveness": Metric(
        "comprehensiveness", "higher", lambda explained: explained.hard(functions.comprehensiveness)
    ),
    "sufficiency": Metric("sufficiency", "lower", lambda explained: explained.hard(functions.sufficiency)),
    "insertion": Metric("insertion", "higher", lambda explained: explained.hard(functions.insertion, steps=STEPS)),
    "deletion": Metric("deletion", "lower", lambda explained: explained.hard(functions.deletion, steps=STEPS)),
    "loo": Metric("leave-one-out", "higher", lambda explained: explained.hard(functions.loo_agreement)),
    "dsa": Metric("DSA", "higher", _dsa, ("evidence", "distractors")),
    "mass": Metric("mass on evidence", "higher", _of_evidence("mass_on"), ("evidence",)),
    "f1": Metric("F1", "higher", _of_evidence("alignment_f1"), ("evidence",)),
    "top1": Metric("top-1", "higher", _of_evidence("top1_hit"), ("evidence",)),
    "top1_passage": Metric("top-1 in passage", "higher", _in_passage("top1_hit"), ("evidence", "passage")),
    "ap": Metric("AP", "higher", _of_evidence("average_precision"), ("evidence",)),
    "ap_passage": Metric("AP in passage", "higher", _in_passage("average_precision"), ("evidence", "passage")),
    "recall5": Metric("recall@5", "higher", _of_evidence("recall_at"), ("evidence",)),
    "recall5_passage": Metric("recall@5 in passage", "higher", _in_passage("recall_at"), ("evidence", "passage")),
    "ap_parts": Metric("AP of parts", "higher", _of_parts("average_precision"), ("evidence", "distractors")),
    "recall_parts": Metric("recall of parts", "higher", _of_parts("recall_at", k=None), ("evidence", "distractors")),
    "sensitivity": Metric("sensitivity to noise", "lower", _sensitivity),
    "paraphrase": Metric("paraphrase", "higher", _paraphrase),
    "decoding": Metric("change with decoding", "lower", _decoding),
}


def check_metrics(names: Sequence[str]) -> tuple[str, ...]:
    """The names of metrics themselves.

    Raises:
        ValueError: if one is not among `METRICS` or there twice, or there are none.
    """
    unknown = [name for name in names if name not in METRICS]
    if unknown or not names:
        raise ValueError(f"There is no metric {(unknown or [''])[0]!r}; there are {', '.join(METRICS)}.")
    if len(set(names)) < len(names):
        raise ValueError(f"The metric {next(name for name in names if names.count(name) > 1)!r} is there twice.")
    return tuple(names)
