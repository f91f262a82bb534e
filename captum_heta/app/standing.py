"""How a run stands: how far it is, and how long it still takes."""

import threading
import time
from collections import deque

from torch import Tensor

from captum_heta.attr.watching import Watcher

# Steps take unlike times, a curvature less than a masked pass: what counts is how long the last few took.
_REMEMBERED = 4


class Standing(Watcher):
    """Written by the thread that runs, and read by the one that tells.

    Args:
        session: for whom.
        name: what was asked for.

    Attributes:
        session: for whom.
        name: what was asked for.
        what: it does at the moment, in words.
        stop: set to stop it.
        replaced: whether the session asked for something else in its place.
        scores: (K, F), those of larger parts of the prompt, once they are known and until another method begins.
    """

    def __init__(self, session: str | None, name: str) -> None:
        self.session, self.name, self.what = session, name, name
        self.stop, self.replaced = threading.Event(), False
        self.scores: Tensor | None = None
        self._since = time.monotonic()
        self._steps = 0
        self._done: deque[tuple[float, int]] = deque(maxlen=_REMEMBERED)  # when so many steps were done

    def started(self) -> None:
        """Its turn has come."""
        self._since = time.monotonic()

    def method(self, name: str, number: int, count: int) -> None:
        """A method begins."""
        self.what = f"{name} ({number} of {count})" if count > 1 else name
        self._since, self.scores = time.monotonic(), None
        self.begin(0)

    def begin(self, steps: int) -> None:
        """A stage of it begins."""
        self._steps = steps
        self._done = deque([(time.monotonic(), 0)], maxlen=_REMEMBERED)

    def advance(self, steps: int) -> None:
        """Steps are done."""
        if self._done:
            self._done.append((time.monotonic(), min(self._steps, self._done[-1][1] + steps)))

    def parts(self, scores: Tensor) -> None:
        """Scores of parts."""
        self.scores = scores.detach().cpu()

    @property
    def share(self) -> float | None:
        """How much of its stage is done, from 0 to 1; None if it does not tell."""
        return self._done[-1][1] / self._steps if self._steps else None

    @property
    def left(self) -> float | None:
        """The seconds that its stage takes, at most, if it goes on as lately; None before anything is known."""
        done = list(self._done)
        if not self._steps or done[-1][1] == done[0][1]:
            return None
        (began, first), (ended, last) = done[0], done[-1]
        left = (self._steps - last) * (ended - began) / (last - first)
        return max(0.0, left - (time.monotonic() - ended))

    def __str__(self) -> str:
        """Such as "HETA (2 of 2): 40%, about 3 s left, or less"."""
        stage = "" if self.scores is None else ", what is in the parts that matter"
        share, left = self.share, self.left
        if share is None or left is None:
            return f"{self.what}{stage}: {time.monotonic() - self._since:.0f} s so far"
        return f"{self.what}{stage}: {share:.0%}, about {max(1, round(left))} s left, or less"
