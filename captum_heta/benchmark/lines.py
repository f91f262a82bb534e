"""JSON lines in a folder that may be killed at any moment, and to which several processes write."""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from filelock import FileLock, Timeout

MERGED = "results.jsonl"


class Key(NamedTuple):
    """What a line is about."""

    data: str
    example: str
    method: str


def key_of(line: dict[str, Any]) -> Key:
    """The key of a line."""
    return Key(line["data"], line["example"], line["method"])


class Shard:
    """The file of one process, ``lines-RANK.jsonl``; a context, in which no other run writes to it.

    On entry a line that was torn when the process was killed is cut off.

    Args:
        folder: where the files of all processes are.
        rank: the number of this process.

    Raises:
        RuntimeError: on entry, if another run has the file.
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
        _cut_torn_line(self.path)
        self._file = self.path.open("a", encoding="utf-8")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        self._lock.release()

    def append(self, lines: Iterable[dict[str, Any]]) -> None:
        """Write lines so that they outlast this process."""
        # one write, so that a process that is killed tears one line at most
        self._file.write("".join(json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n" for line in lines))
        self._file.flush()
        os.fsync(self._file.fileno())

    def drop_failures(self) -> None:
        """Forget the lines of methods that failed, so that they are tried again."""
        kept = [line for line in _read(self.path) if "error" not in line]
        self._file.close()
        _replace(self.path, kept)
        self._file = self.path.open("a", encoding="utf-8")


def read_lines(folder: Path) -> dict[Key, dict[str, Any]]:
    """The complete lines of all processes, each once.

    Raises:
        ValueError: if a line that is not a file's last is no JSON.
    """
    return {key_of(line): line for path in sorted(folder.glob("lines-*.jsonl")) for line in _read(path)}


def merge(folder: Path, keys: Iterable[Key]) -> list[dict[str, Any]] | None:
    """Write the lines of ``keys``, in this order, to ``results.jsonl``; None if some are not there yet."""
    lines = read_lines(folder)
    wanted = list(keys)
    if any(key not in lines for key in wanted):
        return None
    found = [lines[key] for key in wanted]
    _replace(folder / MERGED, found)
    return found


def _read(path: Path) -> list[dict[str, Any]]:
    lines = []
    complete = path.read_bytes().split(b"\n")[:-1]  # after the last newline is nothing, or a torn line
    for number, line in enumerate(complete, start=1):
        try:
            lines.append(json.loads(line))
        except ValueError as error:
            raise ValueError(f"{path}, line {number} is no JSON: {error}. Remove the line and run again.") from error
    return lines


def _cut_torn_line(path: Path) -> None:
    if path.exists():
        content = path.read_bytes()
        with path.open("r+b") as file:
            file.truncate(content.rfind(b"\n") + 1)


def _replace(path: Path, lines: Iterable[dict[str, Any]]) -> None:
    replace_whole(path, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))


def replace_whole(path: Path, text: str) -> None:
    """Write a file that is whole at any moment."""
    new = path.with_name(f"{path.name}.{os.getpid()}.new")
    new.write_text(text, encoding="utf-8")
    os.replace(new, path)
