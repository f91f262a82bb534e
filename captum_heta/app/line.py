"""The line before the model: one run at a time, in the order in which they were asked for, and each is told of it."""

import threading
from collections.abc import Callable, Generator
from typing import TypeVar

from captum_heta.app.runs import Runs, Stopped
from captum_heta.app.standing import Standing
from captum_heta.attr.watching import watching

T = TypeVar("T")

_LOOK = 0.25  # seconds between looks at how it stands


class Line:
    """Those who wait for a model, and the one that has it.

    Args:
        runs: of the model.
    """

    def __init__(self, runs: Runs) -> None:
        self._runs = runs
        self._changed = threading.Condition()
        self._standing: list[Standing] = []

    def run(self, standing: Standing, work: Callable[[], T]) -> Generator[None, None, T]:
        """Do work in a thread of its own when its turn comes; meanwhile ``yield``, so that somebody may tell.

        It takes the place of what the same session asked for before under the same name, which is stopped.

        Args:
            standing: how it stands, which is kept up to date.
            work: what computes.

        Returns:
            What ``work`` does.

        Raises:
            Stopped: if it was stopped, waiting or running.
            BaseException: what ``work`` raises.
        """
        found: list[T] = []
        failed: list[BaseException] = []

        def worked() -> None:
            try:
                with self._runs.run(standing.session, standing.stop):
                    self._wait(standing)
                    with watching(standing):
                        found.append(work())
            except BaseException as error:  # of whatever kind: it is raised where the work was asked for
                failed.append(error)
            finally:
                self._leave(standing)

        self._join(standing)
        thread = threading.Thread(target=worked, daemon=True)
        thread.start()
        try:
            while thread.is_alive():
                thread.join(_LOOK)
                if thread.is_alive():
                    yield
        finally:  # nobody asks for it any more
            standing.stop.set()
        if failed:
            raise failed[0]
        return found[0]

    def ahead(self, standing: Standing) -> list[Standing]:
        """Those whose turn comes before, the one that runs first."""
        with self._changed:
            return self._standing[: self._standing.index(standing)] if standing in self._standing else []

    def _join(self, standing: Standing) -> None:
        with self._changed:
            for other in self._standing:
                if (other.session, other.name) == (standing.session, standing.name):
                    other.replaced = True
                    other.stop.set()
            self._standing.append(standing)

    def _wait(self, standing: Standing) -> None:
        with self._changed:
            while self._standing[0] is not standing:
                if standing.stop.is_set():
                    raise Stopped
                self._changed.wait(_LOOK)
        standing.started()

    def _leave(self, standing: Standing) -> None:
        with self._changed:
            self._standing.remove(standing)
            self._changed.notify_all()
