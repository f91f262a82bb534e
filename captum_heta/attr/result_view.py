"""What is shown of one result."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from captum.attr import LLMAttributionResult

from captum_heta.attr.result import LLMTokenAttributionResult
from captum_heta.provenance import in_words
from captum_heta.visualization.signs import label
from captum_heta.visualization.text_pieces import pieces, scale_text
from captum_heta.visualization.view import NumberTable, Section, View, text_row, why

NOTEBOOK_ROWS = 8
_UNLIKELY = 1e-4
_LONGEST = 20_000  # characters of a prompt in a notebook

HOW_TO_READ = (
    "Green: a score above 0; red: below 0. The largest magnitude of each text has the full colour. Rest the pointer on "
    "a token, or tap it, for its numbers."
)

HOW_REFINED = (
    "Coarse to fine: larger parts of the prompt were looked at first, and then what is in its end and in those that "
    "hold most of the score; what is in the others shares the score of its part."
)


HOW_THROUGH = (
    "What the outputs before a token have of it is followed to the prompt: the shades are of what comes from there, "
    "directly or through them."
)


def view_of(
    result: LLMTokenAttributionResult, shares: bool = False, most: int | None = None, through: bool = False
) -> View:
    """A result to be shown.

    Args:
        result: what was found.
        shares: colour the whole output by the mean of its tokens' shares.
        through: as in `LLMTokenAttributionResult.to_html`.
        most: cut the rows of output tokens, and a very long prompt, with a note; None for all.
    """
    titled = result.titled_rows(shares, through)
    notes = [HOW_TO_READ, *unlikely_note(result), *sink_note(result), *([HOW_REFINED] if is_refined(result) else [])]
    notes += [HOW_THROUGH] if through else []
    if most is not None and len(titled) > most + 1:
        notes.append(f"The first {most} of {len(titled) - 1} output tokens; to_html() has all.")
        titled = titled[: most + 1]
    text, spans = result.prompt, result.spans
    kept: Sequence[int] = range(len(spans))
    if most is not None and len(text) > _LONGEST:
        notes.append(f"The first {_LONGEST:,} of {len(text):,} characters; to_html() has all.")
        text, kept = text[:_LONGEST], [i for i, (_, end) in enumerate(spans) if end <= _LONGEST]
    tips = [tip for tip, places in zip(tips_of(result, titled[0][1]), result.places, strict=True) for _ in places]
    rows = []
    for i, (title, scores) in enumerate(titled):
        spread = result.spread(scores)
        said = tips if i == 0 else [f"score {score:.4g}" for score in spread]
        row = text_row(text, [spans[j] for j in kept], [spread[j] for j in kept], [said[j] for j in kept])
        rows.append(replace(row, title=title if len(titled) > 1 else "", folded=i > 0))
        if i > 0:
            rows[-1] = replace(rows[-1], summary=_in_short(result, i - 1, scores, through))
    scale = scale_text(pieces(result.prompt, result.spans, result.spread(titled[0][1])))
    tables = [] if result.groups is None else [_groups(result)]
    return View(
        why(result.target, probability(result), result.contrast),
        notes,
        [Section(result.method or "scores", "; ".join([scale, *refined_note(result)]), rows)],
        [],
        tables,
        in_words(result.provenance),
    )


def _in_short(result: LLMTokenAttributionResult, number: int, scores: Sequence[float], through: bool) -> str:
    """The features with the largest shares of an output token, and the outputs before it where they are known."""
    names, values = list(result.pieces), list(scores)
    if result.output_attr is not None and not through:
        names += [f"output {name}" for name in result.output_tokens]
        values += result.output_attr[number].tolist()
    return largest_shares(names, values)


def largest_shares(names: Sequence[str], values: Sequence[float]) -> str:
    """The three with the largest magnitudes and their parts of the sum, in words."""
    total = sum(abs(value) for value in values)
    if total == 0:
        return "nothing supports it"
    largest = sorted(range(len(values)), key=lambda i: -abs(values[i]))[:3]
    return ", ".join(f"{label(names[i])} {values[i] / total:.0%}" for i in largest if values[i])


def unlikely_note(result: LLMAttributionResult) -> list[str]:
    """A sentence on output tokens that the model would not say, of which an explanation says little."""
    if result.output_probs is None:
        return []
    # of a sentence that of a token, as a mean
    means = [likely ** (1 / count) for likely, count in zip(result.output_probs.tolist(), _sizes(result), strict=True)]
    pairs = zip(result.output_tokens, means, strict=True)
    unlikely = [f"{label(token)} {likely:.1g}" for token, likely in pairs if likely < _UNLIKELY]
    if not unlikely:
        return []
    return [
        f"The model finds this output unlikely ({', '.join(unlikely[:5])}): the scores explain what it does not say."
    ]


def sink_note(result: Any) -> list[str]:
    """A sentence on an attention sink, which scores of Eq. 5 show and not the prompt."""
    share: Any = getattr(result, "provenance", {}).get("attention_sink")
    if type(share) is not float:  # a file may say anything
        return []
    return [
        f"The first token has {share:.0%} of the attention flow, whatever it says: an attention sink, which the gate "
        "of HETA's Eq. 5 follows. Targeted HETA gives it little."
    ]


def _sizes(result: LLMAttributionResult) -> list[int]:
    """How many tokens each of ``output_tokens`` has, which may be sentences."""
    sizes: Any = getattr(result, "provenance", {}).get("sentence_tokens")
    count = len(result.output_tokens)
    known = isinstance(sizes, list) and len(sizes) == count and all(type(size) is int and size > 0 for size in sizes)
    return sizes if known else [1] * count  # a file may say anything


def is_refined(result: Any) -> bool:
    """Whether a result was made coarse to fine, of a prompt that has larger parts."""
    return getattr(result, "provenance", {}).get("refined") is not None


def refined_note(result: Any) -> list[str]:
    """How much of the prompt was looked into, where a result was made coarse to fine."""
    about = getattr(result, "provenance", {})
    if "refined" not in about:
        return []
    if about["refined"] is None:
        return ["in full, as the prompt has no larger parts"]
    options = about.get("options")
    share = options.get("refine") if isinstance(options, dict) else None  # a file may say anything
    return [f"looked into {about['refined']}{'' if share is None else f' for {share} of the score'}"]


def probability(result: LLMAttributionResult) -> float | None:
    """What the model gives the whole output; None where the method does not tell."""
    return None if result.output_probs is None else result.output_probs.double().prod().item()


def tips_of(result: LLMAttributionResult, scores: Sequence[float], shares: bool = False) -> list[str]:
    """The numbers of each feature in words: its score, and the terms where the result has them, a line each.

    The score is that of all K outputs together, a term the mean over them.

    Args:
        result: of one method.
        scores: its scores (F,).
        shares: whether these are parts of 1, which are said in percent.
    """
    lines = [[f"share {score:.1%}" if shares else f"score {score:.4g}"] for score in scores]
    terms: Any = getattr(result, "terms", None)
    errors: Any = getattr(result, "curvature_errors", None)
    for name, values in terms._asdict().items() if terms is not None else ():
        term = f"{'mean ' if len(values) > 1 else ''}{name.replace('_', ' ')}"
        for i, (line, value) in enumerate(zip(lines, values.float().mean(0).tolist(), strict=True)):
            # of a mean over outputs, whose draws are the same
            error = f" ± {errors[:, i].mean().item():.2g}" if name == "curvature" and errors is not None else ""
            line.append(f"{term} {value:.4g}{error}" if value == value else f"{term} not looked at: it cannot matter")
    return ["\n".join(line) for line in lines]


def _groups(result: LLMTokenAttributionResult) -> NumberTable:
    shares = sorted(result.by_group().items(), key=lambda pair: -abs(pair[1]))
    return NumberTable(
        "Shares of the parts of the prompt", ["share"], [(name, [f"{share:.0%}"]) for name, share in shares]
    )
