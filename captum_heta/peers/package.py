"""Another package: imported when it is asked for, and what is said when it is not there or fails."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any

_MOST = 300  # characters of another package's error


@dataclass(frozen=True)
class Package:
    """A package of other authors.

    Attributes:
        title: its name in sentences.
        module: what it is imported as.
        extra: the extra of this package that installs it, which is called as it is in the package index.
    """

    title: str
    module: str
    extra: str

    @property
    def missing(self) -> str:
        """Why it cannot be used and the way out, in one sentence; empty if it is installed."""
        if find_spec(self.module) is not None:
            return ""
        return f"{self.extra} is not installed: pip install 'captum-heta[{self.extra}]'."

    @property
    def named(self) -> str:
        """Its title and the version that is installed."""
        try:
            return f"{self.title} {version(self.extra)}"
        except PackageNotFoundError:
            return self.title

    def imported(self) -> Any:
        """The package.

        Raises:
            ImportError: in one sentence, if it is not installed or not for the other packages that are.
        """
        if self.missing:
            raise ImportError(self.missing)
        try:
            return import_module(self.module)
        except Exception as error:  # of whatever kind: made for other versions, packages fail in many ways
            raise ImportError(f"{self.named} is installed and cannot be imported: {_told(error)}") from error

    @contextmanager
    def at_work(self, model: Any) -> Iterator[None]:
        """Within this context what it raises is told in one sentence.

        Args:
            model: that it is given.

        Raises:
            RuntimeError: for any error.
        """
        try:
            yield
        except Exception as error:  # of whatever kind: it is the package's
            raise RuntimeError(f"{self.named} failed on {type(model).__name__}: {_told(error)}") from error

    def check_read(self, read: Sequence[int], given: Sequence[int]) -> None:
        """Raise ValueError if it read other tokens than it was given, as its scores are then of another text."""
        read, given = list(read), list(given)
        if read == given:
            return
        place = next((i for i, pair in enumerate(zip(read, given, strict=False)) if pair[0] != pair[1]), len(given))
        raise ValueError(
            f"{self.named} read other tokens than it was given, {len(read)} and not {len(given)}, from position "
            f"{min(place, len(read))} on: its scores would be of another text. Explain this one with another method."
        )


def _told(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:_MOST]}"
