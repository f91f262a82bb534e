import csv
import math

import pytest
from PIL import Image

from captum_heta.benchmark.metrics import METRICS
from captum_heta.benchmark.report import Report


def line(example, method, **metrics):
    return {"data": "d", "example": example, "method": method, "seconds": 0.5, "metrics": metrics}


LINES = [
    line("a", "HETA", dsa=0.5, soft_nc=1.0),
    line("a", "IG", dsa=0.1, soft_nc=0.5),
    line("a", "random", dsa=0.0, soft_nc=0.5),
    line("b", "HETA", dsa=0.7, soft_nc=3.0),
    line("b", "IG", dsa=0.2, soft_nc=None),
    line("b", "random", dsa=0.1, soft_nc=1.5),
    {"data": "d", "example": "c", "method": "HETA", "error": "ValueError: no\nway"},
    line("c", "IG", dsa=0.3, soft_nc=0.1),
    line("c", "random", dsa=0.2, soft_nc=0.1),
    *({"data": "d", "example": "e", "method": method, "skipped": "it is long"} for method in ("HETA", "IG", "random")),
]


@pytest.fixture
def report():
    return Report(LINES, ["dsa", "soft_nc"])


def cell(report, method, metric):
    (found,) = [cell for cell in report.cells if cell.method == method and cell.metric == metric]
    return found


def test_means_are_over_the_examples_with_a_value(report):
    assert cell(report, "HETA", "dsa").value.mean == pytest.approx(0.6)
    assert cell(report, "IG", "dsa").value[::3] == (pytest.approx(0.2), 3)
    assert cell(report, "IG", "soft_nc").value[::3] == (pytest.approx(0.3), 2)


def test_differences_are_on_the_same_examples(report):
    assert cell(report, "IG", "dsa").difference[::3] == (pytest.approx((0.1 - 0.5 + 0.2 - 0.7) / 2), 2)
    assert cell(report, "IG", "soft_nc").difference[::3] == (pytest.approx(-0.5), 1)
    assert cell(report, "HETA", "dsa").difference.mean == 0


def test_ratio_to_random_is_of_the_means_on_the_same_examples(report):
    assert cell(report, "HETA", "soft_nc").to_random == pytest.approx(4.0 / 2.0)
    assert cell(report, "random", "soft_nc").to_random == 1
    assert math.isnan(cell(Report(LINES[:2], ["dsa"]), "IG", "dsa").to_random)


def test_the_page_has_numbers_intervals_and_what_is_left_out(report):
    page = report.markdown()
    assert "## d: 4 examples" in page
    assert "| method | DSA ↑ | Soft-NC ↑ | seconds |" in page
    assert "| HETA | 0.600 [0.500, 0.700] | 2.000 [1.000, 3.000], 2.00x | 0.500 |" in page
    assert "| IG | -0.450 [-0.500, -0.400] | -0.500 |" in page
    assert "* 1 of the examples: HETA failed: ValueError: no way" in page
    assert "* 1 of the examples: left out, as it is long" in page


def test_a_row_that_took_no_attribution_has_no_seconds():
    gate = {name: value for name, value in line("a", "HETA: gate alone", dsa=0.5).items() if name != "seconds"}
    report = Report([line("a", "HETA", dsa=0.5), gate], ["dsa"])
    assert report.seconds("d", "HETA") == 0.5
    assert report.seconds("d", "HETA: gate alone") is None
    assert "| HETA: gate alone | 0.500 |  |" in report.markdown()


def test_only_some_metrics_are_shown_as_multiples_of_random():
    lines = [line("a", method, **dict.fromkeys(METRICS, 0.5)) for method in ("HETA", "random")]
    page = Report(lines, list(METRICS)).markdown()
    (row,) = [row for row in page.splitlines() if row.startswith("| HETA |")]
    ratios = ["1.00x" in cell for cell in row.split("|")[2:-2]]
    assert dict(zip(METRICS, ratios, strict=True)) == {
        name: name in ("soft_nc", "soft_ns", "pi_soft_nc", "pi_soft_ns") for name in METRICS
    }


def test_each_cell_is_computed_once(report, tmp_path, monkeypatch):
    asked = []
    real = Report._cell
    monkeypatch.setattr(Report, "_cell", lambda *arguments: asked.append(1) or real(*arguments))
    report.write(tmp_path)
    report.markdown()
    assert len(asked) == len(report.cells) == 6


def test_a_metric_without_any_value_has_no_column():
    page = Report([line("a", "HETA", dsa=None, f1=1.0)], ["dsa", "f1"]).markdown()
    assert "F1" in page
    assert "DSA" not in page


def test_files_have_the_same_numbers_and_a_plot_a_metric(report, tmp_path):
    written = report.write(tmp_path)
    assert [path.name for path in written] == ["report.md", "report.csv", "dsa.png", "soft_nc.png"]
    with (tmp_path / "report.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6
    assert float(rows[0]["mean"]) == pytest.approx(0.6)
    assert float(rows[2]["difference"]) == pytest.approx(-0.45)
    with Image.open(tmp_path / "dsa.png") as picture:
        assert min(picture.size) > 150


def test_foreign_text_is_text_in_the_page_and_the_table(tmp_path):
    data, method = "<img src=x>|`d`\x1b[2J", "a|b\n<script>&amp; [x](y) *z* ~~w~~ $v$ \\ \u202e"
    lines = [
        line("a|<i>", "HETA", dsa=0.5) | {"data": data},
        line("a|<i>", method, dsa=0.5) | {"data": data},
        {"data": data, "example": "<b>", "method": method, "error": "E: <b>|\n# no\x9b"},
        {"data": data, "example": "c", "method": "HETA", "skipped": "it is <b>|"},
    ]
    report = Report(lines, ["dsa"])
    page = report.markdown()
    assert not set("\x1b\x9b\u202e`<>*[\\$~") & set(
        page.replace("* ", "").replace("0.500 [", "").replace("+0.000 [", "").replace("Means over", "")
    )
    assert "## &lt;img src=x&gt;&#124;&#96;d&#96;␛&#91;2J: 3 examples" in page
    rows = [row for row in page.splitlines() if row.startswith("|")]
    assert {row.count("|") for row in rows} == {4, 3}  # with seconds, and without
    assert "| a&#124;b &lt;script&gt;&amp;amp; &#91;x&#93;(y) &#42;z&#42; &#126;&#126;w" in page
    assert "* 1 of the examples: a&#124;b" in page
    assert "left out, as it is &lt;b&gt;&#124;" in page
    report.write(tmp_path)
    assert page == (tmp_path / "report.md").read_text(encoding="utf-8")
    assert not set("\x1b\x9b\u202e") & set((tmp_path / "report.csv").read_text(encoding="utf-8"))
