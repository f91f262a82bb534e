"""``captum-heta explain``: a prompt shaded by HETA's scores."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from captum_heta.cli.files import written
from captum_heta.cli.messages import reported_errors, terminal
from captum_heta.cli.question import Question, asking
from captum_heta.options import CURVATURE_MODES, CurvatureOptions

if TYPE_CHECKING:
    from rich.console import Console

    from captum_heta.attr import LLMTokenAttributionResult


@asking
def explain(
    asked: Question,
    curvature: Annotated[
        str, typer.Option(help=f"How HETA estimates the curvature, from exact to cheap: {', '.join(CURVATURE_MODES)}.")
    ] = "auto",
) -> None:
    """Shade a prompt's tokens by their HETA scores, and list the highest with their terms."""
    with reported_errors(asked.debug):
        CurvatureOptions(curvature=curvature)  # which refuses what is none
        result = _explained(asked.checked(), curvature)

        from captum_heta.attr.saved import to_record
        from captum_heta.stored import as_json

        files = {asked.html_file: result.to_html, asked.json_file: lambda: as_json(to_record(result))}
        with written(files, asked.debug, asked.quiet) as is_shown:
            if is_shown:
                show_result(result, terminal())


def _explained(asked: Question, curvature: str) -> "LLMTokenAttributionResult":
    from captum_heta.attr import HETA, LLMTokenAttribution
    from captum_heta.cli.loading import answered

    model, prompt, outputs = answered(asked)
    _ = prompt.places  # what a tokenizer without places has to say of it, it says before
    llm = LLMTokenAttribution(HETA(model), prompt.tokenizer)
    show_progress = asked.model is not None and not asked.quiet and sys.stderr.isatty()
    return llm.attribute(prompt.inp, outputs, curvature=curvature, show_progress=show_progress)


def show_result(result: "LLMTokenAttributionResult", console: "Console") -> None:
    """The shaded prompt, what scores highest, and how likely each output token was."""
    from rich.text import Text

    from captum_heta.attr.result_view import probability, unlikely_note, why
    from captum_heta.visualization.signs import visible
    from captum_heta.visualization.terminal import has_colours, highest, outputs_table, scored_text

    count, coloured = len(result.output_tokens), has_colours(console)
    scores = (result.seq_attr / count).tolist()
    terms = {name.replace("_", " "): values.mean(0).tolist() for name, values in result.terms._asdict().items()}
    console.print(why(result.target, probability(result)), markup=False)
    for note in unlikely_note(result):
        console.print(note, markup=False, style="yellow")
    console.print("")
    if not coloured:
        console.print(Text(f"{visible(result.prompt)}\n"))
    console.print(scored_text(console, result.prompt, result.spans, scores))
    console.print(f"\nHighest scores{f', means over {count} output tokens' if count > 1 else ''}:")
    console.print(highest(result.prompt, result.spans, {"score": scores} | terms, marked=not coloured))
    if count > 1:
        console.print("\nEach output token, and the tokens with the largest shares of its scores:")
        console.print(outputs_table(result.output_labels, result.pieces, result.shares.tolist()))
    about = result.provenance
    seconds = f"{len(scores)} tokens, curvature {about['curvature']}, {about['seconds']:.2f} s"
    console.print(f"\n{seconds}", markup=False)
