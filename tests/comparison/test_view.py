import re

from captum_heta.comparison.view import method_note


def test_time_and_darkest_shade(made):
    found = made(["a", " b"], {"A": [0.5, -2.0], "zeros": [0.0, 0.0]})
    rows = found.matrix("none").tolist()
    assert [method_note(found, name, row) for name, row in zip("A zeros".split(), rows, strict=True)] == [
        "0.25 s, largest 2",
        "1.25 s, all 0",
    ]


def test_a_feature_without_text_is_told_and_has_no_part_in_the_scale(made):
    found = made(["a", " b", ""], {"A": [0.5, -2.0, 30.0]})
    found.input_tokens[2] = "<s>"
    assert method_note(found, "A", [0.5, -2.0, 30.0]) == "0.25 s, largest 2, not in the text: '<s>' 30"
    page = found.to_html()
    assert "not in the text: &#39;&lt;s&gt;&#39; 30</small>" in page
    assert re.search('<span style="background:#af1423;color:#ffffff;[^"]*" title="score -2"', page)
