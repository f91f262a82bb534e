"""``captum-heta compare``: a prompt shaded by the scores of several methods."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from captum_heta.app.long_prompts import MOST
from captum_heta.cli.arguments import listed
from captum_heta.cli.files import written
from captum_heta.cli.messages import INTERRUPTED, print_note, reported_errors, terminal, warnings_to
from captum_heta.cli.question import Question, asking
from captum_heta.methods import METHODS, PEERS, check_names, named_methods

if TYPE_CHECKING:
    from captum_heta.comparison import Comparison

# what is said of coarse to fine that nobody asked for
_OF_LONG = f"This is done with prompts of more than {MOST} tokens; --no-refine looks at every token."


@asking
def compare(
    asked: Question,
    methods: Annotated[
        str,
        typer.Option(
            help=f"The methods, separated by commas: {', '.join(METHODS)}; and of packages that are installed with "
            f"extras, {', '.join(PEERS)}."
        ),
    ] = "targeted,heta,ig,ablation",
) -> None:
    """Shade a prompt's tokens by the scores of several methods, one under the other.

    With --contrast, methods that cannot explain a difference explain the target alone, and with --refine, or a long
    prompt, those that cannot look at parts first run in full, which is said beside them.
    Ctrl-C ends it with the methods that are done by then.
    """
    interrupted = False
    with reported_errors(asked.debug):
        names = listed("--methods", methods)
        check_names(names)
        asked = asked.checked()
        said: list[str] = []

        from captum_heta.comparison import ComparisonInterrupt
        from captum_heta.comparison.contrast import check_contrasting
        from captum_heta.comparison.refinement import check_refining
        from captum_heta.comparison.saved import to_json
        from captum_heta.comparison.terminal import show_comparison
        from captum_heta.comparison.view import how_refined

        if asked.contrast is not None:
            check_contrasting(names)
        if asked.refine is not None:
            check_refining(names)
        try:
            with warnings_to(said.append):
                comparison = _compared(asked, names)
        except ComparisonInterrupt as stop:
            comparison, interrupted = stop.comparison, True
        notes = [_OF_LONG] if asked.refine is None and how_refined(comparison) else []
        files = {asked.html_file: comparison.to_html, asked.json_file: lambda: to_json(comparison)}
        if interrupted and not comparison.results:  # before there is anything, no file is changed
            files = {}
        with written(files, asked.debug, asked.quiet) as is_shown:
            if is_shown:
                show_comparison(comparison, terminal(), said, notes)
            elif not asked.quiet:
                for note in [*said, *notes]:
                    print_note(note)
    if interrupted or not comparison.results:
        raise typer.Exit(INTERRUPTED if interrupted else 1)


def _compared(asked: Question, names: Sequence[str]) -> "Comparison":
    from captum_heta.cli.loading import answered
    from captum_heta.comparison import compare
    from captum_heta.comparison.refinement import explains_tokens

    model, prompt, outputs, others = answered(asked)
    methods = named_methods(names, model, prompt.tokenizer)
    return compare(
        methods,
        prompt.tokenizer,
        prompt.inp,
        outputs,
        contrast=others,
        refine=asked.share(len(prompt.labels)) if any(map(explains_tokens, methods.values())) else None,
        show_progress=not asked.quiet and sys.stderr.isatty(),
    )
