"""What the page shows of an explanation, as HTML."""

from collections.abc import Sequence
from dataclasses import replace
from html import escape
from typing import Any

from captum_heta.app.long_prompts import MOST
from captum_heta.app.standing import Standing
from captum_heta.attr.located_result import shares_of
from captum_heta.comparison import Comparison
from captum_heta.comparison.view import how_refined, view_of
from captum_heta.inputs.answered import AnsweredInput
from captum_heta.visualization.html import body, style
from captum_heta.visualization.signs import label, lead
from captum_heta.visualization.view import Bar, Section, TextRow, View, text_row

STYLE = style()

# in the place of the results before there are any
HINT = '<div class="heta"><p class="note">Choose a token above, or press Explain: the explanation comes here.</p></div>'

LONG = f"This page does so with prompts of more than {MOST} tokens."

_HIGHEST = 5  # features whose shares are listed
_LEAST = 0.005  # of them

_PARTS = "The parts of the prompt first"
_HOW_PARTS = "Larger parts of the prompt were looked at; what is in those that hold most of the score comes now."


# of HETA's terms, for those who meet them here
_SAYS = {
    "semantic_flow": "what attention carries from a token to the output",
    "contribution_flow": "what attention really adds from a token on the way to the output",
    "curvature": "how the output's log-probability curves in a token's embedding",
    "information": "what the whole prediction loses when a token is masked",
    "target_information": "what the output loses when a token is masked; red where it gains",
}


def message_html(message: str) -> str:
    """A message in the place of the results, read out by screen readers."""
    return f'<div class="heta"><p class="heta-message" role="alert">{escape(message)}</p></div>'


def link_html(address: str) -> str:
    """A link to what is on the page."""
    said = f'<a href="{escape(address)}">This link</a> fills the page as it was when you asked for it.'
    return f'<div class="heta"><p role="status">{said}</p></div>'


def results(comparison: Comparison) -> str:
    """Each method's shaded text, side by side where there is room, with the largest shares in percent below it.

    HETA's three terms are a text each, which opens. The tooltip of a token has its numbers. What failed is said, and
    how alike the methods are.
    """
    view = view_of(comparison, shares=True)
    rows = dict(zip(comparison.names, comparison.matrix("shares"), strict=True)) if comparison.names else {}
    sections = [
        section if section.title not in rows else _with_shares(section, comparison, rows[section.title].tolist())
        for section in view.sections
    ]
    notes = [LONG] if how_refined(comparison) else []
    return body(replace(view, notes=[*view.notes, *notes], sections=sections))


def _with_shares(section: Section, comparison: Comparison, shares: Sequence[float]) -> Section:
    tokens, places = comparison.tokens, comparison.places
    largest = sorted(range(len(shares)), key=lambda i: -abs(shares[i]))[:_HIGHEST]
    bars = [
        Bar(label(tokens[i]), shares[i], lead(comparison.prompt, places[i][0][0]) if places[i] else "")
        for i in largest
        if abs(shares[i]) >= _LEAST
    ]
    return replace(section, bars=bars, rows=[*section.rows, *_terms(comparison, section.title)])


def _terms(comparison: Comparison, name: str) -> list[TextRow]:
    """A folded text for each term of HETA, shaded by it."""
    terms: Any = getattr(comparison.results[name], "terms", None)
    if terms is None:
        return []
    found = []
    for title, values in terms._asdict().items():
        row = values.float().mean(0)
        known = ~row.isnan()  # what cannot matter was not looked at
        shares = shares_of(row.nan_to_num(0)[None])[0].tolist()
        tips = [f"{share:.1%}" if is_known else "not looked at" for share, is_known in zip(shares, known, strict=True)]
        spread = [tip for tip, spans in zip(tips, comparison.places, strict=True) for _ in spans]
        text = text_row(comparison.prompt, comparison.spans, comparison.spread(shares), spread)
        summary = f"{_SAYS[title]}, largest {max(shares):.0%}"
        found.append(replace(text, title=title.replace("_", " "), summary=summary, folded=True))
    return found


def standing_html(standing: Standing, ahead: Sequence[Standing], inp: AnsweredInput | None = None) -> str:
    """How a run stands, in the place of the results; and what was found of larger parts, once it is known.

    Args:
        standing: of the run.
        ahead: of those whose turn comes before, the one that runs first.
        inp: the prompt.
    """
    if ahead:
        place = "Yours comes next" if len(ahead) == 1 else f"Yours comes after {len(ahead) - 1} more"
        said = f"Another run has the model. {ahead[0]}. {place}."
        return f'<div class="heta"><p class="heta-standing" role="status">{escape(said)}</p></div>'
    share = standing.share
    bar = (
        ""
        if share is None
        else f'<progress max="1" value="{share:.2f}" aria-label="{escape(standing.what)}"></progress>'
    )
    said = f'<div class="heta"><p class="heta-standing" role="status">{escape(str(standing))}</p>{bar}</div>'
    scores = standing.scores
    if scores is None or inp is None or scores.shape[1] != len(inp.spans):
        return said
    shares = shares_of(scores).mean(0).tolist()
    row = text_row(inp.text, inp.spans, shares, [""] * len(shares))
    return said + body(View(_PARTS, [_HOW_PARTS], [Section(standing.what, "", [row])]))
