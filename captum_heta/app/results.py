"""What the page shows of an explanation, as HTML."""

from html import escape

from captum.attr import LLMAttributionResult

from captum_heta.comparison import Comparison
from captum_heta.comparison.words import particulars
from captum_heta.visualization import html_text

# The text stands on white in a dark browser too, as its shades begin at white.
STYLE = """
.heta-results h2 { font-size: 1.2rem; margin: 0 0 .3rem; overflow-wrap: anywhere; }
.heta-results h3 { font-size: 1rem; margin: .8rem 0 .3rem; }
.heta-results .note, .heta-results small { font-size: .85rem; font-weight: normal; opacity: .8; }
.heta-pair { display: grid; gap: 0 1.2rem; grid-template-columns: repeat(auto-fit, minmax(min(22rem, 100%), 1fr)); }
.heta-text { border: 1px solid #ccc; border-radius: 4px; padding: .6rem .8rem; line-height: 1.8; background: #fff;
  color: #1a1a1a; }
.heta-text p { margin: 0; }
.heta-pair + .note { margin-top: .8rem; }
.heta-told { border-left: 4px solid #b3261e; padding: .2rem .8rem; overflow-wrap: anywhere; }
"""

# in the place of the results before there are any
HINT = (
    '<div class="heta-results"><p class="note">Choose an output above, or press Explain: the explanation comes here.'
    "</p></div>"
)


def told(message: str) -> str:
    """A message in the place of the results, read out by screen readers."""
    return f'<div class="heta-results"><p class="heta-told" role="alert">{escape(message)}</p></div>'


def results(comparison: Comparison) -> str:
    """Each method's shaded text and time, side by side where there is room, and what failed.

    The tooltip of a token has its score; for HETA also the three terms, means where there are several outputs.
    """
    parts = [
        f"<h2>Why {escape(repr(comparison.target))}{escape(_probability(comparison))}?</h2>",
        '<p class="note">Darker green: a higher score; red: a score below 0. Each method has its own scale, whose '
        "largest magnitude is darkest. Rest the pointer on a token for its numbers.</p>",
        '<div class="heta-pair">',
    ]
    rows = comparison.matrix("none").tolist() if comparison.names else []
    for name, row in zip(comparison.names, rows, strict=True):
        titles = titles_of(comparison.results[name], row)
        spread = [title for title, spans in zip(titles, comparison.places, strict=True) for _ in spans]
        text = html_text(comparison.prompt, comparison.spans, comparison.spread(row), titles=spread)
        parts += [_section(name, particulars(comparison, name, row), f'<div class="heta-text">{text}</div>')]
    for name, failure in comparison.failures.items():
        told_here = f'<p class="heta-told" role="alert">{escape(str(failure))}</p>'
        parts += [_section(name, f"{comparison.seconds[name]:.2f} s", told_here)]
    parts += ["</div>"]
    if len(comparison.names) == 2:
        alike = comparison.spearman()[0, 1].item()
        parts += [f'<p class="note">Rank correlation of the magnitudes (Spearman): {alike:.2f}</p>']
    return f'<div class="heta-results">{"".join(parts)}</div>'


def titles_of(result: LLMAttributionResult, row: list[float]) -> list[str]:
    """The numbers of each feature in words: its score, and the terms where the result has them, a line each.

    The score is that of all K outputs together, a term the mean over them.

    Args:
        result: of one method.
        row: its scores (F,).
    """
    lines = [[f"score {score:.4g}"] for score in row]
    terms = getattr(result, "terms", None)
    for name, values in terms._asdict().items() if terms is not None else ():
        label = f"{'mean ' if len(values) > 1 else ''}{name.replace('_', ' ')}"
        for line, value in zip(lines, values.float().mean(0).tolist(), strict=True):
            line.append(f"{label} {value:.4g}")
    return ["\n".join(line) for line in lines]


def _section(name: str, note: str, body: str) -> str:
    return f"<section><h3>{escape(name)} <small>{escape(note)}</small></h3>{body}</section>"


def _probability(comparison: Comparison) -> str:
    """What the model gives the output, as a method that tells it found it."""
    for result in comparison.results.values():
        if result.output_probs is not None:
            return f" (probability {result.output_probs.prod().item():.3g})"
    return ""
