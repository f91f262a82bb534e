import json
import sys
from dataclasses import asdict

import pytest
from matplotlib.figure import Figure

from captum_heta.benchmark import growth
from captum_heta.benchmark.growth import Point, lines, plot, read_figures
from captum_heta.benchmark.speed_table import OF_GRADIENTS, Row

FIGURES = {
    256: [
        Row("Integrated Gradients (50)", 8.0, False, 1.0, OF_GRADIENTS),
        Row("Targeted HETA", 4.0, True, 0.5, OF_GRADIENTS),
    ],
    64: [
        Row("trace", 0.1),
        Row("Integrated Gradients (50)", 2.0, True, 1.0, OF_GRADIENTS),
        Row("Targeted HETA", 1.0, True, 0.5, OF_GRADIENTS),
        Row("Gradient Norm", 0.5, True, 0.25, OF_GRADIENTS),
    ],
}


@pytest.fixture
def written(tmp_path):
    path = tmp_path / "figures.json"
    path.write_text(json.dumps({tokens: [asdict(row) for row in rows] for tokens, rows in FIGURES.items()}))
    return path


@pytest.fixture
def drawn(monkeypatch):
    """The axes of a plot that is written."""
    found = []
    save = Figure.savefig

    def saved(figure, *arguments, **named):
        found.append(figure.axes[0])
        return save(figure, *arguments, **named)

    monkeypatch.setattr(Figure, "savefig", saved)
    return found


def test_lines_are_relative_to_integrated_gradients_on_the_shortest_prompt():
    assert lines(FIGURES) == {
        "Integrated Gradients (50)": [Point(64, 1.0, True), Point(256, 4.0, False)],
        "Targeted HETA": [Point(64, 0.5, True), Point(256, 2.0, True)],
        "Gradient Norm": [Point(64, 0.25, True)],
    }
    assert lines(FIGURES, relative=False)["Targeted HETA"] == [Point(64, 1.0, True), Point(256, 4.0, True)]


def test_parts_are_no_methods():
    with pytest.raises(ValueError, match="have no whole methods: run captum_heta.benchmark.speed"):
        lines({64: [Row("trace", 0.1)]})


def test_figures_are_read_back(written):
    assert read_figures(written) == FIGURES


@pytest.mark.parametrize("text", ["no json", "[1]", '{"a": []}', '{"8": [{"what": 1}]}', '{"8": 3}'])
def test_other_files_are_refused(tmp_path, text):
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(ValueError, match="other.json has no figures of python -m captum_heta.benchmark.speed --json"):
        read_figures(path)


def test_plot(tmp_path, drawn):
    path = tmp_path / "growth.png"
    plot(FIGURES, path)
    assert path.read_bytes().startswith(b"\x89PNG")
    (axes,) = drawn
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["64", "256"]
    assert axes.get_ylabel() == "time / Integrated Gradients at 64 tokens"
    legend = [text.get_text() for text in axes.get_legend().get_texts()]
    assert legend == ["Integrated Gradients (50)", "Targeted HETA", "Gradient Norm"]  # as the lines end
    colors = {line.get_color() for line in axes.get_lines() if line.get_label() in legend}
    assert len(colors) == 3
    hollow = [line for line in axes.get_lines() if line.get_markerfacecolor() == "white" and len(line.get_xdata())]
    assert [(list(line.get_xdata()), list(line.get_ydata())) for line in hollow] == [([256], [4.0])]
    assert "hollow" in axes.get_xlabel()


def test_nothing_is_said_of_hollow_marks_where_there_are_none(tmp_path, drawn):
    plot({64: FIGURES[64]}, tmp_path / "growth.svg", relative=False)
    (axes,) = drawn
    assert axes.get_xlabel() == "tokens of the prompt"
    assert axes.get_ylabel() == "seconds"


def test_a_dozen_methods_differ(tmp_path, drawn):
    names = ["Integrated Gradients (50)", *(f"method {i}" for i in range(12))]
    plot({64: [Row(name, 1.0, True, 1.0, OF_GRADIENTS) for name in names]}, tmp_path / "many.png")
    named = [line for line in drawn[0].get_lines() if not line.get_label().startswith("_")]
    assert len({(line.get_color(), line.get_linestyle()) for line in named}) == 13


def test_command(written, tmp_path, monkeypatch, capsys):
    picture = tmp_path / "out.png"
    monkeypatch.setattr(sys, "argv", ["growth", str(written), str(picture), "--seconds"])
    growth.main()
    assert capsys.readouterr().out == f"Wrote {picture}.\n"
    assert picture.exists()


def test_command_says_what_is_wrong(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["growth", str(tmp_path / "none.json"), "out.png"])
    with pytest.raises(SystemExit, match="none.json"):
        growth.main()
