import pytest

from captum_heta.inputs.reasoning import MARKS, reasoned

OUTPUT = " Ben lives in Oslo. Anna lives in Rome. Oslo"


@pytest.fixture(scope="module")
def ids(demo):
    return demo[1].encode(OUTPUT, add_special_tokens=False)


class Spelled:
    """A tokenizer of characters, which has the marks of all models."""

    bos_token = cls_token = eos_token = sep_token = None
    all_special_ids = ()

    def __call__(self, text, return_offsets_mapping=True, **_):
        return {"input_ids": [ord(c) for c in text], "offset_mapping": [(i, i + 1) for i in range(len(text))]}

    def decode(self, ids, **_):
        return "".join(map(chr, ids))


def spelled(text, reasoning=None, answer=None):
    return reasoned([ord(c) for c in text], Spelled(), reasoning, answer)


@pytest.mark.parametrize(("opening", "closing"), MARKS)
def test_finds_what_stands_between_marks(opening, closing):
    found = spelled(f"{opening}So be it.{closing} Yes.")
    assert found.text[slice(*found.reasoning)] == "So be it."
    assert found.text[slice(*found.answer)] == " Yes."


def test_the_opening_mark_may_stand_in_the_prompt():
    found = spelled("So be it.</think> Yes.")
    assert found.text[slice(*found.reasoning)] == "So be it."


def test_parts_by_number_and_by_text(demo, ids):
    by_number = reasoned(ids, demo[1], range(10), -1)
    by_text = reasoned(ids, demo[1], "Ben lives in Oslo. Anna lives in Rome.", "Oslo")
    assert by_number.tokens(by_number.reasoning) == by_text.tokens(by_text.reasoning) == list(range(10))
    assert by_number.tokens(by_number.answer) == by_text.tokens(by_text.answer) == [10]
    assert len(by_number.sentences) == 2


def test_the_answer_is_all_behind_the_reasoning(demo, ids):
    found = reasoned(ids, demo[1], slice(0, 5), None)
    assert found.tokens(found.answer) == list(range(5, 11))


@pytest.mark.parametrize(
    ("reasoning", "answer", "said"),
    [
        (None, None, "no <think> ... </think>"),
        ("Rome lives", None, "reasoning is a text that the output does not have"),
        (slice(0, 5), "Paris", "answer is a text that the output does not have"),
        (slice(40, 50), None, "reasoning must be some of the 11 output tokens"),
        (slice(5, 10), slice(0, 2), "begins before the reasoning"),
        (slice(0, 11), None, "The answer of the output .* has no token"),
    ],
)
def test_other_parts(demo, ids, reasoning, answer, said):
    with pytest.raises(ValueError, match=said):
        reasoned(ids, demo[1], reasoning, answer)
