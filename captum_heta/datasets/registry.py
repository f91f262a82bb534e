"""The data sets by their short names."""

from collections.abc import Callable
from typing import Any

from captum_heta.checks import check_count
from captum_heta.datasets.curated import read_curated
from captum_heta.datasets.example import Example
from captum_heta.datasets.hotpotqa import read_hotpotqa
from captum_heta.datasets.lambada import read_lambada
from captum_heta.datasets.longra import read_longra
from captum_heta.datasets.musique import read_musique
from captum_heta.datasets.source import Source
from captum_heta.datasets.tellmewhy import read_tellmewhy
from captum_heta.datasets.wikibio import read_wikibio

DATASETS: dict[str, Callable[..., list[Example]]] = {
    "curated": read_curated,
    "longra": read_longra,
    "tellmewhy": read_tellmewhy,
    "wikibio": read_wikibio,
    "lambada": read_lambada,
    "hotpotqa": read_hotpotqa,
    "musique": read_musique,
}


def read(
    name: str, source: Source, *, limit: int | None = None, download: bool = False, **options: Any
) -> list[Example]:
    """The examples of the data set called ``name``, in the order of its file.

    Args:
        name: a key of ``DATASETS``.
        source: a local file or folder, or the id of a data set on the Hugging Face hub.
        limit: only the first so many; None for all. Files are often sorted, so these are no random sample.
        download: whether a data set of the hub may be downloaded.
        **options: those of the data set's own reader, `read_curated` for one.

    Raises:
        ValueError: for an unknown name, a limit below 1, and what the reader finds wrong.
    """
    if name not in DATASETS:
        raise ValueError(f"name must be one of {', '.join(DATASETS)}, got {name!r}.")
    if limit is not None:
        try:
            limit = check_count("limit", limit)
        except ValueError as error:
            raise ValueError(f"{error} None takes all.") from None
    return DATASETS[name](source, download=download, **options)[:limit]
