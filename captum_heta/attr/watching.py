"""How explanations go on, told to whoever watches them: steps that are done, and parts that were looked at first."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace

from torch import Tensor

from captum_heta.attr.task import OutputAttributions, Scorer
from captum_heta.features import Features


class Watcher:
    """Is told how explanations go on, by the thread that computes them; this one does nothing with it."""

    def method(self, name: str, number: int, count: int) -> None:
        """A method of a comparison begins, the ``number``-th of ``count``, from 1 on."""

    def begin(self, steps: int) -> None:
        """So many steps are to be done, at most, before a result or the next call of this."""

    def advance(self, steps: int) -> None:
        """So many of them are done."""

    def parts(self, scores: Tensor) -> None:
        """What looking at larger parts found, coarse to fine: (K, F), for each feature the score of its whole part."""


_NOBODY = Watcher()
_WATCHER: ContextVar[Watcher] = ContextVar("watcher")


@contextmanager
def watching(watcher: Watcher) -> Iterator[None]:
    """Within this context, and this thread, explanations are told to a watcher."""
    token = _WATCHER.set(watcher)
    try:
        yield
    finally:
        _WATCHER.reset(token)


def watcher() -> Watcher:
    """Who watches at the moment."""
    return _WATCHER.get(_NOBODY)


def watched(scorer: Scorer, parts: Tensor, steps: Callable[[Features], int]) -> Scorer:
    """A scorer that looks at parts first, and tells of it.

    Args:
        scorer: the method, for any features; it is asked for those of the parts first.
        parts: (F,) integers, the same for features of one part.
        steps: how many an answer for some features takes.
    """
    told, index = watcher(), parts.unique(return_inverse=True)[1]
    asked = 0

    def score(features: Features) -> OutputAttributions:
        nonlocal asked
        told.begin(steps(features))
        found = scorer.score(features)
        asked += 1
        if asked == 1:
            told.parts(found.scores[..., index.to(found.scores.device)])
        return found

    return replace(scorer, score=score)
