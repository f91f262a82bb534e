import json
import sys

import pytest
import torch

from captum_heta.benchmark import speed
from captum_heta.testing.architectures import shaped_model

PARTS = [
    "naive exact curvature",
    "naive information",
    "curvature: exact",
    "curvature: low_rank",
    "curvature: gauss_newton",
    "curvature: fisher",
    "information",
    "HETA (auto)",
    "HETA (fisher)",
    "Integrated Gradients (50)",
    "Feature Ablation",
    "Shapley Value Sampling (25)",
    "arithmetic rate of exact",
]


@pytest.fixture(scope="module")
def rows():
    return speed.Bench(shaped_model("tiny"), tokens=8, products=1).rows()


def test_every_part_is_timed_and_compared(rows):
    assert [row.part for row in rows] == PARTS
    assert all(row.seconds > 0 for row in rows)
    seconds = {row.part: row.seconds for row in rows}
    for row in rows:
        if row.against == "naive exact":
            assert row.ratio == pytest.approx(seconds["naive exact curvature"] / row.seconds)
        if row.against == "of Integrated Gradients":
            assert row.ratio == pytest.approx(row.seconds / seconds["Integrated Gradients (50)"])


def test_targets_are_timed():
    rows = speed.Bench(shaped_model("tiny"), tokens=8, products=1).target_rows([1, 4])
    assert [row.part for row in rows] == [
        "1 target, each",
        "1 target, together",
        "4 targets, each",
        "4 targets, together",
    ]


def test_long_prompts_are_timed_in_part(monkeypatch):
    bench = speed.Bench(shaped_model("tiny"), tokens=65, products=1)
    with bench.lm.ready():
        _, whole = bench.exact(bench.trace())
    assert not whole


def test_scaled_times_are_marked():
    row = speed.Row("naive", 2.0, whole=False)
    assert "| 8 | naive | ~2 |" in speed.table({8: [row]})


def test_command_writes_json(monkeypatch, capsys, tmp_path):
    file = tmp_path / "speed.json"
    arguments = ["speed", "--shape", "tiny", "--tokens", "8", "--device", "cpu", "--json", str(file), "--targets", "2"]
    monkeypatch.setattr(sys, "argv", arguments)
    speed.main()
    assert "tiny, 0.1 million parameters" in capsys.readouterr().out
    assert [row["part"] for row in json.loads(file.read_text())["8"]][: len(PARTS)] == PARTS


def test_shapes_leave_the_global_random_state_alone():
    before = torch.get_rng_state()
    shaped_model("tiny")
    assert torch.equal(torch.get_rng_state(), before)
