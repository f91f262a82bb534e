"""JSON lines in a folder that may be killed at any moment, and to which several processes write."""

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from filelock import FileLock, Timeout

from captum_heta.benchmark.shape import BEGINNING, Key, key_of, line_of
from captum_heta.files import write_whole

MERGED = "results.jsonl"
OF_ALL = "lines-*.jsonl"


@dataclass(frozen=True)
class Place:
    """Where a line is.

    Attributes:
        path: its file.
        number: from 1.
    """

    path: Path
    number: int

    def error(self, problem: str) -> ValueError:
        """An error that says where the line is, what is wrong with it and what to do."""
        return ValueError(f"{self.path}, line {self.number} {problem}. Remove the line and run again.")


class Shard:
    """The file of one process, ``lines-RANK.jsonl``; a context, in which no other run writes to it.

    On entry a line that was torn when the process was killed is cut off.

    Args:
        folder: where the files of all processes are.
        rank: the number of this process.

    Raises:
        RuntimeError: on entry, if another run has the file.
        ValueError: on entry, if the file ends in something that is no beginning of a line.
        OSError: on entry, if it cannot be written to.
    """

    def __init__(self, folder: Path, rank: int = 0) -> None:
        self.path = folder / f"lines-{rank}.jsonl"
        self._lock = FileLock(self.path.with_suffix(".lock"), timeout=0)

    def __enter__(self) -> "Shard":
        try:
            self._lock.acquire()
        except Timeout:
            raise RuntimeError(
                f"Another run writes to {self.path}: wait for it, or give this one another folder."
            ) from None
        try:
            _mend_end(self.path)
            self._file = self.path.open("a", encoding="utf-8")
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        self._lock.release()

    def append(self, lines: Iterable[dict[str, Any]]) -> None:
        """Write lines so that they outlast this process."""
        # one write, so that a process that is killed tears one line at most
        self._file.write("".join(as_json(line, allow_nan=False) + "\n" for line in lines))
        self._file.flush()
        os.fsync(self._file.fileno())

    def drop_failures(self) -> None:
        """Forget the lines of methods that failed, so that they are tried again."""
        kept = [line for _, line in _placed(self.path) if "error" not in line]
        self._file.close()
        _replace(self.path, kept)
        self._file = self.path.open("a", encoding="utf-8")


def placed_lines(folder: Path) -> list[tuple[Place, dict[str, Any]]]:
    """The complete lines of all processes, and where each is.

    Raises:
        ValueError: if something that is not a file's end is no line; names the file, the line and the way out.
    """
    return [found for path in sorted(folder.glob(OF_ALL)) for found in _placed(path)]


def read_lines(folder: Path) -> dict[Key, dict[str, Any]]:
    """As `placed_lines`, each line once, by what it is about."""
    return {key_of(line): line for _, line in placed_lines(folder)}


def merge(folder: Path, lines: Mapping[Key, dict[str, Any]], keys: Iterable[Key]) -> list[dict[str, Any]] | None:
    """Write the lines of ``keys``, in this order, to ``results.jsonl``; None if some are not there yet."""
    wanted = list(keys)
    if any(key not in lines for key in wanted):
        return None
    found = [lines[key] for key in wanted]
    _replace(folder / MERGED, found)
    return found


def as_json(value: Any, **arguments: Any) -> str:
    """JSON as people read it. Halves of characters, which UTF-8 has not, are the escapes that JSON has for them."""
    # they are in texts only, and what Python puts in the place of one is what JSON writes for it
    return json.dumps(value, ensure_ascii=False, **arguments).encode("utf-8", "backslashreplace").decode("utf-8")


def _placed(path: Path) -> list[tuple[Place, dict[str, Any]]]:
    found = []
    complete = path.read_bytes().split(b"\n")[:-1]  # after the last newline is nothing, or a torn line
    for number, content in enumerate(complete, start=1):
        place = Place(path, number)
        try:
            found.append((place, line_of(content)))
        except ValueError as error:
            raise place.error(str(error)) from error
    return found


def _mend_end(path: Path) -> None:
    """Cut off what is after the last newline, or end it with one if it is a whole line."""
    if not path.exists():
        return
    content = path.read_bytes()
    end = content.rfind(b"\n") + 1
    rest = content[end:].rstrip(b"\0")  # a loss of power may leave zeros
    if not _is_line(rest) and not rest.startswith(BEGINNING[: len(rest)]):
        raise Place(path, content.count(b"\n") + 1).error(f"is no line of a benchmark, it begins with {rest[:40]!r}")
    with path.open("r+b") as file:
        file.truncate(end + len(rest) if _is_line(rest) else end)
        if _is_line(rest):
            file.seek(0, os.SEEK_END)
            file.write(b"\n")


def _is_line(content: bytes) -> bool:
    try:
        line_of(content)
    except ValueError:
        return False
    return True


def _replace(path: Path, lines: Iterable[dict[str, Any]]) -> None:
    write_whole(path, "".join(as_json(line) + "\n" for line in lines))
