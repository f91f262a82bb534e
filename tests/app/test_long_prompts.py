"""Prompts that the page and the command line look at coarse to fine without being asked."""

import pytest

from captum_heta import compare
from captum_heta.app import long_prompts
from captum_heta.app.long_prompts import MOST, SHARE, automatic_refine
from captum_heta.app.prompts import TextPrompt
from captum_heta.app.results import LONG, results

PROMPT = "Anna lives in Rome. Ben lives in Oslo. " * 5 + "Ben lives in"  # 53 tokens


def test_only_long_ones_are():
    assert (MOST, SHARE) == (300, 0.9)
    assert automatic_refine(1) is automatic_refine(MOST) is None
    assert automatic_refine(MOST + 1) == SHARE


@pytest.mark.parametrize(("most", "is_long"), [(53, False), (52, True)])
def test_the_page_does_so_and_says_so(most, is_long, demo, explainer, monkeypatch):
    monkeypatch.setattr(long_prompts, "MOST", most)
    outputs = explainer.typed(TextPrompt(PROMPT), "Oslo")
    found = explainer.explain(TextPrompt(PROMPT), (), outputs, ["targeted", "gxa"])
    assert len(found.input_tokens) == 53
    refine = SHARE if is_long else None
    expected = compare(["targeted"], demo[1], PROMPT, outputs, refine=refine, model=demo[0]).results["Targeted HETA"]
    assert found.results["Targeted HETA"].seq_attr.equal(expected.seq_attr)
    shown = results(found)
    assert ("sentences for 0.9 of the score" in shown) == is_long
    assert (", in full</small>" in shown) == is_long
    assert shown.count(LONG) == is_long
    assert ("refine" in found.provenance) == is_long


def test_methods_that_cannot_run_in_full(explainer, monkeypatch):
    monkeypatch.setattr(long_prompts, "MOST", 1)
    outputs = explainer.typed(TextPrompt(PROMPT), "Oslo")
    found = explainer.explain(TextPrompt(PROMPT), (), outputs, ["gxa", "contextcite"])
    assert not found.failures
    assert LONG not in results(found)


def test_the_limit_is_on_the_page():
    assert LONG == "This page does so with prompts of more than 300 tokens."
