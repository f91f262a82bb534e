"""The preset "alignment": which methods find the sentence that holds the answer."""

import json

import pytest
import torch
from captum.attr import TextTokenInput
from typer.testing import CliRunner

from captum_heta import HETA, LLMTokenAttribution
from captum_heta.attr import NormXLogit
from captum_heta.benchmark.case import evidence_masks
from captum_heta.benchmark.rows import PRESETS, row_groups
from captum_heta.benchmark.runner import Benchmark
from captum_heta.benchmark.settings import Settings
from captum_heta.cli import app
from captum_heta.demo import examples
from captum_heta.inputs.offsets import token_spans
from captum_heta.methods import METHODS
from captum_heta.metrics import dsa, top1_hit
from captum_heta.provenance import versions

ROWS, METRICS = PRESETS["alignment"]
# each row of HETA, and of the other methods two
QUICK = [name for name in ROWS if name.partition(":")[0] in ("targeted", "heta", "ig", "normxlogit", "random")]
LABELS = [
    "Targeted HETA",
    "HETA (exact)",
    "HETA (exact): gate alone",
    "HETA (exact): curvature alone",
    "HETA (exact): information alone",
    "HETA (low_rank)",
    "HETA (gauss_newton)",
    "HETA (fisher)",
    "Integrated Gradients",
    "NormXLogit",
    "random",
]
SEED = 3
OPTIONS = {"n_samples": 2}  # fewer probes than by default: scores are compared, and none needs to be near the truth


def lines(demo, folder, rows, count, seed):
    settings = Settings("demo", "float32", METRICS, {"heta": OPTIONS}, 1, seed, None, False, False, versions())
    run = Benchmark(*demo, {"embedded": list(examples(count, seed))}, rows, settings, folder)
    list(run.run())
    return run.results()


@pytest.fixture(scope="module")
def found(demo, tmp_path_factory):
    """The lines of two examples by row."""
    by_row = {}
    for line in lines(demo, tmp_path_factory.mktemp("alignment"), QUICK, count=2, seed=SEED):
        by_row.setdefault(line["method"], []).append(line)
    return by_row


def test_every_method_is_in_the_table(demo):
    labels = [label for group in row_groups(ROWS, demo[0], {}, 0) for label in group.rows]
    assert labels[: labels.index("HETA (fisher)") + 1] == LABELS[:8]
    assert labels[8:] == [
        *(method.title for name, method in METHODS.items() if name not in ("heta", "targeted")),
        "random",
    ]
    assert METRICS == ("dsa", "f1", "top1", "ap")


def test_every_row_has_its_numbers_and_its_time(found):
    assert list(found) == LABELS
    for name, both in found.items():
        for line in both:
            assert -1 <= line["metrics"]["dsa"] <= 1
            assert 0 <= line["metrics"]["f1"] <= 1
            assert line["metrics"]["top1"] in (0, 1)
            assert line.get("seconds") is None if "alone" in name or name == "random" else line["seconds"] > 0


def test_rows_are_what_the_library_gives(demo, found):
    model, tokenizer = demo
    llm = LLMTokenAttribution(HETA(model), tokenizer)
    for item, line in zip(examples(2, seed=SEED), found["HETA (fisher)"], strict=True):
        inp = TextTokenInput(item.prompt, tokenizer, skip_tokens=["<s>"])
        scores = llm.attribute(inp, item.target, curvature="fisher", seed=SEED, **OPTIONS).seq_attr
        evidence, distractors = evidence_masks(item, token_spans(item.prompt, tokenizer)[1][1:])
        assert line["metrics"]["dsa"] == pytest.approx(dsa(scores, evidence, distractors).item(), abs=1e-5)
        assert line["metrics"]["top1"] == top1_hit(scores, evidence).item()
        torch.testing.assert_close(torch.tensor(line["scores"]), scores, rtol=1e-4, atol=1e-6)


def test_terms_alone_are_those_of_the_exact_mode(demo, found):
    model, tokenizer = demo
    llm = LLMTokenAttribution(HETA(model), tokenizer)
    (item, _), line = examples(2, seed=SEED), {name: both[0] for name, both in found.items()}
    inp = TextTokenInput(item.prompt, tokenizer, skip_tokens=["<s>"])
    terms = llm.attribute(inp, item.target, curvature="exact", seed=SEED, **OPTIONS).terms
    for name, term in (
        ("gate", terms.semantic_flow),
        ("curvature", terms.curvature),
        ("information", terms.information),
    ):
        scores = torch.tensor(line[f"HETA (exact): {name} alone"]["scores"])
        torch.testing.assert_close(scores, term[0], rtol=1e-3, atol=1e-6)


def test_a_method_that_fails_is_told_and_stops_no_other(demo, monkeypatch, tmp_path):
    def broken(*_, **__):
        raise ValueError("no scores")

    monkeypatch.setattr(NormXLogit, "attribute_outputs", broken)
    failed, random = lines(demo, tmp_path, ["normxlogit", "random"], count=1, seed=0)
    assert (failed["example"], failed["error"]) == ("demo-0-0", "ValueError: no scores")
    assert set(random["metrics"]) == set(METRICS)


def test_the_command_writes_the_table(tmp_path):
    arguments = ["benchmark", "--preset", "alignment", "--out", str(tmp_path), "--limit", "1"]
    result = CliRunner().invoke(
        app, [*arguments, "--methods", "heta:fisher,heta:fisher/gate,normxlogit,rollout,random"]
    )
    assert result.exit_code == 0, result.output
    page = (tmp_path / "report.md").read_text(encoding="utf-8")
    head = " | ".join(f"{name} \N{UPWARDS ARROW}" for name in ("DSA", "F1", "top-1", "AP"))
    assert f"| method | {head} | seconds |" in page
    for name in ("HETA (fisher)", "NormXLogit", "Attention Rollout"):
        assert any(row.startswith(f"| {name} |") and not row.endswith("|  |") for row in page.splitlines())
    for name in ("HETA (fisher): gate alone", "random"):
        assert any(row.startswith(f"| {name} |") and row.endswith("|  |") for row in page.splitlines())
    assert json.loads((tmp_path / "settings.json").read_text())["metrics"] == list(METRICS)
