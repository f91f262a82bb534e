"""Attributions as HTML, without scripts, links or pictures: one template for pages, notebooks and the demo."""

from collections.abc import Sequence
from functools import cache
from importlib import resources
from typing import Any

from jinja2 import DictLoader, Environment
from markupsafe import Markup, escape

from captum_heta.spans import Span
from captum_heta.visualization.colours import background, ink, is_shaded
from captum_heta.visualization.signs import blank_sign
from captum_heta.visualization.view import TextRow, View, in_percent, text_row

_FILES = ("explanation.html.jinja", "explanation.css", "sources.html.jinja")


def html_text(text: str, spans: Sequence[Span], scores: Sequence[float], *, titles: Sequence[str] | None = None) -> str:
    """``text`` as an HTML paragraph, each piece on its shade and with its score as tooltip.

    The browser wraps it and orders right-to-left text. In a notebook: ``IPython.display.HTML(html_text(...))``.

    Args:
        text: the prompt.
        spans: the characters [start, end) of each feature.
        scores: a number for each feature; the largest magnitude has the full colour.
        titles: the tooltip of each feature, in the place of its score. A piece of several features has all of theirs,
            with an empty line between.

    Raises:
        ValueError: as `pieces` does, and for as many titles as are not one a feature.
    """
    return rendered("paragraph", row=text_row(text, spans, scores, titles))


def page(view: View) -> str:
    """A whole document, light or dark as the reader's system is."""
    return rendered("page", view=view)


def fragment(view: View) -> str:
    """The same for a notebook or another page, with its style, and as light or dark as what is around it."""
    return rendered("fragment", view=view)


def style() -> str:
    """The style of a `fragment`'s inside, for a page that has it once."""
    return _environment().get_template("explanation.css").render()


def body(view: View) -> str:
    """The inside of a `fragment`, for a page that has its `style`."""
    return rendered("body", view=view)


def rendered(macro: str, file: str = _FILES[0], **given: Any) -> str:
    """What a macro of a template makes of what is given."""
    module = _environment().get_template(file).module
    return str(getattr(module, macro)(**given))


@cache
def _environment() -> Environment:
    folder = resources.files(__package__) / "templates"
    sources = {name: (folder / name).read_text(encoding="utf-8") for name in _FILES}
    environment = Environment(loader=DictLoader(sources), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"exactly": _exactly, "colours": _colours, "sign": blank_sign, "percent": in_percent}
    return environment


def _exactly(text: str) -> Markup:
    """Text of which nothing is lost: browsers read a bare carriage return as a newline."""
    return Markup(str(escape(text)).replace("\r", "&#13;"))


def _colours(strength: float) -> str:
    """The style of a piece, nothing near zero; older browsers have the light colours on dark pages too."""
    if not is_shaded(strength):
        return ""
    (ground, letters), (dark_ground, dark_letters) = (
        (background(strength, dark), ink(strength, dark)) for dark in (False, True)
    )
    return (
        f"background:{ground};color:{letters};background:light-dark({ground},{dark_ground});"
        f"color:light-dark({letters},{dark_letters})"
    )


__all__ = ["TextRow", "body", "fragment", "html_text", "page", "rendered", "style"]
