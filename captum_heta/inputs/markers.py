"""Where parts of a text are that something writes: they are written once more, with marks around them."""

from collections.abc import Callable, Iterable
from typing import Any

from captum.attr import TextTemplateInput

from captum_heta.spans import Span


def marked_places(
    write: Callable[[Any], str], forms: Iterable[Any], text: str, opening: str, closing: str
) -> list[Span] | None:
    """The characters [start, end) of a part in the ``text`` that is written with it.

    Args:
        write: from the part to the whole text.
        forms: the part with marks in it, in ways that ``write`` may take; the first that shows the marks is taken.
        text: what is written with the part itself.
        opening: the mark before the part, a character that is nowhere in the text.
        closing: the mark after it.

    Returns:
        Its places, none if it is left out, and None if the text does not show where it is.
    """
    left_out = False
    for marked in forms:
        try:
            written = write(marked)
        except (TypeError, ValueError):  # a template that does arithmetic with its values, say
            continue
        if written.replace(opening, "").replace(closing, "") != text:
            continue
        found = _between(written, opening, closing)
        if found:
            return found
        # a template may leave out a text; one that shows no mark may also have made something else of it
        left_out |= found is not None and type(marked) is str
    return [] if left_out else None


def absent_characters(text: str) -> list[str]:
    """Two characters of the private-use area that are not in the text, to mark a place in it."""
    there = set(text)
    return [character for character in map(chr, range(0xE000, 0xF900)) if character not in there][:2]


def value_spans(inp: TextTemplateInput) -> list[list[Span]]:
    """The characters [start, end) of each value of a template in the text that it renders, perhaps several times.

    Raises:
        ValueError: if a callable template changes its values so that they cannot be found.
    """
    text, keys = inp.to_model_input(), inp.dict_keys
    opening, closing = absent_characters(text + "".join(map(str, inp.values)))
    spans: list[list[Span]] = []
    for i, value in enumerate(inp.values):

        def write(marked: Any, i: int = i) -> str:
            # one value marked at a time: which one it is needs no number in the marker
            values = [*inp.values[:i], marked, *inp.values[i + 1 :]]
            return inp.format_fn(**dict(zip(keys, values, strict=True))) if keys else inp.format_fn(*values)

        found = marked_places(write, _marked(value, opening, closing), text, opening, closing)
        if found is None and text.count(str(value)) == 1:
            start = text.index(str(value))
            found = [(start, start + len(str(value)))]
        if found is None:
            raise ValueError(
                f"The template does not show where its value {value!r} is in the prompt. Use a template that inserts "
                "its values as they are."
            )
        spans.append(found)
    return spans


def _marked(value: Any, opening: str, closing: str) -> list[Any]:
    """A value with a mark before and after it wherever it is written, in the ways that a template may take."""
    kind = type(value)

    class Marked(kind):  # type: ignore[misc, valid-type]
        """Numbers cannot hold marks, and a width would count them: they are put around what is written."""

        def __format__(self, form: str) -> str:
            written = format(value, form)
            core = value if isinstance(value, str) and value in written else written.strip()
            before, _, after = written.partition(core)  # what fills a width is not the value's
            return f"{before}{opening}{core}{closing}{after}"

        def __str__(self) -> str:
            return f"{opening}{value!s}{closing}"

        def __repr__(self) -> str:
            return f"{opening}{value!r}{closing}"

    if isinstance(value, str):
        return [f"{opening}{value}{closing}", Marked(value)]
    return [Marked(value)]


def _between(written: str, opening: str, closing: str) -> list[Span] | None:
    """The characters between each pair of marks, counted without the marks; None if they are no pairs."""
    spans: list[Span] = []
    start, position = None, 0
    for character in written:
        if character == opening:
            if start is not None:
                return None
            start = position
        elif character == closing:
            if start is None:
                return None
            spans.append((start, position))
            start = None
        else:
            position += 1
    return spans if start is None else None
