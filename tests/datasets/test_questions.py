import pytest

from captum_heta.datasets.questions import question_prompt


@pytest.mark.parametrize("separator", ["", " ", "\n\n"])
def test_spans_are_those_of_the_parts(separator):
    parts = ["One fact.", "Another.", "A third one."]
    prompt, spans = question_prompt(parts, "Which?", separator)
    assert prompt == f"{separator.join(parts)}\nQuestion: Which?\nAnswer:"
    assert [prompt[start:end] for start, end in spans] == parts
