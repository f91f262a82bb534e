"""Examples with known evidence, in one form for every data set."""

from captum_heta.datasets.builder import build_curated, sciq_questions
from captum_heta.datasets.curated import read_curated
from captum_heta.datasets.example import Example
from captum_heta.datasets.facts import build_facts
from captum_heta.datasets.generated import GENERATED, generate
from captum_heta.datasets.hops import build_hops
from captum_heta.datasets.hotpotqa import read_hotpotqa
from captum_heta.datasets.injection import build_injection
from captum_heta.datasets.lambada import read_lambada
from captum_heta.datasets.longra import read_longra
from captum_heta.datasets.musique import read_musique
from captum_heta.datasets.needles import build_needles
from captum_heta.datasets.registry import DATASETS, read
from captum_heta.datasets.tellmewhy import read_tellmewhy
from captum_heta.datasets.variables import build_variables
from captum_heta.datasets.wikibio import read_wikibio

__all__ = [
    "DATASETS",
    "GENERATED",
    "Example",
    "build_curated",
    "build_facts",
    "build_hops",
    "build_injection",
    "build_needles",
    "build_variables",
    "generate",
    "read",
    "read_curated",
    "read_hotpotqa",
    "read_lambada",
    "read_longra",
    "read_musique",
    "read_tellmewhy",
    "read_wikibio",
    "sciq_questions",
]
