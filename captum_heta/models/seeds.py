"""Draws of code that takes no generator."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

# torch's global random state is one for all threads: two that seed it at once would draw from each other's.
_LOCK = threading.RLock()


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Within this context torch's global draws follow from ``seed``; afterwards its random state is as it was.

    One thread at a time. Enter it before taking a model's lock, never after.
    """
    with _LOCK, torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        yield
