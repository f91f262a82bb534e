"""The figures on README and the pages are those of RESULTS.md, which has what was measured."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "tutorials" / "docs"
RESULTS = (ROOT / "captum_heta" / "benchmark" / "RESULTS.md").read_text(encoding="utf-8")
CHOOSING = (DOCS / "choosing.md").read_text(encoding="utf-8")

EVIDENCE = "Where is the evidence?"
MODELS = {
    "embedded": "The embedded model",
    "second": "The second embedded model",
    "chain": "The chain model",
    "SmolLM2, facts": "SmolLM2-135M, facts",
    "SmolLM2, LongRA": "SmolLM2-135M, LongRA",
}
SETS = [name for name in MODELS if name != "chain"]  # those of the pages that show fewer
FOUR = list(MODELS)[:4]
FAITHFULNESS, PAPER = "Without known evidence", "The paper's metrics"


def rows_of(table):
    """The cells of the lines of a table, without the line under its head; what keeps a pair on a line is a space."""
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.replace("\xa0", " ").splitlines()]
    return [line for line in lines if not re.fullmatch(r"[-: ]+", line[0] or "-")]


def tables_of(text):
    """The tables of a text, each with the headings of the second and the third level that it stands under."""
    part = below = ""
    for block in text.split("\n\n"):
        if block.startswith("## "):
            part, below = block[3:], ""
        elif block.startswith("### "):
            below = block[4:]
        elif block.startswith("|"):
            yield part, below, rows_of(block)


def measured():
    """The first figure that RESULTS.md has for a part, a heading, a method and a metric, without its interval."""
    found = {}
    for part, below, (head, *rows) in tables_of(RESULTS):
        for name, *cells in rows:
            for column, cell in zip(head[1:], cells, strict=True):
                found.setdefault((part, below, name, column), cell.split(" [")[0])
    return found


MEASURED = measured()


def figure(part, below, name, metric):
    """One figure, whichever way its metric is better; "" for what was not measured."""
    arrows = [MEASURED[key] for sign in (" ↑", " ↓", "") if (key := (part, below, name, metric + sign)) in MEASURED]
    return arrows[0] if arrows else ""


def table_on(text, head):
    """The rows of the table of a page that begins so."""
    (found,) = (rows for _, _, rows in tables_of(text) if rows[0][0] == head)
    return found


def pair(part, column, name, metrics):
    """Two figures as they stand in one cell; "" where they were not measured."""
    found = [figure(part, MODELS[column], name, metric) for metric in metrics]
    return " / ".join(found) if any(found) else ""


@pytest.mark.parametrize("page", ["README.md", "evidence.md", "choosing.md"])
def test_evidence(page):
    text = ((ROOT if page == "README.md" else DOCS) / page).read_text(encoding="utf-8")
    head, *rows = table_on(text, "AP / top-1")
    assert head[1:] == (list(MODELS) if page == "choosing.md" else SETS)
    assert len(rows) >= 8
    for name, *cells in rows:
        assert cells == [pair(EVIDENCE, column, name, ("AP", "top-1")) for column in head[1:]]


def test_passage():
    head, *rows = table_on(CHOOSING, "top-1, passage")
    assert head[1:] == list(MODELS)
    assert len(rows) >= 8
    for name, *cells in rows:
        assert cells == [figure(EVIDENCE, below, name, "top-1, passage") for below in MODELS.values()]


def test_faithfulness():
    head, *rows = table_on(CHOOSING, "insertion ↑ / deletion ↓")
    assert head[1:] == FOUR
    assert len(rows) >= 8
    for name, *cells in rows:
        assert cells == [pair(FAITHFULNESS, column, name, ("insertion", "deletion")) for column in FOUR]
        assert all(cells)
    head, *rows = table_on(CHOOSING, "leave-one-out ↑")
    assert head[1:5] == FOUR
    assert len(rows) >= 8
    for name, *cells in rows:
        assert cells[:4] == [figure(FAITHFULNESS, MODELS[column], name, "leave-one-out") for column in FOUR]
        assert cells[4:] == [MEASURED[PAPER, "", name, column] for column in head[5:]]
        assert all(cells)


def test_stability():
    head, *rows = table_on(CHOOSING, "change with noise ↓")
    assert head[1:5] == FOUR
    assert len(rows) >= 7
    for name, *cells in rows:
        assert cells[0] == figure(PAPER, "Stability", name, "change with noise")
        assert cells[1:4] == [figure(PAPER, "Stability", name, f"noise, {column}") for column in FOUR[1:]]
        others = ("paraphrase", "paraphrase, second", "change with decoding")
        assert cells[4:] == [figure(PAPER, "Stability", name, metric) for metric in others]
        assert all(cells)


def test_seconds():
    head, *rows = table_on(CHOOSING, "seconds")
    assert head[1:] == list(MODELS)
    assert len(rows) >= 15
    for name, *cells in rows:
        for column, cell in zip(head[1:], cells, strict=True):
            part = "Every method" if column in ("embedded", "second") else EVIDENCE
            assert cell == figure(part, MODELS[column], name, "seconds")


def test_where_they_lose():
    _, *rows = table_on(CHOOSING, "who is ahead")
    assert len(rows) >= 6
    for ahead, metric, name, better, *ours in rows:
        part, below = EVIDENCE, MODELS[name]
        if metric in ("insertion", "leave-one-out"):
            part = FAITHFULNESS
        elif metric == "sufficiency":
            part, below = PAPER, ""
        assert ours == [figure(part, below, method, metric) for method in ("Targeted HETA", "HETA (fisher)")]
        part = "What of it does the work" if ":" in ahead else part
        assert better == figure(part, below, ahead, metric) != ""
