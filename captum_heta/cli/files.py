"""The files that a command writes: looked at before anything is computed, and none of it lost where one fails."""

import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import typer

from captum_heta.cli.arguments import STANDARD
from captum_heta.cli.messages import USER_ERRORS, print_error, print_note
from captum_heta.files import write_whole


def check_files(files: Mapping[str, Path | None]) -> None:
    """Raise ValueError or OSError if a file could not be written later, before time is spent on what goes into it.

    Args:
        files: by the option that names it; None where it is left out.
    """
    places: dict[str, str] = {}
    standard: dict[Path, str] = {}
    for option, file in files.items():
        if file is None:
            continue
        if file == STANDARD:
            if STANDARD in standard:
                raise ValueError(
                    f"Both {standard[STANDARD]} and {option} write to standard output: choose one of them."
                )
            standard[STANDARD] = option
            continue
        if file.is_dir():
            raise ValueError(f"{option} {file} is a folder: give the name of a file in it.")
        place = os.path.realpath(file)
        if file.exists():
            if not os.access(file, os.W_OK):
                raise ValueError(f"{option} {file} is there and cannot be written to: choose another file.")
            if not file.is_file():
                continue  # such as /dev/stdout, which several may share
        if place in places:
            raise ValueError(f"{places[place]} and {option} are the same file, {file}: choose another for one of them.")
        places[place] = option
        _check_folder(f"{option} {file}", Path(place).parent)


def check_folder(option: str, folder: Path) -> None:
    """Raise ValueError or OSError if a folder is none, could not be made or not be written to."""
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{option} {folder} is a file: give the name of a folder.")
    whole = Path(os.path.abspath(folder))
    _check_folder(f"{option} {folder}", next(part for part in (whole, *whole.parents) if part.exists()))


def _check_folder(wanted: str, folder: Path) -> None:
    if not folder.exists():
        raise ValueError(f"{wanted}: there is no folder {folder}. Make it, or choose another.")
    if not folder.is_dir():
        raise ValueError(f"{wanted}: {folder} is a file, in which there can be no other. Choose another folder.")
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass  # permissions, quotas and file systems that only read: what counts is whether it works
    except OSError as error:
        raise ValueError(f"{wanted}: no file can be made in {folder} ({error.strerror}). Choose another.") from error


@contextmanager
def written(files: Mapping[Path | None, Callable[[], str]], debug: bool, quiet: bool) -> Iterator[bool]:
    """Write each file, whatever becomes of the others and of what is shown within this context, and tell afterwards.

    Yields:
        Whether something may be shown: not if it is to be quiet, or a file is standard output.

    Args:
        files: what makes the text of each; nothing for None, an option that was left out.
        debug: tell what failed with a traceback.
        quiet: tell nothing but what failed.

    Raises:
        typer.Exit: with status 1, at the end, if one could not be written.
    """
    # before anything is shown: what reads it in a pipe may end, and this process with it
    failed: dict[Path, Exception] = {}
    wanted = {file: make for file, make in files.items() if file is not None}
    for file, make in wanted.items():
        try:
            if file == STANDARD:
                sys.stdout.write(make())
                sys.stdout.flush()
            else:
                write_whole(file, make())
        except USER_ERRORS as error:
            failed[file] = error
    try:
        yield not quiet and STANDARD not in wanted
    finally:
        for file in wanted:
            if file in failed:
                print_error(failed[file], debug, f"{file} was not written.")
            elif not quiet and file != STANDARD:
                print_note(f"Wrote {file}")
    if failed:
        raise typer.Exit(1)
