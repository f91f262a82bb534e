"""Documents that a person passes: the text files of a folder, or one of them."""

from pathlib import Path

# Of text and Markdown, the endings that are read in a folder.
ENDINGS = (".md", ".markdown", ".txt")


def read_documents(place: Path) -> dict[str, str]:
    """The text of each document by the name of its file, in the order of the names.

    White space at the ends is cut. Hidden files are left out; a file of another kind is refused, as nobody would see
    that it was not read.

    Raises:
        ValueError: for a folder without documents, with other files or folders in it, and a file that is no UTF-8 text
            or has none.
        OSError: for a file that cannot be read.
    """
    if not place.exists():
        raise ValueError(f"--documents {place}: there is no such folder or file.")
    if not place.is_dir():
        return {place.name: _text(place)}
    files = sorted((file for file in place.iterdir() if not file.name.startswith(".")), key=lambda file: file.name)
    kinds = ", ".join(ENDINGS)
    if not files:
        raise ValueError(f"--documents {place} is empty: put the documents into it, files with {kinds}.")
    for file in files:
        if file.is_dir():
            raise ValueError(
                f"--documents {place} has the folder {file.name}, and only files in the folder itself are read: pass "
                "that folder, or move its files."
            )
        if file.suffix.lower() not in ENDINGS:
            raise ValueError(
                f"--documents {place} has {file.name}, and only files with {kinds} are read: make text of it, or take "
                "it out."
            )
    return {file.name: _text(file) for file in files}


def _text(file: Path) -> str:
    content = file.read_bytes()
    try:
        text = content.decode("utf-8-sig")  # some editors begin with a mark
    except UnicodeDecodeError as error:
        raise ValueError(f"--documents: {file} is no UTF-8 text: {error}. Save it as UTF-8.") from error
    if "\0" in text:
        raise ValueError(f"--documents: {file} is binary, and not text: make text of it, or take it out.")
    text = text.replace("\r\n", "\n").strip()
    if not text:
        raise ValueError(f"--documents: {file} has no text: take it out.")
    return text
