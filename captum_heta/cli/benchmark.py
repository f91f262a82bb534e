"""``captum-heta benchmark``: methods on data sets, measured."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from captum_heta.benchmark.metrics import METRICS, check_metrics
from captum_heta.benchmark.processes import process
from captum_heta.benchmark.rows import DEFAULT, GRAMMAR, PRESETS, row_groups
from captum_heta.checks import check_seed
from captum_heta.cli.arguments import (
    BosOption,
    DebugOption,
    DeviceOption,
    DtypeOption,
    ModelOption,
    check_model_options,
    listed,
)
from captum_heta.cli.data import (
    EMBEDDED,
    FEW,
    HELP,
    OF_PRESETS,
    PARAGRAPHS,
    check_answers,
    check_paragraphs,
    made,
    places,
    stored,
)
from captum_heta.cli.files import check_folder
from captum_heta.cli.messages import once, print_note, reported_errors, terminal, warnings_to
from captum_heta.visualization.signs import visible

if TYPE_CHECKING:
    from rich.console import Console

    from captum_heta.benchmark.report import Report
    from captum_heta.benchmark.runner import Benchmark


def benchmark(
    out: Annotated[Path, typer.Option(help="The folder of the results; run again with it to go on.")],
    data: Annotated[str | None, typer.Option(help=HELP)] = None,
    preset: Annotated[
        str | None, typer.Option(help=f"Methods and metrics of a whole table: {', '.join(PRESETS)}.")
    ] = None,
    methods: Annotated[str | None, typer.Option(help=f"What is measured, separated by commas, each {GRAMMAR}.")] = None,
    metrics: Annotated[
        str | None, typer.Option(help=f"How it is measured, separated by commas: {', '.join(METRICS)}.")
    ] = None,
    model: ModelOption = None,
    limit: Annotated[int, typer.Option(help="How many examples of each data set are taken at random.", min=1)] = 100,
    max_tokens: Annotated[
        int | None, typer.Option(help="Longer prompts lose their start; the model's limit if left out.", min=1)
    ] = None,
    bos: BosOption = False,
    forced: Annotated[
        bool,
        typer.Option("--forced", help="Of data sets that are made, take examples whatever the model answers."),
    ] = False,
    paragraphs: Annotated[
        int | None,
        typer.Option(
            help=f"How many paragraphs prompts of {' and '.join(PARAGRAPHS)} have, those with evidence and the first "
            f"of the others; all if left out, but {FEW} with --preset multihop.",
            min=1,
        ),
    ] = None,
    answered: Annotated[
        bool, typer.Option("--answered", help="Leave out examples whose target the model does not predict.")
    ] = False,
    draws: Annotated[
        int, typer.Option(help="How many random masks or texts a metric that draws is a mean of.", min=1)
    ] = 10,
    seed: Annotated[int, typer.Option(help="Of the choice of examples and of all draws.", min=0)] = 0,
    options: Annotated[
        str, typer.Option(help='Arguments of methods as JSON, such as \'{"shapley": {"n_samples": 5}}\'.')
    ] = "{}",
    dtype: DtypeOption = None,
    device: DeviceOption = None,
    device_map: Annotated[
        str | None, typer.Option(help="How accelerate spreads --model over devices, such as auto.")
    ] = None,
    download: Annotated[bool, typer.Option("--download", help="Data sets of the hub may be downloaded.")] = False,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Run what failed before again.")] = False,
    debug: DebugOption = False,
) -> None:
    """Measure methods on examples, a line of JSON for each, and print tables of the means.

    The lines are written as they come; a run that was stopped goes on where it was. Under accelerate launch or torchrun
    (--no-python captum-heta benchmark ...) each process takes its part of the examples.
    """
    with reported_errors(debug):
        rank, processes, local = process()
        if preset is not None and preset not in PRESETS:
            raise ValueError(f"There is no preset {preset!r}; there are {', '.join(PRESETS)}.")
        start = DEFAULT if preset is None else PRESETS[preset]
        check_folder("--out", out)
        check_model_options(model, dtype, device_map)
        if device is not None and device_map is not None:
            raise ValueError("--device and --device-map both say where the model runs: pass one of them.")
        check_seed(seed)
        names = check_metrics(start.metrics if metrics is None else listed("--metrics", metrics))
        rows = start.rows if methods is None else listed("--methods", methods)
        given = _options(options)

        from captum_heta.benchmark.report import Report
        from captum_heta.benchmark.runner import Benchmark
        from captum_heta.benchmark.settings import Settings
        from captum_heta.cli.loading import load
        from captum_heta.demo import load_model
        from captum_heta.provenance import versions

        embedded = load_model()
        # what is wrong with names and options, said on any model
        row_groups(rows, embedded[0], given, seed, embedded[1])
        asked = places(OF_PRESETS.get(preset or "", EMBEDDED) if data is None else data)
        check_answers(asked, model)
        check_paragraphs(asked, paragraphs)
        if preset == "multihop" and data is None and not download:
            raise ValueError(
                f"--preset multihop reads {OF_PRESETS[preset]} of the Hugging Face hub: pass --download, or files of "
                "your own with --data hotpotqa=PATH,musique=PATH."
            )
        few = FEW if preset == "multihop" and paragraphs is None else paragraphs
        found = stored(asked, limit, seed, download, few)
        loaded, tokenizer = load(model, dtype, device_map, local, bos, device)
        # of a preset's own data some may be too much for a model; what a person asks for is there or refused
        found |= made(asked, limit, seed, loaded, tokenizer, forced, print_note if data is None else None)
        settings = Settings(
            model=f"{model or 'captum_heta.demo'}, {loaded.num_parameters():,} parameters",
            dtype=str(loaded.dtype).removeprefix("torch."),
            metrics=names,
            options=given,
            draws=draws,
            seed=seed,
            max_tokens=_most(loaded, max_tokens),
            bos=bos,
            answered=answered,
            versions=versions(),
        )
        run = Benchmark(loaded, tokenizer, found, rows, settings, out, rank, processes)
        with warnings_to(once(print_note)):
            _run(run, retry_failed)
        lines = run.results()
        if lines is None:
            return  # the process that finishes last makes the tables
        report = Report(lines, names)
        # a number that is cut to fit a narrow terminal would be another number
        needed = max(map(len, report.methods)) + 12 * (len(names) + 1)
        try:
            written = report.write(out)
        finally:  # what was measured is shown, whatever becomes of the files
            _show(report, terminal(width=max(needed, terminal().width)))
        print_note(f"Wrote {', '.join(map(str, written))}")


def _run(run: "Benchmark", retry_failed: bool) -> None:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("attributions"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not console.is_terminal or run.rank > 0) as bar:
        task = bar.add_task("", total=run.attributions)
        for done in run.run(retry_failed):
            bar.update(task, completed=done)


def _show(report: "Report", console: "Console") -> None:
    """The means; the intervals are in the files."""
    from rich.table import Table
    from rich.text import Text

    cells = {(cell.data, cell.method, cell.metric): cell.value for cell in report.cells}
    for data in report.data:
        table = Table(title=Text(visible(data)), title_style="bold", title_justify="left", box=None, pad_edge=False)
        table.add_column("mean", no_wrap=True)
        metrics = [name for name in report.metrics if any(cells[data, row, name].n for row in report.methods)]
        for name in metrics:
            table.add_column(f"{METRICS[name].title} {METRICS[name].arrow}", justify="right")
        table.add_column("seconds", justify="right")
        for row in report.methods:
            values = [cells[data, row, name] for name in metrics]
            spent = report.seconds(data, row)
            means = [f"{value.mean:.3f}" if value.n else "" for value in values]
            table.add_row(Text(visible(row)), *means, "" if spent is None else f"{spent:.3f}")
        console.print("")
        console.print(table)
        for left_out in report.left_out(data):
            console.print(f"  {visible(left_out)}", markup=False, style="yellow")


def _most(model: Any, max_tokens: int | None) -> int | None:
    """To how many tokens prompts are cut.

    Raises:
        ValueError: for more than the model can read.
    """
    from captum_heta.models import LanguageModel

    lm = LanguageModel(model)
    if max_tokens is not None and lm.max_positions is not None and max_tokens > lm.max_positions:
        raise ValueError(
            f"--max-tokens {max_tokens} is more than the {lm.max_positions} positions of {type(lm.model).__name__}: "
            "give no more, or leave it out."
        )
    return lm.max_positions if max_tokens is None else max_tokens


def _options(text: str) -> dict[str, dict[str, Any]]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise ValueError(f"--options is no JSON: {error}.") from error
    if not isinstance(found, dict) or not all(isinstance(value, dict) for value in found.values()):
        raise ValueError(f"--options must be an object with an object for each method, got {text}.")
    return found
