"""Where a data set is: in a local file or folder, or on the Hugging Face hub."""

import re
from collections.abc import Sequence
from pathlib import Path

from captum_heta.datasets.records import Record, of_file, of_rows

Source = str | Path

JSON = (".json", ".jsonl")
JSON_OR_TEXT = (*JSON, ".txt")
JSON_OR_PARQUET = (*JSON, ".parquet")

_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")


def read_records(
    source: Source,
    *,
    default_split: str,
    split: str | None,
    download: bool,
    suffixes: Sequence[str] = JSON,
    key: str | None = None,
    config: str | None = None,
) -> list[Record]:
    """The records of a local file or folder if there is one of that name, else of the hub.

    Args:
        source: a file; a folder with one file of ``suffixes``; or the id ``owner/name`` of a data set on the hub.
        default_split: what is read of the hub if ``split`` is None.
        split: which split of the hub's data set; None for a local file.
        download: whether a data set of the hub may be downloaded.
        suffixes: of the files that are read.
        key: where the list is in a JSON object.
        config: which of several data sets under one id of the hub.

    Raises:
        FileNotFoundError: if there is no such file, and it is no id of the hub.
        ImportError: if the hub is needed and the library ``datasets`` is not installed.
        ValueError: for an id of the hub without ``download``, a split of a local file, a folder without exactly one
            such file, and content that is no list of records.
    """
    path = Path(source)
    if path.exists():
        if split is not None:
            raise ValueError(
                f"split chooses a part of a data set on the hub: leave it out for {source}, got {split!r}."
            )
        return of_file(_file(path, suffixes), key)
    if path.suffix in {*JSON_OR_TEXT, *JSON_OR_PARQUET} or not _HUB_ID.fullmatch(str(source)):
        raise FileNotFoundError(f"There is no file or folder {str(source)!r}.")
    if not download:
        raise ValueError(
            f"There is no file or folder {str(source)!r}, and nothing is downloaded unasked. If this is the id of a "
            f"data set on the Hugging Face hub, pass download=True; else give the path of a local file "
            f"({', '.join(suffixes)})."
        )
    return _of_hub(str(source), config, split or default_split)


def _file(path: Path, suffixes: Sequence[str]) -> Path:
    if path.is_dir():
        found = sorted(file for file in path.iterdir() if file.suffix in suffixes)
        if len(found) != 1:
            names = ", ".join(file.name for file in found) or "none"
            raise ValueError(
                f"The folder {path} must have one file that ends in {', '.join(suffixes)}, it has {names}: give the "
                "path of a file."
            )
        return found[0]
    if path.suffix not in suffixes:
        raise ValueError(f"{path} must end in {', '.join(suffixes)}, got {path.suffix!r}.")
    return path


def _of_hub(name: str, config: str | None, split: str) -> list[Record]:
    try:
        import datasets
    except ImportError as error:
        raise ImportError(
            f"To download {name!r} needs the library datasets: pip install 'captum-heta[benchmark]'."
        ) from error
    return of_rows(datasets.load_dataset(name, config, split=split), f"{name} ({split})")
