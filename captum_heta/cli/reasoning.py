"""``captum-heta explain --reasoning``: an answer followed through what the model thought before it."""

import sys
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from captum_heta.attr import LLMTokenAttribution, ReasoningTrace
from captum_heta.attr.reasoning_view import view_of
from captum_heta.attr.saved_reasoning import to_record
from captum_heta.cli.files import written
from captum_heta.cli.loading import answered
from captum_heta.cli.messages import terminal
from captum_heta.cli.question import Question
from captum_heta.inputs.places import flat, spread
from captum_heta.methods import METHODS
from captum_heta.stored import as_json
from captum_heta.visualization.html import page
from captum_heta.visualization.signs import visible
from captum_heta.visualization.terminal import has_colours, scored_text
from captum_heta.visualization.view import in_percent

_WIDTH = 20  # of a full bar


def explain_reasoning(asked: Question, name: str, curvature: str | None, thought: str | None) -> None:
    """Show where an answer comes from, directly and through its reasoning, and write the files that were asked for.

    Args:
        asked: checked.
        name: of the method, in `METHODS`.
        curvature: how it is estimated; None as the method does.
        thought: the reasoning as text; None for what stands between its marks.
    """
    model, prompt, outputs, _ = answered(asked)
    options: dict[str, Any] = {} if curvature is None else {"curvature": curvature}
    options["show_progress"] = asked.model is not None and not asked.quiet and sys.stderr.isatty()
    llm: LLMTokenAttribution = LLMTokenAttribution(METHODS[name].make(model), prompt.tokenizer)
    trace = llm.trace(prompt.inp, outputs, reasoning=thought, refine=asked.refine, **options)
    files = {
        asked.html_file: lambda: page(view_of(trace)),
        asked.json_file: lambda: as_json(to_record(trace)),
    }
    with written(files, asked.debug, asked.quiet) as is_shown:
        if is_shown:
            show(trace, METHODS[name].title, terminal())


def show(trace: ReasoningTrace, title: str, console: Console) -> None:
    """The prompt shaded by its shares, a table of the sentences of the reasoning, and the answer."""
    view, shares = view_of(trace), trace.prompt_attr.tolist()
    prompt, reasoning, answer = view.sections
    console.print(visible(view.title), markup=False)
    console.print(Text.assemble("\n", (prompt.title, "bold"), (f"  {prompt.note}", "dim")))
    if not has_colours(console):
        console.print(Text(f"{visible(trace.prompt)}\n"))
    console.print(scored_text(console, trace.prompt, flat(trace.places), spread(shares, trace.places)))
    console.print(Text.assemble("\n", (reasoning.title, "bold"), (f"  {reasoning.note}", "dim")))
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(justify="right")
    table.add_column(width=_WIDTH)
    table.add_column()
    for bar in reasoning.bars:
        table.add_row(in_percent(bar.share), Text("█" * round(_WIDTH * bar.share), "green"), Text(visible(bar.text)))
    console.print(table)
    console.print(Text.assemble("\n", (answer.title, "bold"), f"  {visible(trace.answer.strip())}"))
    for sentence in view.summary:
        console.print(f"\n{sentence}", markup=False)
    console.print(f"\n{title}, {trace.provenance['seconds']:.2f} s", markup=False)
