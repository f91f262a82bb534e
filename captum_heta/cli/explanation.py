"""What ``explain`` shows: the prompt shaded by a method, with what its scores are made of, and by another one below."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from rich.console import Console
from rich.text import Text

from captum_heta.attr import LLMTokenAttributionResult
from captum_heta.attr import result_view as one_result
from captum_heta.comparison import Failure
from captum_heta.provenance import in_words
from captum_heta.visualization.signs import visible
from captum_heta.visualization.terminal import has_colours, highest, outputs_table, scored_text
from captum_heta.visualization.view import Section, View


class Explanation(NamedTuple):
    """What a method found.

    Attributes:
        title: the method.
        what: what it is, in a few words.
        result: its scores; None where it failed.
        said: what it warned of.
        failure: why there is no result; None for one.
        chosen: whether a person chose to look at it coarse to fine, and not the length of the prompt.
    """

    title: str
    what: str
    result: LLMTokenAttributionResult | None
    said: Sequence[str] = ()
    failure: Failure | None = None
    chosen: bool = False

    @property
    def effort(self) -> str:
        """How its scores were made, in a few words."""
        assert self.result is not None
        about = self.result.provenance
        kind = "gradient" if about["curvature"] in ("fisher", "gradient") else "product"
        said = [
            f"{len(self.result.seq_attr)} tokens",
            f"curvature {about['curvature']} ({_counted(about['products'], kind)})",
            _counted(about["passes"], "masked pass", "masked passes")
            + (f" ({about['skipped']:,} skipped)" if about.get("skipped") else ""),
            f"{about['seconds']:.2f} s",
        ]
        return ", ".join(said)

    @property
    def refined(self) -> list[str]:
        """How much of the prompt was looked into, and what looks at all of it where nobody chose; if it was so."""
        if self.result is None:
            return []
        hint = "; --no-refine looks at every token" if one_result.is_refined(self.result) and not self.chosen else ""
        return [f"{said[:1].upper()}{said[1:]}{hint}." for said in one_result.refined_note(self.result)]


def show(
    first: LLMTokenAttributionResult, explanations: Sequence[Explanation], console: Console, through: bool = False
) -> None:
    """The question, and under it each method's shaded prompt; of the first also the highest scores and each output.

    Args:
        first: the result of the first.
        explanations: one a method.
        console: where.
        through: as in `LLMTokenAttributionResult.to_html`.
    """
    question = one_result.why(first.target, one_result.probability(first), first.contrast)
    console.print(question, markup=False)
    for note in one_result.unlikely_note(first):
        console.print(note, markup=False, style="yellow")
    if not has_colours(console):
        console.print(Text(f"\n{visible(first.prompt)}"))
    for one in explanations:
        console.print(Text.assemble("\n", (one.title, "bold"), (f"  {one.what}", "dim")))
        if one.result is None:
            console.print(visible(str(one.failure)), markup=False, style="red")
        else:
            whole = one.result.answer() if through else one.result.seq_attr / len(one.result.output_tokens)
            scores = whole.tolist()
            console.print(scored_text(console, one.result.prompt, one.result.spans, scores))
            if one.result is first:
                _show_highest(first, scores, console, through)
        for warning in one.said:
            console.print(f"\n{visible(warning)}", markup=False, style="yellow")
        if one.result is not None:
            console.print("\n" + "\n".join([*one.refined, one.effort]), markup=False)


def _counted(count: int, one: str, several: str = "") -> str:
    return f"{count:,} {one if count == 1 else several or f'{one}s'}"


def _show_highest(result: LLMTokenAttributionResult, scores: Sequence[float], console: Console, through: bool) -> None:
    count = len(result.output_tokens)
    # a word a line, so that all columns have room in 80 characters
    terms = {name.replace("_", "\n"): values.mean(0).tolist() for name, values in result.terms._asdict().items()}
    console.print(f"\nHighest scores{f', means over {count} output tokens' if count > 1 else ''}:")
    columns = {"score": scores} | terms
    console.print(highest(result.prompt, result.spans, columns, marked=not has_colours(console)))
    if count > 1:
        rows = result.through_output() if through else result.shares
        how = ", directly or through the outputs before it" if through else ""
        console.print(f"\nEach output token, and the tokens with the largest shares of its scores{how}:")
        console.print(outputs_table(result.output_labels, result.pieces, rows.tolist()))


def view_of(first: LLMTokenAttributionResult, explanations: Sequence[Explanation], through: bool = False) -> View:
    """The same for a page, with the numbers of each token in its tooltip.

    Args:
        first: the result of the first.
        explanations: one a method.
        through: as in `LLMTokenAttributionResult.to_html`.
    """
    whole = one_result.view_of(first, through=through)
    notes, sections, about = list(whole.notes), [], list(whole.about)
    for one in explanations:
        notes += [f"{one.title}: {warning}" for warning in one.said]
        if one.result is None:
            sections.append(Section(one.title, one.what, failure=str(one.failure)))
            continue
        (section,) = one_result.view_of(one.result, through=through).sections
        sections.append(replace(section, title=one.title, note=f"{one.what}; {section.note}; {one.effort}"))
        if one.result is not first:
            about += _differing(one.title, one.result.provenance, first.provenance)
    return replace(whole, notes=notes, sections=sections, about=about)


def _differing(title: str, provenance: Mapping[str, object], known: Mapping[str, object]) -> list[tuple[str, str]]:
    """What a result was made with, in words, where it is something else than is said already."""
    others = in_words({name: value for name, value in provenance.items() if known.get(name) != value})
    return [(f"{title} {name}", value) for name, value in others if name not in ("method", "date")]
