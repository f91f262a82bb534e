import json
import sys

import pytest
import torch

from captum_heta.benchmark import speed
from captum_heta.benchmark.speed_prompt import random_subject
from captum_heta.benchmark.speed_rows import ROWS, Bench
from captum_heta.testing.architectures import shaped_model

PARTS = [
    "naive exact curvature",
    "naive information",
    "trace",
    "contribution flow",
    "curvature: exact",
    "curvature: low_rank",
    "curvature: gauss_newton",
    "curvature: fisher",
    "information",
    "Integrated Gradients (50)",
    "Targeted HETA",
    "Targeted HETA, skip=0",
    "Targeted HETA, refine=0.9",
    "HETA (fisher)",
    "HETA (auto)",
    "Gradient Norm",
    "Feature Ablation",
    "Shapley Value Sampling (25)",
    "arithmetic rate of exact",
    "arithmetic rate of masked passes",
]
LONG_PARTS = [part for part in PARTS if part != "curvature: gauss_newton"]
IN_PART = set(LONG_PARTS) - {"trace", "contribution flow", "Gradient Norm"}
NAMES = list(ROWS)


@pytest.fixture(scope="module")
def rows():
    return Bench(random_subject(shaped_model("tiny"), 16), products=1).rows(NAMES)


@pytest.fixture(scope="module")
def long_rows():
    """As if 16 tokens were many, and 8 those that can be timed."""
    return Bench(random_subject(shaped_model("tiny"), 16), products=1, long=16, base=8).rows(NAMES)


def test_every_part_is_timed_and_compared(rows):
    assert [row.part for row in rows] == PARTS
    assert all(row.seconds > 0 for row in rows)
    seconds = {row.part: row.seconds for row in rows}
    for row in rows:
        if row.against == "naive exact":
            assert row.ratio == pytest.approx(seconds["naive exact curvature"] / row.seconds)
        if row.against == "naive information":
            assert row.ratio == pytest.approx(seconds["naive information"] / row.seconds)
        if row.against == "of Integrated Gradients":
            assert row.ratio == pytest.approx(row.seconds / seconds["Integrated Gradients (50)"])
    assert {row.part for row in rows if row.against == "of Integrated Gradients"} == set(PARTS[9:18])


def test_methods_say_what_they_took(rows):
    found = {row.part: (row.products, row.passes, row.skipped) for row in rows}
    assert found["Targeted HETA, skip=0"] == (4, 16, 0)
    assert found["HETA (fisher)"] == (8, 16, None)
    products, passes, skipped = found["Targeted HETA"]
    assert products == 4
    assert passes + skipped == 16
    assert found["curvature: exact"] == (160, None, None)  # 10 probes
    assert found["HETA (auto)"][0] <= 160
    assert found["naive information"] == (None, 17, None)
    assert found["Shapley Value Sampling (25)"] == (None, 400, None)
    assert found["Gradient Norm"] == (None, None, None)


def test_what_is_scaled_is_marked(rows, long_rows):
    naive = {"naive exact curvature", "naive information", "Shapley Value Sampling (25)"}
    assert {row.part for row in rows if not row.whole} == naive
    assert [row.part for row in long_rows] == LONG_PARTS
    assert {row.part for row in long_rows if not row.whole} == IN_PART
    assert not [row for row in long_rows if row.seconds <= 0]


def test_long_prompts_are_put_together_from_their_parts(long_rows):
    seconds = {row.part: row.seconds for row in long_rows}
    curved = seconds["trace"] + seconds["curvature: fisher"]
    assert seconds["HETA (fisher)"] == pytest.approx(curved + seconds["information"])
    targeted = curved + seconds["contribution flow"]
    assert seconds["Targeted HETA, skip=0"] == pytest.approx(targeted + seconds["information"])
    passes = {row.part: row.passes for row in long_rows}
    assert seconds["Targeted HETA"] == pytest.approx(targeted + passes["Targeted HETA"] / 16 * seconds["information"])
    skipped = {row.part: row.skipped for row in long_rows}
    assert passes["Targeted HETA"] + skipped["Targeted HETA"] == 16  # twice those of 8 tokens
    assert passes["Targeted HETA, skip=0"] == passes["HETA (auto)"] == 16
    products = {row.part: row.products for row in long_rows}
    assert products["curvature: exact"] == 160
    assert products["curvature: low_rank"] == products["HETA (auto)"] == 64  # one window


def test_exact_is_timed_in_part_above_64_tokens():
    bench = Bench(random_subject(shaped_model("tiny"), 65), products=1)
    cost = bench.cost("exact")
    assert (cost.whole, cost.products) == (False, 650)
    assert bench.cost("gauss_newton") is None


def test_chosen_rows_alone_are_run():
    bench = Bench(random_subject(shaped_model("tiny"), 8), products=1)
    assert [row.part for row in bench.rows(["trace", "gradient_norm"])] == [
        "trace",
        "Integrated Gradients (50)",
        "Gradient Norm",
    ]
    (row,) = bench.rows(["information"], {"information": 3.5})
    assert (row.part, row.ratio, row.against, row.memory) == ("information", None, "", 3.5)


def test_targets_are_timed():
    rows = Bench(random_subject(shaped_model("tiny"), 8), products=1).target_rows([1, 4])
    assert [(row.part, row.products) for row in rows] == [
        ("1 target, each", 8),
        ("1 target, together", 8),
        ("4 targets, each", 32),
        ("4 targets, together", 8),
    ]
    assert rows[2].ratio == pytest.approx(rows[2].seconds / rows[0].seconds)


@pytest.fixture
def command(monkeypatch, capsys):
    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["speed", "--device", "cpu", *arguments])
        speed.main()
        return capsys.readouterr().out

    return run


def test_command_writes_json(command, tmp_path):
    file = tmp_path / "speed.json"
    out = command(
        "--shape",
        "tiny",
        "--tokens",
        "8",
        "9",
        "--json",
        str(file),
        "--targets",
        "2",
        "--methods",
        "fisher",
        "ablation",
    )
    assert "tiny, 0.1 million parameters, cpu" in out
    found = json.loads(file.read_text())
    parts = ["curvature: fisher", "Integrated Gradients (50)", "Feature Ablation", "2 targets, each"]
    assert [row["part"] for row in found["8"]] == [*parts, "2 targets, together"]
    assert found["9"][2]["passes"] == 9


def test_command_tells_what_is_done(capsys, monkeypatch):
    arguments = "--device cpu --shape tiny --tokens 8 --methods trace"
    monkeypatch.setattr(sys, "argv", ["speed", *arguments.split()])
    speed.main()
    assert capsys.readouterr().err == "8 tokens, trace\n"


def test_command_times_text_of_a_model_that_reads(command):
    out = command("--model", "llama", "--tokens", "64", "--methods", "targeted", "inseq_saliency")
    assert "| 64 | Targeted HETA |" in out
    assert "64 tokens: a text of " in out
    assert "likeliest." in out


def test_command_says_why_peers_are_missing(command, monkeypatch):
    monkeypatch.setattr("captum_heta.peers.package.find_spec", lambda name: None)
    out = command("--shape", "tiny", "--tokens", "8", "--methods", "inseq_saliency", "flashtrace")
    assert "Without Inseq, saliency: " in out
    assert out.count("Without") == 1


def test_command_shows_memory(command, monkeypatch):
    monkeypatch.setattr(speed, "growth", lambda setting, tokens, name: 12.4 if name == "trace" else None)
    out = command("--shape", "tiny", "--tokens", "8", "--memory", "--methods", "trace", "rate_exact")
    assert "| MiB more |" in out
    assert " 12 |" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--text", "facts"], "--text facts needs a model that reads: give --model"),
        (["--model", "/no/such/folder"], "--model /no/such/folder is no folder"),
        (["--model", "llama", "--text", "variables", "--tokens", "64"], "length must be at least"),
        (["--model", "llama", "--tokens", "4096"], "4096"),
    ],
)
def test_command_refuses(command, arguments, message):
    with pytest.raises(SystemExit, match=message):
        command(*arguments)


def test_command_refuses_a_prompt_of_few_tokens(command, capsys):
    with pytest.raises(SystemExit):
        command("--tokens", "7")
    assert "a prompt has at least 8 tokens, got '7'" in capsys.readouterr().err


def test_shapes_leave_the_global_random_state_alone():
    before = torch.get_rng_state()
    Bench(random_subject(shaped_model("tiny"), 8), products=1).rows(["rate_exact"])
    assert torch.equal(torch.get_rng_state(), before)
