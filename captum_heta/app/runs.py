"""What the model computes for whom, and how it is stopped."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode


class Stopped(BaseException):
    """Ends a run that somebody stopped.

    It is no `Exception`, which methods and `captum_heta.compare` would take for a failure of one method.
    """


class Runs:
    """The runs of a model at the moment, each in a thread of its own."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._running: dict[threading.Event, str | None] = {}
        self._ended = False

    @property
    def ended(self) -> bool:
        """Whether `end` was called."""
        return self._ended

    @contextmanager
    def run(self, session: str | None, stop: threading.Event | None = None) -> Iterator[None]:
        """What is computed within this context, by this thread, can be stopped from another one.

        Args:
            session: for whom.
            stop: set to stop this run alone.

        Raises:
            Stopped: within the context at the next operation of torch, after it was stopped; on entry after `end`.
        """
        stop = stop or threading.Event()
        with self._changed:
            if self._ended:
                raise Stopped
            self._running[stop] = session
        gradients = torch.is_grad_enabled()
        try:
            with _Stoppable(stop.is_set):
                yield
        finally:
            torch.set_grad_enabled(gradients)  # the thread does other runs later
            with self._changed:
                del self._running[stop]
                self._changed.notify_all()

    def stop(self, session: str | None) -> bool:
        """Stop the runs of a session, and return whether there were any."""
        with self._changed:
            found = [stop for stop, whose in self._running.items() if whose == session]
            for stop in found:
                stop.set()
        return bool(found)

    def end(self, seconds: float) -> bool:
        """Stop all runs and let none begin; wait for them, ``seconds`` at most, and return whether none is left."""
        with self._changed:
            self._ended = True
            for stop in self._running:
                stop.set()
            return self._changed.wait_for(lambda: not self._running, timeout=seconds)


class _Stoppable(TorchFunctionMode):
    """Asks before each operation of torch whether to go on; a model's hooks would not see what runs without it."""

    def __init__(self, stopped: Callable[[], bool]) -> None:
        super().__init__()
        self._stopped, self._told = stopped, False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        # Once, as what clears up after it calls torch, too; and not where a setting of torch is put back.
        if self._stopped() and not self._told and not getattr(func, "__name__", "").startswith("_set_"):
            self._told = True
            raise Stopped
        return func(*args, **(kwargs or {}))
