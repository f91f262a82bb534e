"""The rows of a benchmark by name: methods, HETA's modes, what is made of its terms alone; and whole tables of rows."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, NamedTuple

from captum_heta.checks import check_part
from captum_heta.methods import METHODS, NAMED, PEERS, named_methods
from captum_heta.options import CURVATURE_MODES, HETAOptions

if TYPE_CHECKING:  # the help of the command line needs the names alone, and neither torch nor Captum
    from captum.attr import LLMAttributionResult
    from torch import Tensor

    Scores = Callable[[LLMAttributionResult], Tensor]

RANDOM = "random"

# HETA and its targeted form, whose rows may have options and parts
_HETAS = ("heta", "targeted")

# an option of `captum_heta.LLMTokenAttribution` and not of the method
REFINE = "refine"

# the terms that a part keeps, in the order of HETA's: the gate, the curvature, the information
_PARTS: dict[str, tuple[str, tuple[int, ...]]] = {
    "no-gate": ("no gate", (1, 2)),
    "no-curvature": ("no curvature", (0, 2)),
    "no-information": ("no information", (0, 1)),
    "gate": ("gate alone", (0,)),
    "curvature": ("curvature alone", (1,)),
    "information": ("information alone", (2,)),
}

GRAMMAR = (
    f"a method ({', '.join([*METHODS, RANDOM])}) or one of another package ({', '.join(PEERS)}); "
    f"{' or '.join(_HETAS)} with : and a curvature mode "
    f"({', '.join(CURVATURE_MODES[1:])}) or options of theirs such as flow=contribution or refine=0.9, joined by +; "
    "and after any of these a part of it, /beta=B (gamma is 1 - B) or one of "
    f"{', '.join(f'/{name}' for name in _PARTS)}"
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


def row_groups(
    names: Sequence[str], model: Any, options: Mapping[str, Mapping[str, Any]], seed: int, tokenizer: Any = None
) -> list[RowGroup]:
    """The rows of these names, by the attribution that each is read off.

    Args:
        names: as in `GRAMMAR`.
        model: a causal language model.
        options: arguments of methods, by short names.
        seed: of HETA and the other methods of this package that draw.
        tokenizer: of the model; for some methods of other packages.

    Raises:
        ValueError: for a name that is none, given twice, or options of no method.
        ImportError: for a method of a package that is not installed.
    """
    found: dict[str, RowGroup] = {}
    labels: set[str] = set()
    for name in names:
        base, _, part = name.partition("/")
        short, _, mode = base.partition(":")
        if (mode or part) and short not in _HETAS:
            raise ValueError(f"{name!r} is no row of a benchmark: {short} has no modes or parts.")
        if base not in found:
            found[base] = _group(name, short, mode, options.get(short, {}), seed, (model, tokenizer))
        label, scores = _row(name, found[base], part)
        if part and _multiplies(found[base]):
            found[base].options["skip"] = 0.0  # a part of a product is asked for everywhere
        if label in labels:
            raise ValueError(f"{name!r} is there twice.")
        labels.add(label)
        found[base].rows[label] = scores
    unknown = [name for name in options if name not in NAMED]  # some may be of rows that join later
    if unknown:
        raise ValueError(f"options are for {unknown[0]!r}, which is not among the methods {', '.join(NAMED)}.")
    return list(found.values())


def is_label(text: str) -> bool:
    """Whether tables may name a row so."""
    base, _, part = text.partition(": ")
    if part and part not in [name for name, _ in _PARTS.values()] and re.fullmatch(r"beta [\d.e-]+", part) is None:
        return False
    for short in _HETAS:
        title, _, inner = base.partition(" (")
        if title == METHODS[short].title:
            return not inner or (inner.endswith(")") and _is_mode(inner[:-1].replace(", ", "+")))
    return not part and (base == RANDOM or base in [method.title for method in NAMED.values()])


def _is_mode(mode: str) -> bool:
    try:
        _options("", mode)
    except ValueError:
        return False
    return True


def _group(
    name: str, short: str, mode: str, options: Mapping[str, Any], seed: int, explained: tuple[Any, Any]
) -> RowGroup:
    if short == RANDOM:
        return RowGroup(RANDOM, None, {})
    chosen = _options(name, mode) if mode else {}
    (method,) = named_methods([short], *explained).values()
    if short in PEERS and method.package.missing:  # before hours of what the others take
        raise ImportError(method.package.missing)
    draws = getattr(method, "draws", None)  # Captum's methods do not say; they draw from torch's global state
    seeded = {"seed": seed} if draws is not None and draws() else {}
    return RowGroup(_label(short, mode), method, seeded | dict(options) | chosen)


def _options(name: str, mode: str) -> dict[str, Any]:
    """The options of HETA that a row names, such as "fisher+flow=contribution".

    Raises:
        ValueError: if they are none.
    """
    known = {field.name for field in fields(HETAOptions)}
    found: dict[str, Any] = {}
    for item in mode.split("+"):
        key, _, value = item.rpartition("=")
        key = key or "curvature"
        if key == "curvature" and value not in CURVATURE_MODES:
            raise ValueError(f"{name!r}: there is no curvature mode {value!r}, only {', '.join(CURVATURE_MODES)}.")
        if key not in known and key != REFINE:
            raise ValueError(f"{name!r}: HETA has no option {key!r}; it has {', '.join(sorted(known))}.")
        if key in found:
            raise ValueError(f"{name!r} has {key} twice.")
        found[key] = _read(value)
    own = {key: value for key, value in found.items() if key != REFINE}
    try:
        if REFINE in found:
            check_part(REFINE, found[REFINE], "the score", one=True)
        HETAOptions(**(({"fusion": "product"} if "skip" in own else {}) | own))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name!r}: {error}") from None
    return found


def _read(value: str) -> Any:
    """A number where it is one."""
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            continue
    return value


def _label(short: str, mode: str) -> str:
    title = NAMED[short].title
    return f"{title} ({mode.replace('+', ', ')})" if mode else title


def _row(name: str, group: RowGroup, part: str) -> "tuple[str, Scores]":
    label = group.label
    if not part:
        return label, lambda result: result.seq_attr
    if part in _PARTS:
        text, kept = _PARTS[part]
        return f"{label}: {text}", lambda result: _of_terms(result.terms, kept, _multiplies(group))[0]
    beta = _beta(name, part)
    if _multiplies(group):
        raise ValueError(f"{name!r}: a product has no weights.")
    return f"{label}: beta {beta:g}", lambda result: _weighed(result.terms, beta)[0]


def _weighed(terms: Any, beta: float) -> "Tensor":
    from captum_heta.terms.fusion import weighted_sum

    gate, curvature, information = terms
    return weighted_sum(gate, curvature, information, beta, 1 - beta)


def _multiplies(group: RowGroup) -> bool:
    own = {name: value for name, value in group.options.items() if name != REFINE}
    options = group.method.options_type(**own)
    return options.fusion == "product"


def _of_terms(terms: Any, kept: Sequence[int], multiplies: bool) -> "Tensor":
    """What some of HETA's terms make, (K, F), equally weighed: their product, or in a sum what remains of Eq. 5."""
    from captum_heta.terms.fusion import factors

    whole = factors(*terms) if multiplies else [term.clamp(min=0) for term in terms]
    parts = [whole[i] for i in kept]
    gated = 0 in kept
    return math.prod(parts[1:], start=parts[0]) if gated or multiplies else sum(parts[1:], start=parts[0])


def _beta(name: str, part: str) -> float:
    key, _, value = part.partition("=")
    try:
        beta = float(value)
    except ValueError:
        beta = -1.0
    if key != "beta" or not 0 <= beta <= 1:
        raise ValueError(f"{name!r}: the part must be one of {', '.join(_PARTS)} or beta=B with B from 0 to 1.")
    return beta


class Preset(NamedTuple):
    """What a benchmark runs when nothing else is said.

    Attributes:
        rows: names as in `GRAMMAR`.
        metrics: short names.
    """

    rows: tuple[str, ...]
    metrics: tuple[str, ...]


_CONTROLS = (*("gradient_norm", "ig", "gxa", "ablation", "rollout", "attention", "normxlogit"), RANDOM)
_COMPARED = (
    *("targeted", "heta", "heta:fisher", "gradient_norm", "ig", "gxa", "ablation", "rollout", "attention"),
    *("normxlogit", "tdd", "progressive", "reagent", "contextcite", "peering", RANDOM),
)

# the targeted form and the paper's in each mode, and each term of the first of these; every other method as it is
_ALIGNED = (
    *("targeted", "heta:exact", "heta:exact/gate", "heta:exact/curvature", "heta:exact/information"),
    *(f"heta:{mode}" for mode in CURVATURE_MODES if mode not in ("auto", "exact", "gradient")),
    *(name for name in METHODS if name not in _HETAS),
    RANDOM,
)

# each of the three changes alone, and two of them; the gate of the published code; the terms alone and by two; what the
# curvature adds to a gradient
_TARGETED = (
    "targeted",
    *("heta:fisher", "heta:fisher+flow=contribution", "heta:fisher+information=target", "heta:fisher+fusion=product"),
    *("heta:fisher+flow=contribution+information=target", "heta:fisher+flow=contribution+fusion=product"),
    *("heta:fisher+information=target+fusion=product", "heta:fisher+beta=balanced", "heta:fisher+flow=published"),
    *(f"targeted/{part}" for part in _PARTS),
    *("targeted:gradient", "targeted:baselines=zero"),
    *("gradient_norm", "ablation", RANDOM),
)
# what other people's tasks compare, at the cost of one pass a token at the most, and how
_RECOVERED = ("targeted", "gradient_norm", "gxa", "attention", "ablation", RANDOM)
_RECOVERY = ("ap_passage", "recall5_passage", "ap_parts", "recall_parts", "deletion")
_RANKED = ("ap", "ap_passage", "top1", "top1_passage", "recall5", "dsa", "f1")

# the tables of the paper (Pramanik et al. 2026), and which method finds the evidence
PRESETS = {
    "table1": Preset(_COMPARED, ("soft_nc", "soft_ns", "pi_soft_nc", "pi_soft_ns")),
    "table2": Preset(_COMPARED, ("dsa", "f1", "top1")),
    "ablation": Preset(
        ("heta", *(f"heta/{part}" for part in _PARTS), "heta:flow=published", "gradient_norm", RANDOM),
        ("pi_soft_nc", "pi_soft_ns", "dsa", "f1"),
    ),
    "robustness": Preset(
        ("heta", "heta:fisher", "gradient_norm", "ig", "gxa", "ablation", "normxlogit"),
        ("sensitivity", "paraphrase", "decoding"),
    ),
    "beta-gamma": Preset(
        tuple(f"heta/beta={beta / 10:g}" for beta in range(0, 11)), ("pi_soft_nc", "pi_soft_ns", "dsa", "f1")
    ),
    "alignment": Preset(_ALIGNED, ("dsa", "f1", "top1", "ap")),
    # the targeted form: where it finds the evidence, and what of it does
    "targeted": Preset(_TARGETED, _RANKED),
    "controls": Preset(("targeted", "heta:fisher", *_CONTROLS), (*_RANKED, "insertion", "deletion", "loo")),
    "ruler": Preset(_RECOVERED, _RECOVERY),
    "multihop": Preset(_RECOVERED, _RECOVERY),
    "injection": Preset(_RECOVERED, _RECOVERY),
}
DEFAULT = Preset(
    ("targeted", "heta", "ig", "gxa", "ablation", "rollout", RANDOM), ("pi_soft_nc", "pi_soft_ns", "dsa", "f1")
)
