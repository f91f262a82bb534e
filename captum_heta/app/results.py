"""What the page shows of an explanation, as HTML."""

from dataclasses import replace
from html import escape

from captum_heta.app.long_prompts import MOST
from captum_heta.comparison import Comparison
from captum_heta.comparison.view import how_refined, view_of
from captum_heta.visualization.html import body, style

STYLE = style()

# in the place of the results before there are any
HINT = (
    '<div class="heta"><p class="note">Choose an output above, or press Explain: the explanation comes here.</p></div>'
)

LONG = f"This page does so with prompts of more than {MOST} tokens."


def message_html(message: str) -> str:
    """A message in the place of the results, read out by screen readers."""
    return f'<div class="heta"><p class="heta-message" role="alert">{escape(message)}</p></div>'


def results(comparison: Comparison) -> str:
    """Each method's shaded text and time, side by side where there is room, what failed, and how alike they are.

    The tooltip of a token has its score; for HETA in both forms also its three terms, means of several outputs.
    """
    view = view_of(comparison)
    notes = [LONG] if how_refined(comparison) else []
    return body(replace(view, notes=[*view.notes, *notes]))
