"""Which part of a benchmark this process does."""

import os

# what torchrun and accelerate launch set, and what MPI sets in their place
_RANKS = ("RANK", "OMPI_COMM_WORLD_RANK", "PMI_RANK")
_SIZES = ("WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE")
_LOCAL_RANKS = ("LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID")


def process() -> tuple[int, int, int]:
    """The number of this process, how many there are, and its number on its machine.

    Read from the environment, as no process needs to wait for another: the lines in the folder say what is done.

    Raises:
        ValueError: if they are no numbers, or do not fit.
    """
    rank, size, local = (_first(names, default) for names, default in ((_RANKS, 0), (_SIZES, 1), (_LOCAL_RANKS, 0)))
    if not 0 <= rank < size:
        raise ValueError(f"The environment says that this is process {rank} of {size}: unset RANK and WORLD_SIZE.")
    return rank, size, local


def _first(names: tuple[str, ...], default: int) -> int:
    name = next((name for name in names if name in os.environ), None)
    if name is None:
        return default
    try:
        return int(os.environ[name])
    except ValueError:
        raise ValueError(
            f"The environment variable {name} must be a whole number, got {os.environ[name]!r}: unset it."
        ) from None
