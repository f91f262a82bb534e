import sys

import pytest
import torch
from captum.attr import TextTokenInput

from captum_heta import HETA, LLMTokenAttribution
from captum_heta.benchmark import alignment
from captum_heta.demo import examples
from captum_heta.metrics import dsa, top1_hit

NAMES = [
    "HETA (exact)",
    "HETA: semantic flow alone",
    "HETA: curvature alone",
    "HETA: information alone",
    "HETA (low_rank)",
    "HETA (gauss_newton)",
    "HETA (fisher)",
    "Feature Ablation",
    "Integrated Gradients (50)",
    "Gradient x Activation",
    "random",
]


@pytest.fixture(scope="module")
def rows():
    return alignment.run(count=2, seed=3)


def test_every_method_has_its_means(rows):
    assert list(rows) == NAMES
    for mass, f1, hit, seconds in rows.values():
        assert -1 <= mass <= 1
        assert 0 <= f1 <= 1
        assert hit in (0, 0.5, 1)
        assert seconds > 0


def test_rows_are_what_the_library_gives(demo, rows):
    model, tokenizer = demo
    llm = LLMTokenAttribution(HETA(model), tokenizer)
    found = []
    for item in examples(2, seed=3):
        inp = TextTokenInput(item.prompt, tokenizer, skip_tokens=["<s>"])
        scores = llm.attribute(inp, item.target, curvature="fisher", seed=3).seq_attr
        evidence, distractors = alignment.gold(item, tokenizer, inp)
        found.append((dsa(scores, evidence, distractors).item(), top1_hit(scores, evidence).item()))
    mass, _, hit, _ = rows["HETA (fisher)"]
    assert (mass, hit) == pytest.approx(tuple(torch.tensor(found).mean(0).tolist()), abs=1e-5)


def test_gold_tokens_are_those_of_the_sentences(demo):
    _, tokenizer = demo
    (item,) = examples(1)
    inp = TextTokenInput(item.prompt, tokenizer, skip_tokens=["<s>"])
    ids = torch.tensor(tokenizer.encode(item.prompt)[1:])
    evidence, distractors = alignment.gold(item, tokenizer, inp)
    ((start, end),) = item.evidence
    assert tokenizer.decode(ids[evidence]).strip() == item.prompt[start:end]
    assert not (evidence & distractors).any()
    rest = tokenizer.decode(ids[~evidence & ~distractors])
    assert rest.strip() == item.prompt[item.prompt.index("\n") :].strip()


def test_table_leaves_out_the_time_of_single_terms():
    lines = alignment.table({"HETA (exact)": [0.5, 0.25, 1.0, 2.0], "HETA: curvature alone": [-0.5, 0.0, 0.0, 2.0]})
    assert lines.split("\n")[2:] == [
        "| HETA (exact) | +0.50 | 0.25 | 1.00 | 2.000 |",
        "| HETA: curvature alone | -0.50 | 0.00 | 0.00 |  |",
    ]


def test_command_prints_the_table(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["alignment", "--examples", "1"])
    alignment.main()
    printed = capsys.readouterr().out
    assert all(f"| {name} |" in printed for name in NAMES)
