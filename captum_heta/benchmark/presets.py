"""The tables of the paper (Pramanik et al. 2026) as rows and metrics."""

from typing import NamedTuple

from captum_heta.benchmark.sources import RANDOM


class Preset(NamedTuple):
    """What a benchmark runs when nothing else is said.

    Attributes:
        rows: names as in `captum_heta.benchmark.sources.GRAMMAR`.
        metrics: short names.
    """

    rows: tuple[str, ...]
    metrics: tuple[str, ...]


_COMPARED = (
    *("heta", "heta:fisher", "ig", "gxa", "ablation", "rollout", "attention", "normxlogit", "tdd", "progressive"),
    *("reagent", "contextcite", "peering", RANDOM),
)
_PARTS = ("no-gate", "no-curvature", "no-information", "gate", "curvature", "information")

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
}
DEFAULT = Preset(("heta", "ig", "gxa", "ablation", "rollout", RANDOM), ("pi_soft_nc", "pi_soft_ns", "dsa", "f1"))
