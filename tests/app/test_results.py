import re

import pytest
import torch
from captum.attr import LLMAttributionResult

from captum_heta.app.results import HINT, STYLE, message_html, results
from captum_heta.attr import HETATerms, LLMTokenAttributionResult
from captum_heta.attr.result_view import tips_of
from captum_heta.comparison import Comparison, Failure

PROMPT = "<b> & 'x'"
PLACES = [[(0, 3)], [(3, 9)]]


def made(rows=1, **results):
    """A comparison with HETA's terms 1, 2, ... in order, and whatever else is given."""
    count = 2 * rows
    terms = HETATerms(*(torch.arange(count).reshape(rows, 2) + start for start in (1.0, 1.0 + count, 1.0 + 2 * count)))
    heta = LLMTokenAttributionResult(
        seq_attr=torch.tensor([0.5, 0.25]),
        token_attr=torch.full((rows, 2), 0.5),
        output_probs=torch.full((rows,), 0.5),
        input_tokens=["a", "b"],
        output_tokens=["o"] * rows,
        terms=terms,
    )
    found = Comparison(PROMPT, PLACES, ["a", "b"], "<out>", {"HETA": heta, **results})
    found.seconds = dict.fromkeys(found.results, 1.5)
    return found


def plain(scores):
    return LLMAttributionResult(seq_attr=torch.tensor(scores), input_tokens=["a", "b"], output_tokens=["o"])


def test_tooltips_have_the_three_terms():
    page = results(made())
    titles = re.findall(r'title="([^"]*)"', page)
    assert titles == [
        "score 0.5\nsemantic flow 1\ncurvature 3\ninformation 5",
        "score 0.25\nsemantic flow 2\ncurvature 4\ninformation 6",
    ]


def test_terms_of_several_outputs_are_means():
    found = made(rows=2)
    assert tips_of(found.results["HETA"], [0.5, 0.25])[0] == (
        "score 0.5\nmean semantic flow 2\nmean curvature 6\nmean information 10"
    )
    assert "(probability 0.25)" in results(found)  # 0.5 for each output


def test_a_method_without_terms_has_its_score():
    assert tips_of(plain([1.0, -2.0]), [1.0, -2.0]) == ["score 1", "score -2"]


def test_two_methods_stand_side_by_side_with_their_times_and_correlation():
    page = results(made(**{"<i>": plain([1.0, -2.0])}))
    assert page.count("<section>") == 2
    assert "HETA <small>1.50 s, largest 0.5</small>" in page
    assert "&lt;i&gt; <small>1.50 s, largest 2</small>" in page
    assert "(Spearman): -1.00" in page
    assert "Spearman" not in results(made())


def test_all_text_is_escaped():
    page = results(made(**{"<script>": plain([1.0, -2.0])}))
    assert "<script" not in page
    assert "<b>" not in page
    assert "<out>" not in page
    assert "&lt;b&gt;" in page
    assert "&lt;out&gt;" in page
    assert message_html("<b>") == message_html("<b>").replace("<b>", "")
    assert "&lt;b&gt;" in message_html("<b>")


def test_the_probability_is_left_out_where_no_method_tells_it():
    found = Comparison(PROMPT, PLACES, ["a", "b"], "o", {"A": plain([1.0, 2.0])}, seconds={"A": 0.0})
    assert "probability" not in results(found)


@pytest.mark.parametrize("others", [True, False])
def test_failures_are_told_and_no_result_is_no_error(others):
    found = made() if others else Comparison(PROMPT, PLACES, ["a", "b"], "o")
    found.failures["Bad"] = Failure("ValueError", "<no>")
    found.seconds["Bad"] = 2.0
    page = results(found)
    assert 'Bad <small>2.00 s</small></h3><p class="heta-message" role="alert">ValueError: &lt;no&gt;</p>' in page
    assert page.count("<section>") == 1 + others


def test_the_style_loads_nothing():
    assert "url(" not in STYLE
    assert "http" not in STYLE + HINT
