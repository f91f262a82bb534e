"""What is shown of a comparison, on a page as in a terminal."""

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from captum_heta.attr.located_result import rows_of, shares_of
from captum_heta.attr.result_view import (
    HOW_REFINED,
    HOW_TO_READ,
    is_refined,
    largest_shares,
    probability,
    refined_note,
    sink_note,
    tips_of,
    why,
)
from captum_heta.comparison.result import Comparison
from captum_heta.inputs.parts import summed
from captum_heta.provenance import in_words
from captum_heta.visualization.signs import label
from captum_heta.visualization.text_pieces import pieces, scale_text
from captum_heta.visualization.view import NumberTable, Section, TextRow, View, text_row

_HIGHEST = 5  # features whose overlap is told
MOST_OUTPUTS = 8  # of which each method has a text; more make a page of many methods slow


def view_of(comparison: Comparison, shares: bool = False) -> View:
    """Each method's shaded text and time, the methods that failed, and how alike the others are.

    Args:
        comparison: what was found.
        shares: colour by the mean of the output tokens' shares, said in percent, and not by the sum of their scores.
    """
    names = comparison.names
    rows = comparison.matrix("shares" if shares else "none").tolist() if names else []
    sections = []
    for name, row in zip(names, rows, strict=True):
        tips = tips_of(comparison.results[name], row, shares)
        spread = [tip for tip, spans in zip(tips, comparison.places, strict=True) for _ in spans]
        text = text_row(comparison.prompt, comparison.spans, comparison.spread(row), spread)
        note, outputs = method_note(comparison, name, row, shares), _outputs(comparison, name, shares)
        sections.append(Section(name, note, [text], outputs=outputs))
    for name, failure in comparison.failures.items():
        sections.append(Section(name, f"{comparison.seconds[name]:.2f} s", failure=str(failure)))
    notes = [f"{len(comparison.input_tokens)} features. {HOW_TO_READ}", *outputs_note(comparison)]
    notes += _first_outputs(comparison)
    notes += [f"{name}: {note}" for name in names for note in sink_note(comparison.results[name])]
    notes += how_refined(comparison)
    pairs = _agreement(comparison) if len(names) == 2 else []
    summary = [f"{title}: {values[0, 1].item():{form}}" for title, values, form in pairs]
    tables = [*_shares(comparison), *(_tables(comparison) if len(names) > 2 else [])]
    return View(question(comparison), notes, sections, summary, tables, in_words(comparison.provenance))


def _outputs(comparison: Comparison, name: str, shares: bool) -> list[TextRow]:
    """A folded text for each of the first output tokens, where there are several and the method explains each."""
    result = comparison.results[name]
    rows = rows_of(result)[:MOST_OUTPUTS].float()
    if result.token_attr is None or len(result.output_tokens) == 1:
        return []
    found = []
    scored = (shares_of(rows) if shares else rows).tolist()
    for output, scores in zip(result.output_tokens, scored, strict=False):
        spread = comparison.spread(scores)
        tips = [f"share {score:.1%}" if shares else f"score {score:.4g}" for score in spread]
        row = text_row(comparison.prompt, comparison.spans, spread, tips)
        found.append(replace(row, title=label(output), summary=largest_shares(comparison.tokens, scores), folded=True))
    return found


def question(comparison: Comparison) -> str:
    """What is explained, and how likely it is where a method tells."""
    known = (probability(result) for result in comparison.results.values())
    likely = next((likely for likely in known if likely is not None), None)
    return why(comparison.target, likely, comparison.contrast)


def outputs_note(comparison: Comparison) -> list[str]:
    """How likely each output token was, where there are several and a method tells."""
    for result in comparison.results.values():
        if result.output_probs is not None and len(result.output_tokens) > 1:
            pairs = zip(result.output_tokens, result.output_probs.tolist(), strict=True)
            return ["Probability of each output token: " + ", ".join(f"{label(token)} {p:.2g}" for token, p in pairs)]
    return []


def _first_outputs(comparison: Comparison) -> list[str]:
    """That not all output tokens have a text of their own, where it is so."""
    count = max((len(result.output_tokens) for result in comparison.results.values()), default=0)
    return (
        [f"The first {MOST_OUTPUTS} of {count} output tokens have a text of their own."] if count > MOST_OUTPUTS else []
    )


def alone_note(comparison: Comparison, name: str) -> list[str]:
    """What is said of a method beside a contrast that it does not explain."""
    alone = comparison.contrast is not None and getattr(comparison.results[name], "contrast", None) is None
    return ["explains the target alone"] if alone else []


def how_refined(comparison: Comparison) -> list[str]:
    """What coarse to fine is, where a method did so."""
    return [HOW_REFINED] if any(map(is_refined, comparison.results.values())) else []


def part_note(comparison: Comparison, name: str) -> list[str]:
    """How much of the prompt a method looked into, where one of them did so coarse to fine."""
    said = refined_note(comparison.results[name])
    return said or (["in full"] if how_refined(comparison) else [])


def method_note(comparison: Comparison, name: str, row: Sequence[float], shares: bool = False) -> str:
    """The time, the score of the full colour, features that are no text of the prompt, `part_note` and `alone_note`.

    Args:
        comparison: with a result of ``name``.
        name: of the method.
        row: its score for each feature (F,).
        shares: whether these are parts of 1, which are said in percent.
    """
    form = ".0%" if shares else ".3g"
    parts = pieces(comparison.prompt, comparison.spans, comparison.spread(row))
    said = [f"{comparison.seconds[name]:.2f} s", scale_text(parts, form)]
    for feature, places, score in zip(comparison.input_tokens, comparison.places, row, strict=True):
        if not any(start < end for start, end in places):  # a special token, or a template's value that is empty
            said.append(f"not in the text: {feature!r} {score:{form}}")
    return ", ".join([*said, *part_note(comparison, name), *alone_note(comparison, name)])


def _agreement(comparison: Comparison) -> list[tuple[str, Tensor, str]]:
    """How alike the methods are: a title, (methods, methods), and the form of its numbers; for two or more of them."""
    if len(comparison.names) < 2:
        return []
    shared = min(_HIGHEST, len(comparison.input_tokens))
    return [
        ("Rank correlation of the magnitudes (Spearman)", comparison.spearman(), ".2f"),
        (f"Share of the {shared} highest in common", comparison.top_k_overlap(shared), ".0%"),
    ]


def _tables(comparison: Comparison) -> list[NumberTable]:
    # columns have the numbers of the rows, as many names side by side are wider than a screen
    names = comparison.names
    head = [str(i) for i in range(1, len(names) + 1)]
    numbered = [f"{i} {name}" for i, name in enumerate(names, start=1)]
    tables = []
    for title, values, form in _agreement(comparison):
        cells = [[f"{value:{form}}" for value in row] for row in values.tolist()]
        tables.append(NumberTable(title, head, list(zip(numbered, cells, strict=True)), names))
    return tables


def _shares(comparison: Comparison) -> list[NumberTable]:
    """The share of each document or message in the output, a column a method."""
    if comparison.groups is None or not comparison.names:
        return []
    sums = [summed(row, comparison.groups, comparison.groups) for row in comparison.matrix("shares")]
    rows = [(name, [f"{shares[name]:.0%}" for shares in sums]) for name in sums[0]]
    return [NumberTable("Shares of the parts of the prompt", comparison.names, rows)]
