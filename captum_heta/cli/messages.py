"""What a command says in a terminal beside its results, errors above all."""

import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from typing import Any

import typer
from rich.console import Console

from captum_heta.visualization.signs import visible

INTERRUPTED = 130  # the exit status after Ctrl-C

# What a person is told in a sentence; other errors are mistakes of this package, and keep their traceback.
USER_ERRORS = (ValueError, TypeError, RuntimeError, OSError, ImportError)


def terminal(stderr: bool = False, width: int | None = None) -> Console:
    """Standard output, or the one of errors; a character that its encoding does not have is written as its number."""
    stream = sys.stderr if stderr else sys.stdout
    if isinstance(stream, TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")
    return Console(file=stream, width=width, highlight=False)


def print_note(text: str) -> None:
    """Something beside the results, in the stream of errors."""
    terminal(stderr=True).print(visible(text), markup=False, soft_wrap=True)


def print_error(error: BaseException, debug: bool = False, more: str = "") -> None:
    """The message of an error, and ``more``; with ``debug`` its traceback."""
    errors = terminal(stderr=True)
    if debug:
        errors.print(visible("".join(traceback.format_exception(error))), markup=False, soft_wrap=True)
    errors.print("Error:", style="bold red", end=" ")
    errors.print(visible(" ".join(filter(None, (more, str(error) or type(error).__name__)))), markup=False)


@contextmanager
def warnings_to(say: Callable[[str], object]) -> Iterator[None]:
    """Within this context what a warning says goes to ``say``, without the line of code that it comes from.

    Those that are for programmers, such as DeprecationWarning, stay as they are.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        as_before = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
            if issubclass(category, UserWarning):
                say(str(message))
            else:
                as_before(message, category, *where, **more)

        warnings.showwarning = show
        yield


def once(say: Callable[[str], object]) -> Callable[[str], None]:
    """``say``, but for what it was told before."""
    told: set[str] = set()

    def new(text: str) -> None:
        if text not in told:
            told.add(text)
            say(text)

    return new


@contextmanager
def reported_errors(debug: bool) -> Iterator[None]:
    """An error ends the command with its message, and without a traceback unless ``debug``."""
    try:
        yield
    except (typer.Exit, typer.Abort):  # RuntimeErrors both
        raise
    except USER_ERRORS as error:
        print_error(error, debug)
        raise typer.Exit(1) from None
