"""The rows of a benchmark by name: methods, HETA's modes, what is made of its terms alone; and whole tables of rows."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from captum_heta.methods import METHODS, named_methods
from captum_heta.options import CURVATURE_MODES

if TYPE_CHECKING:  # the help of the command line needs the names alone, and neither torch nor Captum
    from captum.attr import LLMAttributionResult
    from torch import Tensor

    from captum_heta.attr import HETATerms

    Scores = Callable[[LLMAttributionResult], Tensor]

RANDOM = "random"

# M, S and I weighed equally, as in HETA
_OF_TERMS: "dict[str, tuple[str, Callable[[HETATerms], Tensor]]]" = {
    "no-gate": ("no gate", lambda terms: terms.curvature + terms.information),
    "no-curvature": ("no curvature", lambda terms: terms.combine(0, 1)),
    "no-information": ("no information", lambda terms: terms.combine(1, 0)),
    "gate": ("gate alone", lambda terms: terms.semantic_flow),
    "curvature": ("curvature alone", lambda terms: terms.curvature),
    "information": ("information alone", lambda terms: terms.information),
}

GRAMMAR = (
    f"a method ({', '.join([*METHODS, RANDOM])}); heta:MODE with a curvature mode "
    f"({', '.join(CURVATURE_MODES[1:])}); and after either of HETA's a part of it, /beta=B (gamma is 1 - B) or one of "
    f"{', '.join(f'/{name}' for name in _OF_TERMS)}"
)


@dataclass
class RowGroup:
    """The rows that are read off one attribution, which runs once for all of them.

    Attributes:
        label: of the attribution as a whole, which may be a row too.
        method: of this package or Captum, or a plain function; None for random scores.
        options: arguments of its ``attribute``.
        rows: from the label of each row to its scores (F,) in the result.
    """

    label: str
    method: Any
    options: dict[str, Any]
    rows: "dict[str, Scores]" = field(default_factory=dict)

    @property
    def timed(self) -> str | None:
        """The row that the attribution's time is told of; the others took none. None for random scores."""
        if self.method is None:
            return None
        return self.label if self.label in self.rows else next(iter(self.rows))


def row_groups(names: Sequence[str], model: Any, options: Mapping[str, Mapping[str, Any]], seed: int) -> list[RowGroup]:
    """The rows of these names, by the attribution that each is read off.

    Args:
        names: as in `GRAMMAR`.
        model: a causal language model.
        options: arguments of methods, by short names.
        seed: of HETA and the other methods of this package that draw.

    Raises:
        ValueError: for a name that is none, given twice, or options of no method.
    """
    found: dict[str, RowGroup] = {}
    labels: set[str] = set()
    for name in names:
        base, _, part = name.partition("/")
        short, _, mode = base.partition(":")
        if (mode or part) and short != "heta":
            raise ValueError(f"{name!r} is no row of a benchmark: {short} has no modes or parts.")
        if mode and mode not in CURVATURE_MODES:
            raise ValueError(f"{name!r}: there is no curvature mode {mode!r}, only {', '.join(CURVATURE_MODES)}.")
        if base not in found:
            found[base] = _group(short, mode, model, options.get(short, {}), seed)
        label, scores = _row(name, found[base].label, part)
        if label in labels:
            raise ValueError(f"{name!r} is there twice.")
        labels.add(label)
        found[base].rows[label] = scores
    unknown = [name for name in options if name not in METHODS]  # some may be of rows that join later
    if unknown:
        raise ValueError(f"options are for {unknown[0]!r}, which is not among the methods {', '.join(METHODS)}.")
    return list(found.values())


def is_label(text: str) -> bool:
    """Whether tables may name a row so."""
    base, _, part = text.partition(": ")
    heta = METHODS["heta"].title
    hetas = {heta, *(_label("heta", mode) for mode in CURVATURE_MODES)}
    if part:
        known = part in [name for name, _ in _OF_TERMS.values()] or re.fullmatch(r"beta [\d.e-]+", part) is not None
        return base in hetas and known
    return base in hetas or base == RANDOM or base in [method.title for method in METHODS.values()]


def _group(short: str, mode: str, model: Any, options: Mapping[str, Any], seed: int) -> RowGroup:
    if short == RANDOM:
        return RowGroup(RANDOM, None, {})
    (method,) = named_methods([short], model).values()
    draws = getattr(method, "draws", None)  # Captum's methods do not say; they draw from torch's global state
    seeded = {"seed": seed} if draws is not None and draws() else {}
    return RowGroup(_label(short, mode), method, seeded | ({"curvature": mode} if mode else {}) | dict(options))


def _label(short: str, mode: str) -> str:
    return f"{METHODS[short].title} ({mode})" if mode else METHODS[short].title


def _row(name: str, label: str, part: str) -> "tuple[str, Scores]":
    if not part:
        return label, lambda result: result.seq_attr
    if part in _OF_TERMS:
        text, of_terms = _OF_TERMS[part]
        return f"{label}: {text}", lambda result: of_terms(result.terms)[0]
    beta = _beta(name, part)
    return f"{label}: beta {beta:g}", lambda result: result.terms.combine(beta, 1 - beta)[0]


def _beta(name: str, part: str) -> float:
    key, _, value = part.partition("=")
    try:
        beta = float(value)
    except ValueError:
        beta = -1.0
    if key != "beta" or not 0 <= beta <= 1:
        raise ValueError(f"{name!r}: the part must be one of {', '.join(_OF_TERMS)} or beta=B with B from 0 to 1.")
    return beta


class Preset(NamedTuple):
    """What a benchmark runs when nothing else is said.

    Attributes:
        rows: names as in `GRAMMAR`.
        metrics: short names.
    """

    rows: tuple[str, ...]
    metrics: tuple[str, ...]


_COMPARED = (
    *("heta", "heta:fisher", "ig", "gxa", "ablation", "rollout", "attention", "normxlogit", "tdd", "progressive"),
    *("reagent", "contextcite", "peering", RANDOM),
)
_PARTS = ("no-gate", "no-curvature", "no-information", "gate", "curvature", "information")

# each mode, and each term of the first; every other method as it is
_ALIGNED = (
    *("heta:exact", "heta:exact/gate", "heta:exact/curvature", "heta:exact/information"),
    *(f"heta:{mode}" for mode in CURVATURE_MODES if mode not in ("auto", "exact")),
    *(name for name in METHODS if name != "heta"),
    RANDOM,
)

# the tables of the paper (Pramanik et al. 2026), and which method finds the evidence
PRESETS = {
    "table1": Preset(_COMPARED, ("soft_nc", "soft_ns", "pi_soft_nc", "pi_soft_ns")),
    "table2": Preset(_COMPARED, ("dsa", "f1", "top1")),
    "ablation": Preset(
        ("heta", *(f"heta/{part}" for part in _PARTS), RANDOM), ("pi_soft_nc", "pi_soft_ns", "dsa", "f1")
    ),
    "robustness": Preset(
        ("heta", "heta:fisher", "ig", "gxa", "ablation", "normxlogit"), ("sensitivity", "paraphrase", "decoding")
    ),
    "beta-gamma": Preset(
        tuple(f"heta/beta={beta / 10:g}" for beta in range(0, 11)), ("pi_soft_nc", "pi_soft_ns", "dsa", "f1")
    ),
    "alignment": Preset(_ALIGNED, ("dsa", "f1", "top1")),
}
DEFAULT = Preset(("heta", "ig", "gxa", "ablation", "rollout", RANDOM), ("pi_soft_nc", "pi_soft_ns", "dsa", "f1"))
