"""Files that are written whole or not at all."""

import os
import secrets
import shutil
from contextlib import suppress
from pathlib import Path


def write_whole(file: str | Path, text: str) -> None:
    r"""Write a file of UTF-8 so that it has all of ``text``, or what was in it before.

    Args:
        file: its folder is there. What is no plain file (``/dev/stdout``) is written to as it is.
        text: halves of a character are written as ``\udcff``, which is their form in JSON.

    Raises:
        OSError: if it cannot be written; no part of it is left behind then.
    """
    content = text.encode("utf-8", "backslashreplace")
    path = Path(os.path.realpath(file))  # what a link leads to, not the link, is replaced
    if path.exists() and not path.is_file():
        path.write_bytes(content)
        return
    new = path.with_name(f".{secrets.token_hex(8)}.new")
    try:
        with new.open("xb") as part:
            part.write(content)
            part.flush()
            os.fsync(part.fileno())
        if path.exists():
            shutil.copymode(path, new)
        new.replace(path)
    except BaseException:  # an interruption too
        with suppress(OSError):
            new.unlink()
        raise
