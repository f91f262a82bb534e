"""The pictures of README and of the pages: ``python -m captum_heta.visualization.gallery [FOLDER]``.

Every comparison that is saved in the folder (`captum_heta.Comparison.save`, ``captum-heta compare --json``) becomes an
SVG beside it, as a terminal shows it. Nothing is computed again: the picture of a pretrained model is made without it.
"""

import argparse
import re
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.terminal_theme import DEFAULT_TERMINAL_THEME
from rich.text import Text

from captum_heta.files import write_whole
from captum_heta.inputs.places import flat, spread
from captum_heta.spans import Span
from captum_heta.stored import an_object, check_format, field, need, numbers, places, read_json, text, texts
from captum_heta.visualization.signs import visible
from captum_heta.visualization.terminal import shaded
from captum_heta.visualization.text_pieces import pieces, scale_text
from captum_heta.visualization.view import why

FOLDER = Path("tutorials", "pictures")
_FORMAT = 1  # of a saved comparison
_COLUMNS = 96
_FONT = re.compile(r"@font-face \{.*?\}\n *", flags=re.DOTALL)  # they would be fetched from the web


class Shown(NamedTuple):
    """What a picture needs of a comparison.

    Attributes:
        question: what is explained.
        prompt: the text.
        spans: the characters [start, end) of its scores.
        rows: the scores of each method.
    """

    question: str
    prompt: str
    spans: list[Span]
    rows: dict[str, list[float]]


def read(file: str | Path) -> Shown:
    """What there is to draw of a saved comparison; this part of the house is below the one that makes them.

    Raises:
        ValueError: if the file is no comparison, or one without a result.
        OSError: if it cannot be read.
    """
    return read_json(file, "comparison", _shown)


def _shown(found: Any) -> Shown:
    check_format(found, _FORMAT)
    prompt, labels = text(found, "prompt"), texts("input_tokens", field(found, "input_tokens"))
    where = places(field(found, "places"), len(labels), len(prompt))
    rows: dict[str, list[float]] = {}
    likely: float | None = None
    for name, entry in an_object(found, "results").items():
        need(isinstance(entry, dict), f"results of {name!r}", "an object", entry)
        scores = numbers(f"seq_attr of {name!r}", field(entry, "seq_attr", name), len(labels))
        rows[name] = spread(scores.tolist(), where)
        outputs = texts(f"output_tokens of {name!r}", field(entry, "output_tokens", name))
        known = field(entry, "output_probs", name)
        if likely is None and known is not None:
            likely = numbers(f"output_probs of {name!r}", known, len(outputs)).prod().item()
    if not rows:
        raise ValueError("no method has a result in it")
    contrast = text(found, "contrast") if "contrast" in found else None
    return Shown(why(text(found, "target"), likely, contrast), prompt, flat(where), rows)


def picture(shown: Shown, name: str) -> str:
    """An SVG that fetches nothing: the question, and the prompt shaded by each method.

    Args:
        shown: what there is to draw.
        name: of the picture, which tells the names inside it from those of others on a page.
    """
    console = Console(width=_COLUMNS, record=True, highlight=False, file=StringIO())  # what it prints goes nowhere
    console.print("Green: above 0; red: below. Each method has its own scale.", style="dim")
    for title, scores in shown.rows.items():
        scale = scale_text(pieces(shown.prompt, shown.spans, scores))
        console.print(Text.assemble("\n", (visible(title), "bold"), (f"  {scale}", "dim")))
        console.print(shaded(shown.prompt, shown.spans, scores))
    console.print()  # the edge of the picture cuts the last line's ground
    svg = console.export_svg(title=visible(shown.question), theme=DEFAULT_TERMINAL_THEME, unique_id=name)
    return _FONT.sub("", svg)


def draw(folder: str | Path) -> list[Path]:
    """A picture of each comparison that is saved in a folder, beside it.

    Returns:
        The pictures' files.

    Raises:
        ValueError: for a folder without any, and as `read` does.
        OSError: if a file cannot be read or written.
    """
    saved = sorted(Path(folder).glob("*.json"))
    if not saved:
        raise ValueError(f"{folder} has no saved comparison: pass the folder of some, written by Comparison.save.")
    drawn = []
    for file in saved:
        drawn.append(file.with_suffix(".svg"))
        write_whole(drawn[-1], picture(read(file), file.stem))
    return drawn


def main() -> None:
    """Draw, and say what was drawn."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", nargs="?", type=Path, default=FOLDER, help=f"of saved comparisons ({FOLDER})")
    given = parser.parse_args()
    try:
        drawn = draw(given.folder)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    Console().print("\n".join(map(str, drawn)), markup=False, highlight=False)


if __name__ == "__main__":
    main()
