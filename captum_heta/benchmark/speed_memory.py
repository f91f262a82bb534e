"""By how much memory a row makes a process grow."""

import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from captum_heta.benchmark.speed_prompt import Setting
from captum_heta.benchmark.speed_rows import Bench

_BYTES = 1 if sys.platform == "darwin" else 1024  # of what getrusage counts in


def growth(setting: Setting, tokens: int, name: str) -> float | None:
    """By how many MiB the peak of a process grows in a row, over what it had with the model and the prompt.

    Each row has a process of its own, since a peak never falls. Call it before a model is loaded here: on Linux a new
    process begins with the peak of the one that made it.

    Args:
        setting: the model and the kind of prompt.
        tokens: the length of the prompt.
        name: of a row.

    Returns:
        None for a row that is not run as a whole, whose memory is not that of the whole.

    Raises:
        ValueError: on a system that does not tell.
    """
    if sys.platform == "win32":
        raise ValueError("--memory reads resource.getrusage, which Windows does not have: leave it out.")
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(grown, setting, tokens, name).result()


def grown(setting: Setting, tokens: int, name: str) -> float | None:
    """As `growth`, in this process."""
    bench = Bench(setting.subject(tokens))
    before = _peak()
    cost = bench.cost(name)
    return (_peak() - before) / 2**20 if cost is not None and cost.whole else None


def _peak() -> int:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _BYTES
