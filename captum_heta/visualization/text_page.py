"""Blocks of shaded text one under the other, on axes of matplotlib."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from captum_heta.visualization.colours import background, ink, is_shaded
from captum_heta.visualization.fonts import drawable, families
from captum_heta.visualization.layout import Cell, flow
from captum_heta.visualization.signs import blank_sign
from captum_heta.visualization.text_pieces import Piece, peak, strength

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIZES = (10, 9, 8, 7, 6, 5, 4)  # of letters in points, of which an inch has 72
_ADVANCE = 0.602  # of a character of DejaVu Sans Mono, in sizes
_LEADING = 1.5  # from line to line, in sizes
_BASELINE = 0.68  # of a line, in lines from its top


class Block(NamedTuple):
    """Pieces that start on a new line.

    Attributes:
        parts: the pieces, shaded by the largest magnitude among them.
        gap: lines left free under them.
        weight: of the letters, "normal" or "bold".
    """

    parts: list[Piece]
    gap: float
    weight: str = "normal"


class Page:
    """Blocks flowed to a width; its units are columns and lines.

    Args:
        blocks: from top to bottom.
        width: in inches.
        size: of the letters in points.

    Attributes:
        height: in inches.
    """

    def __init__(self, blocks: Sequence[Block], width: float, size: int) -> None:
        self.width, self.size = width, size
        self.columns = width * 72 / (size * _ADVANCE)
        inner = max(2, int(self.columns) - 3)  # a margin at each side, and one column for white space
        self.blocks = [(block, flow("".join(part.text for part in block.parts), inner)) for block in blocks]
        self.height = self._inches(0.5 + sum(_lines(cells) + block.gap for block, cells in self.blocks))

    def _inches(self, lines: float) -> float:
        return lines * self.size * _LEADING / 72

    def draw(self, ax: "Axes", height: float) -> None:
        """Fill ``ax``, as wide as the page and ``height`` inches high, from its top."""
        ax.set(xticks=[], yticks=[], facecolor="white")
        ax.spines[:].set_visible(False)
        ax.set_xlim(-1, self.columns - 1)
        ax.set_ylim(height / self._inches(1), 0)
        names, top = families(), 0.5
        for block, cells in self.blocks:
            self._draw_block(ax, block, cells, top, names)
            top += _lines(cells) + block.gap

    def _draw_block(self, ax: "Axes", block: Block, cells: list[Cell], top: float, names: list[str]) -> None:
        from matplotlib.collections import PolyCollection

        largest, boxes, colors = peak(block.parts), [], []
        table = drawable("".join(part.text for part in block.parts), names, block.weight)
        for part, run in _runs(block.parts, cells):
            shade = strength(part.score, largest)
            left, right, y = run[0].column, run[-1].column + run[-1].columns, top + run[0].line
            if part.score is not None:
                boxes.append([(left, y + 0.04), (right, y + 0.04), (right, y + 0.96), (left, y + 0.96)])
                colors.append(background(shade))
            for _, group in groupby(run, key=lambda cell: cell.word):
                word = list(group)
                whole = "".join(cell.text for cell in word)
                shown = whole.translate(table)
                if part.text.isspace() and part.score is not None and is_shaded(shade):
                    shown = blank_sign(whole)
                if shown.isspace() or not shown:
                    continue
                wide = word[0].columns > 1  # alone, and of a font with another advance: in the middle of its columns
                ax.text(
                    word[0].column + wide,
                    y + _BASELINE,
                    shown,
                    color=ink(shade),
                    horizontalalignment="center" if wide else "left",
                    verticalalignment="baseline",
                    family=names,
                    size=self.size,
                    weight=block.weight,
                    parse_math=False,
                )
        if boxes:  # without smoothing, no seam shows between neighbours
            ax.add_collection(PolyCollection(boxes, facecolors=colors, antialiaseds=False), autolim=False)


def _lines(cells: list[Cell]) -> int:
    return cells[-1].line + 1 if cells else 0


def _runs(parts: list[Piece], cells: list[Cell]) -> Iterator[tuple[Piece, list[Cell]]]:
    """The cells of each piece on each line; a mark that is a piece of its own lends its score to its cell if higher."""
    owners = [i for i, part in enumerate(parts) for _ in part.text]

    def key(cell: Cell) -> tuple[int, int]:
        inside = owners[cell.start : cell.start + len(cell.text)]
        return cell.line, max(inside, key=lambda i: abs(parts[i].score or 0.0))

    for (_, owner), run in groupby(cells, key=key):
        yield parts[owner], list(run)
