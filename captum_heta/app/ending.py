"""The end of the page, by Ctrl+C or as a service is ended: soon, and with nothing left behind."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from captum_heta.app.runs import Runs

# Ctrl+C; what services and containers send; a terminal that was closed
_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")
_PATIENCE = 2.0  # seconds


@contextmanager
def termination() -> Iterator[threading.Event]:
    """An event that a signal to end sets within this context, in the place of what it does elsewhere."""
    terminated = threading.Event()
    numbers = [getattr(signal, name) for name in _SIGNALS if hasattr(signal, name)]
    before = {number: signal.signal(number, lambda *_: terminated.set()) for number in numbers}
    try:
        yield terminated
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def served_until(terminated: threading.Event, page: Any, runs: Runs) -> bool:
    """Wait until ``terminated``, end what runs and close the page. Returns whether nothing runs any more.

    Args:
        terminated: from `termination`.
        page: a `gradio.Blocks` that is served.
        runs: of its model.
    """
    while page.is_running and not terminated.wait(0.2):  # in steps, as Windows does not interrupt a wait
        pass
    done = runs.end(_PATIENCE)
    page.close(verbose=False)
    return done


def leave() -> None:
    """End the process at once, though a thread is in an operation of torch, which nothing can interrupt."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
