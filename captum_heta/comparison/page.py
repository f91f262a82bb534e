"""A comparison as one HTML file without scripts, links or pictures."""

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from torch import Tensor

from captum_heta.comparison.words import particulars
from captum_heta.visualization import html_text

if TYPE_CHECKING:
    from captum_heta.comparison.result import Comparison

_STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff; max-width: 62rem; margin: 2rem auto;
  padding: 0 1rem; }
h1 { font-size: 1.4rem; overflow-wrap: anywhere; }
h2 { font-size: 1.05rem; margin: 1.6rem 0 .4rem; }
h2 small, .note { color: #555; font-weight: normal; font-size: .85rem; }
.text { border: 1px solid #ddd; border-radius: 4px; padding: .6rem .8rem; line-height: 1.8; }
.text p { margin: 0; }
.failure { border-left: 4px solid #b3261e; padding: .2rem .8rem; overflow-wrap: anywhere; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .85rem; }
th, td { padding: .25rem .35rem; border: 1px solid #ddd; text-align: right; white-space: nowrap; }
th { font-weight: 600; }
th[scope=row] { text-align: left; white-space: normal; overflow-wrap: anywhere; min-width: 6rem; }
"""


def comparison_page(comparison: "Comparison") -> str:
    """Each method's shaded text and time, the methods that failed, and how alike the others are."""
    names, count = comparison.names, len(comparison.tokens)
    body = [
        f"<h1>Why {escape(repr(comparison.target))}?</h1>",
        f'<p class="note">{count} features. Darker green: a higher score; red: a score below 0. Each method has its '
        "own scale, whose largest magnitude is darkest; a score is shown where the pointer rests.</p>",
    ]
    if names:
        for name, row in zip(names, comparison.matrix("none").tolist(), strict=True):
            text = html_text(comparison.prompt, comparison.spans, comparison.spread(row))
            body += [_heading(name, particulars(comparison, name, row)), f'<div class="text">{text}</div>']
    for name, failure in comparison.failures.items():
        body += [_heading(name, f"{comparison.seconds[name]:.2f} s"), f'<p class="failure">{escape(str(failure))}</p>']
    if len(names) > 1:
        shared = min(5, count)
        body += ["<h2>Rank correlation of the magnitudes (Spearman)</h2>", _table(names, comparison.spearman(), ".2f")]
        body += [f"<h2>Share of the {shared} highest in common</h2>"]
        body += [_table(names, comparison.top_k_overlap(shared), ".0%")]
    title = escape(f"Why {comparison.target!r}?")
    return (
        f'<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8"><title>{title}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<style>{_STYLE}</style></head>\n<body>\n" + "\n".join(body) + "\n</body>\n</html>\n"
    )


def _heading(name: str, note: str) -> str:
    return f"<h2>{escape(name)} <small>{escape(note)}</small></h2>"


def _table(names: Sequence[str], values: Tensor, form: str) -> str:
    """Columns have the numbers of the rows, as many names side by side are wider than a screen."""
    head = "".join(f'<th scope="col" title="{escape(name)}">{i}</th>' for i, name in enumerate(names, start=1))
    rows = [
        f'<tr><th scope="row">{i} {escape(name)}</th>' + "".join(f"<td>{value:{form}}</td>" for value in row) + "</tr>"
        for i, (name, row) in enumerate(zip(names, values.tolist(), strict=True), start=1)
    ]
    return f'<div class="wide"><table><tr><td></td>{head}</tr>{"".join(rows)}</table></div>'
