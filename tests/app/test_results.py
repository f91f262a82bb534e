import re

import pytest
import torch
from captum.attr import LLMAttributionResult

from captum_heta.app.prompts import TextPrompt
from captum_heta.app.results import _SAYS, HINT, STYLE, message_html, results, standing_html
from captum_heta.app.standing import Standing
from captum_heta.attr import HETATerms, LLMTokenAttributionResult
from captum_heta.attr.heta_terms import ContributionTerms, TargetedTerms, TargetTerms
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


def of_one(result):
    """A comparison of one method without terms."""
    return Comparison(PROMPT, PLACES, ["a", "b"], "o", {"A": result}, seconds={"A": 0.0})


def test_tooltips_have_the_share_and_the_three_terms():
    page = results(made())
    titles = re.findall(r'title="([^"]*)"', page)
    assert titles[:2] == [
        "share 50.0%\nsemantic flow 1\ncurvature 3\ninformation 5",
        "share 50.0%\nsemantic flow 2\ncurvature 4\ninformation 6",
    ]


def test_each_term_is_a_text_that_opens():
    page = results(made())
    assert re.findall(r"<details><summary><b>([^<]*)</b>", page) == ["semantic flow", "curvature", "information"]
    assert "what attention carries from a token to the output, largest 67%</small>" in page
    titles = re.findall(r'title="([^"]*)"', page)[2:]
    assert titles == ["33.3%", "66.7%", "42.9%", "57.1%", "45.5%", "54.5%"]
    found = made()
    found.results["HETA"].terms.information[0, 1] = torch.nan
    assert re.findall(r'title="([^"]*)"', results(found))[-2:] == ["100.0%", "not looked at"]
    assert "<details>" not in results(of_one(plain([1.0, 2.0])))


def test_the_largest_shares_are_bars_in_percent():
    page = results(made(**{"A": plain([1.0, -3.0])}))
    bars = re.findall(r'<li><span class="heta-bar"><span( class="heta-against")? style="width:([\d.]+)%">', page)
    assert bars == [("", "50.0"), ("", "50.0"), (' class="heta-against"', "75.0"), ("", "25.0")]
    assert re.findall(r"<b>(-?\d+%)</b>", page) == ["50%", "50%", "-75%", "25%"]
    assert "HETA <small>1.50 s, largest 50%</small>" in page


def test_each_term_says_what_it_is():
    kinds = (HETATerms, TargetedTerms, ContributionTerms, TargetTerms)
    assert {name for kind in kinds for name in kind._fields} == set(_SAYS)


def test_bars_say_where_a_token_is():
    prompt = "a barn. The <b> barn?\nThe barn"
    found = Comparison(prompt, [[(1, 6)], [(15, 20)], [(25, 30)], []], list("abcd"), "o", seconds={"A": 0.0})
    scores = torch.tensor([4.0, 3.0, 2.0, 1.0])
    found.results["A"] = LLMAttributionResult(seq_attr=scores, input_tokens=list("abcd"), output_tokens=["o"])
    bars = re.findall(r'<span dir="auto">(.*?)</span></li>', results(found))
    assert bars == [
        "<small>a</small>\N{OPEN BOX}barn",
        "<small>a barn. The &lt;b&gt;</small>\N{OPEN BOX}barn",
        "<small>...The &lt;b&gt; barn? The</small>\N{OPEN BOX}barn",
        "d",
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
    assert "HETA <small>1.50 s, largest 50%</small>" in page
    assert "&lt;i&gt; <small>1.50 s, largest 67%</small>" in page
    assert "(Spearman): -1.00" in page
    assert "Spearman" not in results(made())


def test_all_text_is_escaped():
    page = results(made(**{"<script>": plain([1.0, -2.0])}))
    assert "<script" not in page
    assert "<b> &" not in page
    assert "<out>" not in page
    assert "&lt;b&gt;" in page
    assert "&lt;out&gt;" in page
    assert message_html("<b>") == message_html("<b>").replace("<b>", "")
    assert "&lt;b&gt;" in message_html("<b>")


def test_the_probability_is_left_out_where_no_method_tells_it():
    assert "probability" not in results(of_one(plain([1.0, 2.0])))


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


def test_how_a_run_stands_is_said_with_a_bar():
    one = Standing("a", "<b>")
    assert 'role="status">&lt;b&gt;: 0 s so far</p></div>' in standing_html(one, [])
    assert "<progress" not in standing_html(one, [])
    one.method("HETA", 1, 2)
    one.begin(4)
    one.advance(1)
    page = standing_html(one, [])
    assert "HETA (1 of 2): 25%, about 1 s left, or less" in page
    assert '<progress max="1" value="0.25" aria-label="HETA (1 of 2)"></progress>' in page


def test_who_is_ahead_is_said():
    one, two, three = Standing("a", "HETA"), Standing("b", "x"), Standing("c", "x")
    assert "Another run has the model. HETA: 0 s so far. Yours comes next." in standing_html(two, [one])
    page = standing_html(three, [one, two])
    assert "Another run has the model. HETA: 0 s so far. Yours comes after 1 more." in page


def test_parts_are_shaded_while_what_is_in_them_is_looked_at(explainer):
    inp = explainer.answered(TextPrompt("Anna lives in Rome. Ben lives in Oslo."), ())
    one = Standing("a", "HETA")
    assert "heta-text" not in standing_html(one, [], inp)
    scores = torch.zeros(1, len(inp.spans))
    scores[:, 5:] = 2.0
    one.parts(scores)
    page = standing_html(one, [], inp)
    assert "The parts of the prompt first" in page
    shaded = re.findall(r'<span style="background:#005a28[^"]*"[^>]*><span[^>]*>([^<]*)</span>', page)
    assert "".join(shaded) == " Ben lives in Oslo."
    assert "heta-text" not in standing_html(one, [], explainer.answered(TextPrompt("Anna"), ()))
