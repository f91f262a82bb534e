import math
from dataclasses import replace

import pytest
import torch

from captum_heta.attr import LLMTokenAttribution, NormXLogit
from captum_heta.benchmark.case import case_of
from captum_heta.benchmark.metrics import METRICS, Explained, Metric
from captum_heta.benchmark.report import Report
from captum_heta.benchmark.runner import Benchmark
from captum_heta.benchmark.settings import Settings
from captum_heta.demo import examples
from captum_heta.metrics import (
    average_precision,
    comprehensiveness,
    deletion,
    dsa,
    gaussian_sensitivity,
    insertion,
    loo_agreement,
    recall_at,
    soft_nc,
    top1_hit,
)
from captum_heta.provenance import versions


def with_passage(item):
    """What is before the question is the passage."""
    return replace(item, passage=((0, item.prompt.index("\nQuestion")),))


ITEM, OTHER = map(with_passage, examples(2))
IN_PASSAGE = ("top1_passage", "ap_passage", "recall5_passage")
OF_PARTS = ("ap_parts", "recall_parts")


def explained(demo, item):
    model, tokenizer = demo
    llm = LLMTokenAttribution(NormXLogit(model), tokenizer)

    def explain(inp, output):
        return llm.attribute(inp, output).seq_attr

    case = case_of(item, tokenizer, None, None)
    return Explained(model, tokenizer, case, explain(case.inp, case.output), explain, draws=3, seed=4)


@pytest.fixture
def found(demo):
    return explained(demo, ITEM)


@pytest.mark.parametrize("item", [ITEM, OTHER])
def test_every_metric_has_a_value_in_its_range(demo, item):
    found = explained(demo, item)
    values = {name: metric.value(found) for name, metric in METRICS.items()}
    assert all(value is not None and math.isfinite(value) for value in values.values())
    for name in ("soft_nc", "soft_ns", "mass", "f1", "top1", "sensitivity", "decoding"):
        assert values[name] >= 0
    for name in ("top1", "ap", "recall5", *IN_PASSAGE, *OF_PARTS):
        assert 0 <= values[name] <= 1
    for name in ("dsa", "paraphrase", "comprehensiveness", "sufficiency", "loo"):
        assert -1 <= values[name] <= 1
    for name in ("insertion", "deletion"):  # of an answer that the prompt makes much likelier
        assert -1 <= values[name] <= 2
    assert values["sensitivity"] > 0
    assert values["paraphrase"] < 1
    assert values["decoding"] > 0


def test_values_are_those_of_the_metrics(found):
    case, ids = found.case, found.case.ids
    soft = soft_nc(found.model, ids, found.attributions, fixed=case.fixed, n_draws=3, seed=4).item()
    assert METRICS["soft_nc"].value(found) == soft
    hard = comprehensiveness(found.model, ids, found.attributions, fixed=case.fixed, target=case.output).item()
    assert METRICS["comprehensiveness"].value(found) == hard
    assert METRICS["dsa"].value(found) == dsa(found.scores, case.evidence, case.distractors).item()
    given = {"fixed": case.fixed, "target": case.output}
    for name, metric in (("insertion", insertion), ("deletion", deletion)):
        assert METRICS[name].value(found) == metric(found.model, ids, found.attributions, steps=20, **given).item()
    assert METRICS["loo"].value(found) == loo_agreement(found.model, ids, found.attributions, **given).item()
    for name, metric in (("top1", top1_hit), ("ap", average_precision), ("recall5", recall_at)):
        assert METRICS[name].value(found) == metric(found.scores, case.evidence).item()
        inside = metric(found.scores[case.passage], case.evidence[case.passage]).item()
        assert METRICS[f"{name}_passage"].value(found) == pytest.approx(inside)
    moved = gaussian_sensitivity(
        lambda ids: NormXLogit(found.model).attribute(ids, target=case.output) * ~case.fixed,
        found.model,
        ids,
        n_draws=3,
        seed=4,
    )
    assert METRICS["sensitivity"].value(found) == pytest.approx(moved.item(), rel=1e-5)


def test_parts_are_ranked_by_their_sums(found):
    """Against a loop over the characters of each token."""

    def ranked(example):
        spans = [*example.evidence, *example.distractors]
        sums = torch.zeros(len(spans), dtype=torch.float64)
        for score, (start, end) in zip(found.scores.double(), found.case.spans, strict=True):
            shared = [max(0, min(end, last) - max(start, first)) for first, last in spans]
            if max(shared):
                sums[shared.index(max(shared))] += abs(score)
        order = sums.argsort(descending=True).tolist()
        hits = [place < len(example.evidence) for place in order]
        precision = [sum(hits[: i + 1]) / (i + 1) for i, hit in enumerate(hits) if hit]
        return sum(precision) / len(precision), sum(hits[: len(example.evidence)]) / len(example.evidence)

    one = found.case.example
    two = replace(one, evidence=(*one.evidence, one.distractors[0]), distractors=one.distractors[1:])
    for example in (one, two):
        asked = replace(found, case=replace(found.case, example=example))
        values = [METRICS[name].value(asked) for name in OF_PARTS]
        assert values == pytest.approx(ranked(example))
    assert METRICS["ap_parts"].value(replace(found, scores=-found.scores)) == pytest.approx(ranked(one)[0])


@pytest.mark.parametrize("name", OF_PARTS)
def test_without_distractors_there_are_no_parts_to_rank(demo, name):
    assert METRICS[name].value(explained(demo, replace(ITEM, distractors=()))) is None


@pytest.mark.parametrize("name", ["dsa", "mass", "f1", "top1", "ap", "recall5", *IN_PASSAGE, *OF_PARTS])
def test_without_evidence_there_is_no_alignment(found, name):
    nowhere = replace(found.case, evidence=torch.zeros_like(found.case.evidence))
    assert METRICS[name].value(replace(found, case=nowhere)) is None


@pytest.mark.parametrize("name", IN_PASSAGE)
def test_without_a_passage_there_is_no_rank_in_it(demo, name):
    assert METRICS[name].value(explained(demo, replace(ITEM, passage=()))) is None


def test_without_a_paraphrase_there_is_no_consistency(found):
    alone = replace(found.case, example=replace(ITEM, paraphrase=None))
    assert METRICS["paraphrase"].value(replace(found, case=alone)) is None


def test_an_example_says_the_same_in_other_words(demo):
    model, tokenizer = demo
    for item in examples(20, seed=1):
        assert item.paraphrase != item.prompt
        assert item.paraphrase.count(".") == item.prompt.count(".")
        ids = torch.tensor([tokenizer.encode(item.paraphrase)])
        with torch.no_grad():
            assert tokenizer.decode(model(ids).logits[0, -1].argmax()) == item.target


def test_what_is_not_finite_is_no_value(found):
    assert Metric("", "higher", lambda _: math.nan).value(found) is None
    assert Metric("", "higher", lambda _: math.inf).value(found) is None


def test_rows_of_a_benchmark_have_them(demo, tmp_path):
    names = ("insertion", "deletion", "loo", "top1", "ap", "recall5", *IN_PASSAGE)
    settings = Settings("demo", "float32", names, {}, 1, 0, None, False, False, versions())
    run = Benchmark(
        *demo, {"embedded": [ITEM, replace(OTHER, passage=())]}, ["normxlogit", "random"], settings, tmp_path
    )
    list(run.run())
    lines = run.results()
    assert [(line["example"], line["method"]) for line in lines] == [
        (item.id, method) for item in (ITEM, OTHER) for method in ("NormXLogit", "random")
    ]
    for line in lines:
        assert "error" not in line
        without = {name for name, value in line["metrics"].items() if value is None}
        assert without == (set(IN_PASSAGE) if line["example"] == OTHER.id else set())
    page = Report(lines, list(names)).markdown()
    up, down = "\N{UPWARDS ARROW}", "\N{DOWNWARDS ARROW}"
    titles = [f"insertion {up}", f"deletion {down}", f"leave-one-out {up}", f"top-1 {up}", f"AP {up}", f"recall@5 {up}"]
    inside = [f"{name} in passage {up}" for name in ("top-1", "AP", "recall@5")]
    assert f"| method | {' | '.join([*titles, *inside])} | seconds |" in page
