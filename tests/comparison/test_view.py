import re

import pytest
import torch
from captum.attr import LLMAttributionResult

from captum_heta.comparison.view import MOST_OUTPUTS, method_note, view_of


def test_time_and_darkest_shade(made):
    found = made(["a", " b"], {"A": [0.5, -2.0], "zeros": [0.0, 0.0]})
    rows = found.matrix("none").tolist()
    assert [method_note(found, name, row) for name, row in zip("A zeros".split(), rows, strict=True)] == [
        "0.25 s, largest 2",
        "1.25 s, all 0",
    ]


def test_printed_it_is_a_line(made):
    found = made(["a", " b"], {"A": [0.0, 1.0], "B": [1.0, 0.0]}, ["C"])
    assert repr(found) == "Comparison(target=' Oslo', features=2, methods=['A', 'B'], failed=['C'])"
    found.contrast = " Rome"
    found.failures.clear()
    assert repr(found) == "Comparison(target=' Oslo', contrast=' Rome', features=2, methods=['A', 'B'])"


def test_a_feature_without_text_is_told_and_has_no_part_in_the_scale(made):
    found = made(["a", " b", ""], {"A": [0.5, -2.0, 30.0]})
    found.input_tokens[2] = "<s>"
    assert method_note(found, "A", [0.5, -2.0, 30.0]) == "0.25 s, largest 2, not in the text: '<s>' 30"
    page = found.to_html()
    assert "not in the text: &#39;&lt;s&gt;&#39; 30</small>" in page
    assert re.search('<span style="background:#af1423;color:#ffffff;[^"]*" title="score -2"', page)


@pytest.fixture
def several(made):
    """A comparison of three output tokens, with a method that explains each and one that explains the whole."""
    rows = torch.tensor([[0.5, -2.0], [0.0, 0.0], [3.0, 1.0]])
    found = made(["a", " b"], {"each": rows.sum(0).tolist(), "whole": [1.0, 0.0]}, target=" Oslo")
    outputs = [" Oslo", ".", " Yes"]
    for name, each in (("each", rows), ("whole", None)):
        found.results[name] = LLMAttributionResult(
            input_tokens=["a", " b"], output_tokens=outputs, seq_attr=found.results[name].seq_attr, token_attr=each
        )
    return found


def test_each_output_token_has_a_folded_text(several):
    each, whole = view_of(several).sections
    assert [(row.title, row.summary, row.folded) for row in each.outputs] == [
        ("␣Oslo", "␣b -80%, a 20%", True),
        (".", "nothing supports it", True),
        ("␣Yes", "a 75%, ␣b 25%", True),
    ]
    assert [piece.strength for piece in each.outputs[2].pieces] == [1.0, pytest.approx(1 / 3)]
    assert (len(whole.rows), whole.outputs) == (1, [])
    assert several.to_html().count("<details") == 1 + 3


def test_shares_of_each_output_token(several):
    outputs = view_of(several, shares=True).sections[0].outputs
    assert [piece.tip for piece in outputs[0].pieces] == ["share 20.0%", "share -80.0%"]


def test_of_many_output_tokens_the_first_have_a_text(several):
    count = MOST_OUTPUTS + 3
    several.results["each"] = LLMAttributionResult(
        input_tokens=["a", " b"],
        output_tokens=[str(i) for i in range(count)],
        seq_attr=torch.ones(2),
        token_attr=torch.ones(count, 2),
    )
    view = view_of(several)
    assert len(view.sections[0].outputs) == MOST_OUTPUTS
    assert f"The first {MOST_OUTPUTS} of {count} output tokens have a text of their own." in view.notes
