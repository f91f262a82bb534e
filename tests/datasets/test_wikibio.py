import re

import pytest

from captum_heta.datasets import read_wikibio
from captum_heta.datasets.wikibio import _sentences


def test_next_sentence_by_hand(made, lines):
    file = lines(made["wikibio"](7))
    (example,) = read_wikibio(file)
    assert example.prompt == "Dr. J. C. Nobody (7) was a baker of U.S. bread."
    assert example.target == " He liked rye!"
    assert example.evidence == example.distractors == example.passage == ()
    assert (example.id, example.licence) == ("wikibio-7", "CC-BY-SA-3.0")
    (longer,) = read_wikibio(file, sentences=2)
    assert longer.prompt == "Dr. J. C. Nobody (7) was a baker of U.S. bread. He liked rye!"
    assert longer.target == " He slept late."


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A (c. 1650) was. B.", ["A (c. 1650) was. ", "B."]),
        ("Sam Sr. (1900) was.\n\nHe is.", ["Sam Sr. (1900) was.\n\n", "He is."]),
        ('He said "J. Doe" often. Why?', ['He said "J. Doe" often. ', "Why?"]),
        ("He won a silver cup. Go on.", ["He won a silver cup. ", "Go on."]),
        ("It is vitamin D. It helps.", ["It is vitamin D. It helps."]),  # better too long than half a sentence
        ("He knew all. Really", ["He knew all. ", "Really"]),
    ],
)
def test_abbreviations_end_no_sentence(text, expected):
    assert _sentences(text) == expected


def test_short_biographies_are_left_out(made, lines):
    short = made["wikibio"](1, wiki_bio_text="One sentence.")
    file = lines(short, made["wikibio"](2))
    assert [example.id for example in read_wikibio(file)] == ["wikibio-2"]
    with pytest.raises(ValueError, match="has no biography of more than 3 sentences: use fewer"):
        read_wikibio(file, sentences=3)
    with pytest.raises(ValueError, match="sentences must be at least 1, got 0"):
        read_wikibio(file, sentences=0)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"wiki_bio_test_idx": "7"}, "'wiki_bio_test_idx' must be a whole number, got '7'"),
        ({"wiki_bio_text": " "}, "'wiki_bio_text' is blank, expected a text"),
    ],
)
def test_wrong_records_are_told(made, lines, changed, told):
    with pytest.raises(ValueError, match=f"records.jsonl, record 1: the field {told}"):
        read_wikibio(lines(made["wikibio"](**changed)))


def test_prompts_in_lines(tmp_path):
    file = tmp_path / "prompts.txt"
    file.write_text("A lobster is \nA moon of Uranus")
    one, other = read_wikibio(file)
    assert (one.prompt, other.prompt) == ("A lobster is", "A moon of Uranus")
    assert (one.target, one.evidence, one.distractors) == (None, (), ())
    assert [one.id, other.id] == ["wikibio-prompt-0", "wikibio-prompt-1"]
    with pytest.raises(ValueError, match="prompts.txt has whole prompts: leave sentences out, got 2"):
        read_wikibio(file, sentences=2)


def test_published_sentences_are_whole(published):
    examples = read_wikibio(published / "wikibio" / "wiki_bio_gpt3_hallucination_119.jsonl")
    for example in examples:
        assert re.search(r"[.!?][\"')\]]*$", example.target)
        assert len(example.prompt) > 30
        assert len(example.target) > 20
