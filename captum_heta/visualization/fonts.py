"""Fonts of a text in any script."""

from collections.abc import Sequence

from captum_heta.visualization.layout import columns_of

# DejaVu comes with matplotlib. Of the others, those that are installed serve the scripts that it lacks.
_FAMILIES = (
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Microsoft YaHei",
    "Malgun Gothic",
    "Arial Unicode MS",
    "Noto Emoji",
    "Segoe UI Emoji",
)


def families() -> list[str]:
    """The installed families to look for a character in, in this order; the first is monospace."""
    from matplotlib import font_manager, rcParams

    # matplotlib logs a warning for each family that is not there
    installed = {font.name for font in font_manager.fontManager.ttflist}
    wanted = ["DejaVu Sans Mono", "DejaVu Sans", *rcParams["font.family"], *_FAMILIES]
    return [name for name in dict.fromkeys(wanted) if name in installed]


def drawable(text: str, names: Sequence[str], weight: str = "normal") -> dict[int, str]:
    """What `str.translate` makes of ``text`` so that matplotlib does not warn of glyphs that no font has.

    White space becomes a space, a missing character a square, or nothing if it takes no column.
    """
    from matplotlib.font_manager import FontProperties, findfont, get_font

    fonts = [get_font(findfont(FontProperties(family=name, weight=weight))) for name in names]
    table = {}
    for character in set(text):
        if character.isspace():
            table[ord(character)] = " "
        elif not any(font.get_char_index(ord(character)) for font in fonts):
            table[ord(character)] = "\N{WHITE SQUARE}" if columns_of(character) else ""
    return table
