import sys

import pytest
import torch
from captum.attr import TextTokenInput

from captum_heta import HETA, LLMTokenAttribution
from captum_heta.benchmark import alignment
from captum_heta.benchmark.gold import gold
from captum_heta.demo import examples
from captum_heta.inputs.offsets import token_spans
from captum_heta.metrics import dsa, top1_hit

NAMES = [
    "HETA (exact)",
    "HETA: semantic flow alone",
    "HETA: curvature alone",
    "HETA: information alone",
    "HETA (low_rank)",
    "HETA (gauss_newton)",
    "HETA (fisher)",
    "Integrated Gradients",
    "NormXLogit",
    "random",
]


@pytest.fixture(scope="module")
def rows():
    return alignment.run(count=2, seed=3, names=["heta", "ig", "normxlogit"])


def test_every_method_has_its_means(rows):
    assert list(rows) == NAMES
    for name, (mass, f1, hit, seconds) in rows.items():
        assert -1 <= mass <= 1
        assert 0 <= f1 <= 1
        assert hit in (0, 0.5, 1)
        assert (seconds == 0) == ("alone" in name or name == "random")


def test_rows_are_what_the_library_gives(demo, rows):
    model, tokenizer = demo
    llm = LLMTokenAttribution(HETA(model), tokenizer)
    found = []
    for item in examples(2, seed=3):
        inp = TextTokenInput(item.prompt, tokenizer, skip_tokens=["<s>"])
        scores = llm.attribute(inp, item.target, curvature="fisher", seed=3).seq_attr
        evidence, distractors = gold(item, token_spans(item.prompt, tokenizer)[1][1:])
        found.append((dsa(scores, evidence, distractors).item(), top1_hit(scores, evidence).item()))
    mass, _, hit, _ = rows["HETA (fisher)"]
    assert (mass, hit) == pytest.approx(tuple(torch.tensor(found).mean(0).tolist()), abs=1e-5)


def test_a_method_that_fails_ends_the_measurement(monkeypatch):
    monkeypatch.setattr(alignment, "named_methods", lambda names, model: {"broken": lambda prompt, target: [1.0]})
    with pytest.raises(RuntimeError, match="demo-0-0: .*expected a score for each"):
        alignment.run(count=1, seed=0, names=["normxlogit"])


def test_gold_tokens_are_those_of_the_sentences(demo):
    _, tokenizer = demo
    (item,) = examples(1)
    ids, spans = token_spans(item.prompt, tokenizer)
    evidence, distractors = gold(item, spans)
    ids = torch.tensor(ids)
    ((start, end),) = item.evidence
    assert tokenizer.decode(ids[evidence]).strip() == item.prompt[start:end]
    assert not (evidence & distractors).any()
    rest = tokenizer.decode(ids[~evidence & ~distractors], skip_special_tokens=True)
    assert rest.strip() == item.prompt[item.prompt.index("\n") :].strip()


def test_table_leaves_out_the_time_of_what_takes_none():
    lines = alignment.table({"HETA (exact)": [0.5, 0.25, 1.0, 2.0], "HETA: curvature alone": [-0.5, 0.0, 0.0, 0.0]})
    assert lines.split("\n")[2:] == [
        "| HETA (exact) | +0.50 | 0.25 | 1.00 | 2.000 |",
        "| HETA: curvature alone | -0.50 | 0.00 | 0.00 |  |",
    ]


def test_command_prints_the_table(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["alignment", "--examples", "1", "--methods", "normxlogit,rollout"])
    alignment.main()
    printed = capsys.readouterr().out
    assert all(f"| {name} |" in printed for name in ("NormXLogit", "Attention Rollout", "random"))
