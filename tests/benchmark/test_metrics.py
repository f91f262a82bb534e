import math
from dataclasses import replace

import pytest
import torch

from captum_heta.attr import LLMTokenAttribution, NormXLogit
from captum_heta.benchmark.case import case_of
from captum_heta.benchmark.metrics import METRICS, Explained, Metric
from captum_heta.demo import examples
from captum_heta.metrics import comprehensiveness, dsa, gaussian_sensitivity, soft_nc

(ITEM,) = examples(1)


@pytest.fixture
def found(demo):
    model, tokenizer = demo
    llm = LLMTokenAttribution(NormXLogit(model), tokenizer)

    def explain(inp, output):
        return llm.attribute(inp, output).seq_attr

    case = case_of(ITEM, tokenizer, None, None)
    return Explained(model, tokenizer, case, explain(case.inp, case.output), explain, draws=3, seed=4)


def test_every_metric_has_a_value_in_its_range(found):
    values = {name: metric.value(found) for name, metric in METRICS.items()}
    assert all(value is not None and math.isfinite(value) for value in values.values())
    for name in ("soft_nc", "soft_ns", "mass", "f1", "top1", "sensitivity", "decoding"):
        assert values[name] >= 0
    for name in ("dsa", "paraphrase", "comprehensiveness", "sufficiency"):
        assert -1 <= values[name] <= 1
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
    moved = gaussian_sensitivity(
        lambda ids: NormXLogit(found.model).attribute(ids, target=case.output) * ~case.fixed,
        found.model,
        ids,
        n_draws=3,
        seed=4,
    )
    assert METRICS["sensitivity"].value(found) == pytest.approx(moved.item(), rel=1e-5)


@pytest.mark.parametrize("name", ["dsa", "mass", "f1", "top1"])
def test_without_evidence_there_is_no_alignment(found, name):
    nowhere = replace(found.case, evidence=torch.zeros_like(found.case.evidence))
    assert METRICS[name].value(replace(found, case=nowhere)) is None


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
