"""Examples with known evidence, in one form for every data set."""

from captum_heta.datasets.builder import build_curated, sciq_questions
from captum_heta.datasets.curated import read_curated
from captum_heta.datasets.example import Example
from captum_heta.datasets.lambada import read_lambada
from captum_heta.datasets.longra import read_longra
from captum_heta.datasets.registry import DATASETS, read
from captum_heta.datasets.tellmewhy import read_tellmewhy
from captum_heta.datasets.wikibio import read_wikibio

__all__ = [
    "DATASETS",
    "Example",
    "build_curated",
    "read",
    "read_curated",
    "read_lambada",
    "read_longra",
    "read_tellmewhy",
    "read_wikibio",
    "sciq_questions",
]
