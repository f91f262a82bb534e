"""What belongs to a model rather than to one view of it: its lock, what is changed of it now, what was found out."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn

from captum_heta.models.calls import latest_hook, remove_hooks


class Changes:
    """What is changed of a model at the moment, as a list of what undoes it.

    An undoing is put down before the change, and taken off after it was carried out: an interruption (Ctrl-C) at any
    point then leaves a list with which the model still comes back. Each must do no harm when it is carried out twice.
    """

    def __init__(self) -> None:
        self._undoings: list[Callable[[], object]] = []

    def note(self, undoing: Callable[[], object]) -> None:
        """Put down how the change that follows is undone."""
        self._undoings.append(undoing)

    @contextmanager
    def undone(self) -> Iterator[None]:
        """What is noted within this context is undone at its end."""
        before = len(self._undoings)
        # Twice, the second time for an interruption of the first; nothing may come between the two blocks.
        try:
            try:
                yield
            finally:
                self._undo(before)
        finally:
            self._undo(before)

    def _undo(self, before: int) -> None:
        while len(self._undoings) > before:
            self._undoings[-1]()
            self._undoings.pop()


@dataclass
class Record:
    """What the views of one model share.

    Attributes:
        lock: re-entrant; who changes the model, or runs it while others might, holds it.
        changes: of the model.
        findings: of `captum_heta.models.selfcheck`, by what they depend on.
        said: warnings that were given, by a word for each.
        own_implementations: configuration, attribute and value of which code attention and experts ran before they were
            last changed.
    """

    lock: Any = field(default_factory=threading.RLock)
    changes: Changes = field(default_factory=Changes)
    findings: dict[Any, Any] = field(default_factory=dict)
    said: set[str] = field(default_factory=set)
    own_implementations: list[tuple[Any, str, Any]] = field(default_factory=list)

    @contextmanager
    def restored(self, model: nn.Module) -> Iterator[None]:
        """A second net under a context that changes the model, for interruptions of the first one's end.

        An exception may have cut short the end of any context below, torch's own too: hooks of this package and the
        gradient mode are then put back here.
        """
        gradients, hook = torch.is_grad_enabled(), latest_hook()
        try:
            with self.changes.undone():
                yield
        except BaseException:
            torch.set_grad_enabled(gradients)
            remove_hooks(model, after=hook)
            raise


_RECORDS: "WeakKeyDictionary[nn.Module, Record]" = WeakKeyDictionary()
_MAKING = threading.Lock()


def record_of(model: Any) -> Record:
    """The record of a model; wrappers of it (adapters, a compiled one) share it, as they share the embeddings."""
    with _MAKING:
        return _RECORDS.setdefault(model.get_input_embeddings(), Record())
