import io

from rich.console import Console

from captum_heta.comparison.terminal import show_comparison


def shown(comparison, *warnings, **options):
    """The lines in a terminal; with ``styles``, as it gets them."""
    styles = options.pop("styles", False)
    console = Console(
        width=60, record=True, file=io.StringIO(), force_terminal=True, color_system="truecolor", highlight=False
    )
    show_comparison(comparison, console, warnings)
    return [line.rstrip() for line in console.export_text(styles=styles).splitlines()]


def test_methods_failures_and_correlations(made):
    lines = shown(made(["Ben", " lives\n", "in"], {"A": [1.0, 2.0, 3.0], "B": [-3.0, 2.0, 1.0]}, failures=["C"]))
    assert lines == [
        "Why ' Oslo'?",
        "Green: above 0; red: below. Each method has its own scale.",
        "",
        "A  0.25 s, largest 3",
        "Ben lives",
        "in",
        "",
        "B  1.25 s, largest 3",
        "Ben lives",
        "in",
        "",
        "C  9.50 s",
        "ValueError: [bold]C[/bold] ␛[31mfailed",
        "",
        "Rank correlation of the magnitudes (Spearman)",
        "         1      2",
        "1 A   1.00  -1.00",
        "2 B  -1.00   1.00",
    ]


def test_one_method_has_no_correlations(made):
    lines = shown(made(["Ben", " lives"], {"A": [1.0, 2.0]}))
    assert lines[-2:] == ["A  0.25 s, largest 2", "Ben lives"]
    assert not any("Spearman" in line for line in lines)


def test_what_methods_warned_of_is_text_before_them(made):
    lines = shown(made(["Ben", " lives"], {"A": [1.0, 2.0]}), "[bold]sink[/bold]\x1b", "all 0")
    assert lines[:3] == ["Why ' Oslo'?", "[bold]sink[/bold]␛", "all 0"]


def test_a_method_beside_a_contrast_that_it_does_not_explain(made):
    found = made(["Ben", " lives"], {"A": [1.0, 2.0], "B": [2.0, 1.0]})
    found.contrast = found.results["A"].contrast = " Rome"
    lines = shown(found)
    assert lines[0] == "Why ' Oslo' and not ' Rome'?"
    assert "A  0.25 s, largest 2" in lines
    assert "B  1.25 s, largest 2, explains the target alone" in lines


def test_nothing_but_failures(made):
    lines = shown(made(["Ben"], {}, failures=["A", "B"]))
    assert lines == [
        "Why ' Oslo'?",
        "",
        "A  9.50 s",
        "ValueError: [bold]A[/bold] ␛[31mfailed",
        "",
        "B  9.50 s",
        "ValueError: [bold]B[/bold] ␛[31mfailed",
    ]


def test_markup_and_control_characters_are_text(made):
    rows = {"[red]one[/red]": [1.0, 2.0, 3.0], "[/]": [3.0, 1.0, 2.0]}
    features = ["[bold]x[/bold]", " :smile:", " \x1b[1m\x07\r\x9b"]
    lines = shown(made(features, rows, target=" [link]"))
    assert lines[0] == "Why ' [link]'?"
    assert lines.count("[bold]x[/bold] :smile: ␛[1m␇␍\ufffd") == 2
    assert "[red]one[/red]  0.25 s, largest 3" in lines
    assert "[/]  1.25 s, largest 3" in lines
    assert [line.split()[1] for line in lines[-2:]] == ["[red]one[/red]", "[/]"]


def test_each_token_has_the_shade_of_its_score(made):
    lines = shown(made(["up", " down", " nil"], {"A": [2.0, -2.0, 0.0]}), styles=True)
    assert lines[-1].replace("\x1b[0m", "").split("\x1b[") == [
        "",
        "38;2;255;255;255;48;2;0;90;40mup",
        "38;2;255;255;255;48;2;175;20;35m down nil",  # nothing near zero
    ]


def test_names_of_methods_are_text_too(made):
    lines = shown(made(["a", " b"], {"A\x1b[2J\u202e": [1.0, 2.0], "B": [2.0, 1.0]}, failures=["C\x9b"]))
    assert not set("\x1b\u202e\x9b") & set("".join(lines))
    assert "A␛[2J\ufffd  0.25 s, largest 2" in lines
    assert "1 A␛[2J\ufffd   1.00  -1.00" in lines
    assert "C\ufffd  9.50 s" in lines
