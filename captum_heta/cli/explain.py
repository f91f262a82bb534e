"""``captum-heta explain``: a prompt shaded by Targeted HETA's scores, and by HETA's."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from captum_heta.checks import check_part
from captum_heta.cli.files import written
from captum_heta.cli.messages import INTERRUPTED, USER_ERRORS, print_note, reported_errors, terminal, warnings_to
from captum_heta.cli.question import Question, asking
from captum_heta.methods import METHODS
from captum_heta.options import CITED, CURVATURE_MODES, CurvatureOptions, TargetedOptions

if TYPE_CHECKING:
    from captum_heta.cli.explanation import Explanation

# Methods whose scores have terms, the default before the one beside it, by their short names; and what they are.
EXPLAINING = {
    "targeted": "ours: contribution flow * sqrt(curvature) * target information",
    "heta": "the paper's, Eq. 5: semantic flow * (0.5 curvature + 0.5 information)",
}


@asking
def explain(
    asked: Question,
    method: Annotated[
        str | None,
        typer.Option(
            help="targeted (Targeted HETA, ours) or heta (HETA, the paper's Eq. 5), by itself; if left out, targeted "
            "with heta below, which takes about twice as long."
        ),
    ] = None,
    curvature: Annotated[
        str | None,
        typer.Option(
            help=f"How the curvature is estimated: {', '.join(CURVATURE_MODES)}; if left out as the method does, which "
            "is fisher for targeted and auto for heta by itself."
        ),
    ] = None,
    through_output: Annotated[
        bool,
        typer.Option(
            "--through-output",
            help="Of an answer of several tokens: follow what each takes from those before it, down to the prompt.",
        ),
    ] = False,
    reasoning: Annotated[
        bool,
        typer.Option(
            "--reasoning",
            help="Of an answer that thinks first, between <think> and </think> or such marks: which sentences it comes "
            "from, directly and through the reasoning.",
        ),
    ] = False,
    thought: Annotated[
        str | None,
        typer.Option(help="The reasoning as text, for --reasoning where no marks stand around it."),
    ] = None,
    citations: Annotated[
        bool,
        typer.Option("--citations", help="With --documents: write numbers such as [1] behind the sentences."),
    ] = False,
    threshold: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            help=f"The share of a sentence from which on --citations cites a document; {CITED} if left out.",
        ),
    ] = None,
) -> None:
    """Shade a prompt's tokens by the scores of Targeted HETA and list the highest with their terms.

    Below, the prompt is shaded by the scores of the paper's HETA; Ctrl-C while they are computed keeps the others.

    With --documents and --question it shows which documents each sentence of the answer comes from.
    """
    with reported_errors(asked.debug):
        if method is not None and method not in EXPLAINING:
            raise ValueError(f"--method must be {' or '.join(EXPLAINING)}, got {method!r}; compare has the others.")
        if curvature is not None:
            CurvatureOptions(curvature=curvature)  # which refuses what is none
        names = list(EXPLAINING) if method is None else [method]
        if method is None and curvature is None:
            curvature = TargetedOptions().curvature  # of both, so that the second costs no more than the first
        asked = asked.checked()
        if asked.documents is not None:
            cited = _checked_threshold(asked, reasoning or thought is not None, citations, threshold)
            from captum_heta.cli.sources import explain_sources

            explain_sources(_answering(asked), names[0], curvature, through_output, cited)
            return
        if citations or threshold is not None:
            name = "--citations" if citations else "--threshold"
            raise ValueError(f"{name} goes with documents: pass --documents and --question, or leave it out.")
        if reasoning or thought is not None:
            _check_reasoning(asked, through_output, thought)
            from captum_heta.cli.reasoning import explain_reasoning

            explain_reasoning(asked, names[0], curvature, thought)
            return
        explanations = _explained(asked, names, curvature, through_output)
        first = explanations[0].result
        assert first is not None  # or it would have raised

        from captum_heta.attr.saved import to_record
        from captum_heta.cli.explanation import show, view_of
        from captum_heta.stored import as_json
        from captum_heta.visualization.html import page

        files = {
            asked.html_file: lambda: page(view_of(first, explanations, through_output)),
            asked.json_file: lambda: as_json(to_record(first)),
        }
        with written(files, asked.debug, asked.quiet) as is_shown:
            if is_shown:
                show(first, explanations, terminal(), through_output)
            elif not asked.quiet:
                for note in [note for one in explanations for note in (*one.said, *one.refined)]:
                    print_note(note)
    last = explanations[-1].failure
    if last is not None and last.kind == KeyboardInterrupt.__name__:
        raise typer.Exit(INTERRUPTED)


def _checked_threshold(asked: Question, reasoning: bool, citations: bool, threshold: float | None) -> float | None:
    """The share from which on documents are cited; None for no citations."""
    if reasoning:
        raise ValueError("--reasoning and --thought follow what the model thought: leave them out, or --documents.")
    if asked.contrast is not None:
        raise ValueError("--documents is of an answer's sources: leave out --contrast.")
    if threshold is None:
        return CITED if citations else None
    if not citations:
        raise ValueError("--threshold says what --citations cites: pass --citations too, or leave it out.")
    return check_part("--threshold", threshold, "a sentence", one=True)


def _answering(asked: Question) -> Question:
    """A question about an answer of several tokens, whatever is said of it."""
    return asked._replace(answer=asked.answer or (asked.target is None and asked.generate is None))


def _check_reasoning(asked: Question, through_output: bool, thought: str | None) -> None:
    if through_output:
        raise ValueError("--through-output follows all outputs, --reasoning their sentences: leave one of them out.")
    if asked.contrast is not None:
        raise ValueError("--reasoning follows one answer: leave out --contrast.")
    if asked.no_refine:
        raise ValueError(
            "--no-refine looks at every token, --reasoning at sentences: leave it out, or pass --refine 1."
        )
    if thought == "":
        raise ValueError("--thought is empty: give the reasoning as text, or leave it out for what is between marks.")
    if asked.target is None and not asked.generates:
        raise ValueError("--reasoning needs reasoning and an answer: pass --answer, --generate N or --target.")


def _explained(
    asked: Question, names: Sequence[str], curvature: str | None, through_output: bool
) -> "list[Explanation]":
    """What each method found; a second one that fails, or is interrupted, takes nothing from the first."""
    from captum_heta.attr import LLMTokenAttribution
    from captum_heta.cli.explanation import Explanation
    from captum_heta.cli.loading import answered
    from captum_heta.comparison import Failure

    model, prompt, outputs, others = answered(asked)
    _ = prompt.places  # what a tokenizer without places has to say of it, it says before
    options: dict[str, Any] = {} if curvature is None else {"curvature": curvature}
    options |= {} if others is None else {"contrast": others}
    options |= {"include_output": True} if through_output else {}
    options["refine"] = asked.share(len(prompt.labels))
    options["show_progress"] = asked.model is not None and not asked.quiet and sys.stderr.isatty()
    found: list[Explanation] = []
    for name in names:
        said: list[str] = []
        title, what = METHODS[name].title, EXPLAINING[name]
        llm: LLMTokenAttribution = LLMTokenAttribution(METHODS[name].make(model), prompt.tokenizer)
        try:
            with warnings_to(said.append):
                result = llm.attribute(prompt.inp, outputs, **options)
        except (*USER_ERRORS, KeyboardInterrupt) as error:
            if not found:
                raise
            failure = Failure(type(error).__name__, str(error) or "interrupted")
            found.append(Explanation(title, what, None, said, failure))
        else:
            found.append(Explanation(title, what, result, said, chosen=asked.refine is not None))
    return found
