"""``captum-heta explain --documents``: the sentences of an answer, with the documents that they come from."""

import sys
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from captum_heta.app.long_prompts import automatic_refine
from captum_heta.attr import LLMTokenAttribution
from captum_heta.attr.saved import to_record
from captum_heta.attr.sources import Sources
from captum_heta.attr.sources_view import view_of
from captum_heta.cli.files import written
from captum_heta.cli.loading import answered
from captum_heta.cli.messages import print_note, terminal, warnings_to
from captum_heta.cli.question import Question
from captum_heta.methods import METHODS
from captum_heta.stored import as_json
from captum_heta.visualization.signs import visible
from captum_heta.visualization.sources import SourcesView, page
from captum_heta.visualization.view import in_percent

_WIDTH = 20  # of a full bar
_SHORTER = "--no-refine looks at each token of the answer and each sentence of the documents, which takes longer."


def explain_sources(asked: Question, name: str, curvature: str | None, through: bool, threshold: float | None) -> None:
    """Show what each sentence of an answer takes from each document, and write the files that were asked for.

    Args:
        asked: checked.
        name: of the method, in `METHODS`.
        curvature: how it is estimated; None as the method does.
        through: follow the outputs before each.
        threshold: the share from which on documents are cited; None for no citations.
    """
    model, prompt, outputs, _ = answered(asked)
    options: dict[str, Any] = {} if curvature is None else {"curvature": curvature}
    options |= {"include_output": True} if through else {}
    options["show_progress"] = asked.model is not None and not asked.quiet and sys.stderr.isatty()
    llm: LLMTokenAttribution = LLMTokenAttribution(METHODS[name].make(model), prompt.tokenizer)
    # each token of the answer would take a curvature, and each sentence of the documents a masked pass
    refine = asked.share(len(prompt.ids))
    per_sentence = automatic_refine(len(prompt.ids)) is not None and not (through or asked.no_refine)
    said: list[str] = []
    with warnings_to(said.append):
        result = llm.attribute(prompt.inp, outputs, refine=refine, per_sentence=per_sentence, **options)
    sources = result.sources(through=through)
    view = view_of(sources, threshold)
    files = {asked.html_file: lambda: page(view), asked.json_file: lambda: as_json(to_record(result))}
    with written(files, asked.debug, asked.quiet) as is_shown:
        if is_shown:
            hints = [_SHORTER] if per_sentence else []
            show(sources, view, METHODS[name].title, terminal(), said, hints)
        elif not asked.quiet:
            for warning in said:
                print_note(warning)


def show(
    sources: Sources,
    view: SourcesView,
    title: str,
    console: Console,
    warnings: Sequence[str] = (),
    hints: Sequence[str] = (),
) -> None:
    """Each sentence of the answer with its documents and what it takes most from in them, and all documents.

    Args:
        sources: what was found.
        view: the same, to be shown.
        title: of the method.
        console: where.
        warnings: what the method warned of.
        hints: what else a person could do.
    """
    console.print(view.title, style="bold")
    for one in view.sentences:
        marks = "".join(f"[{number}]" for number in one.cited)
        console.print(Text(f"\n{visible(one.text)}{f' {marks}' if marks else ''}"))
        table = _table()
        for source in one.documents:
            first = next((part.text for part in one.parts if part.number == source.number), "")
            said = Text.assemble(_name(source.number, source.text), (f"  {visible(first)}" if first else "", "dim"))
            table.add_row(in_percent(source.share), Text("█" * round(_WIDTH * source.share), "green"), said)
        console.print(table if one.documents else Text("nothing in the prompt supports it", "dim"))
        if one.others:
            console.print(one.others, style="dim", markup=False)
    console.print("\nThe whole answer", style="bold")
    table = _table()
    for document in view.documents:
        bar = Text("█" * round(_WIDTH * document.share), "green")
        table.add_row(in_percent(document.share), bar, _name(document.number, document.name))
    console.print(table)
    for note in [*view.notes[1:], *hints]:  # the first is of the page
        console.print(f"\n{note}", markup=False, style="dim")
    for warning in warnings:
        console.print(f"\n{visible(warning)}", markup=False, style="yellow")
    console.print(f"\n{title}, {sources.provenance['seconds']:.2f} s", markup=False)


def _table() -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(justify="right")
    table.add_column(width=_WIDTH)
    table.add_column()
    return table


def _name(number: int, text: str) -> Text:
    return Text(visible(f"[{number}] {text}" if number else text))
