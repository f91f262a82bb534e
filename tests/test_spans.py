import pytest

from captum_heta.spans import sentence_spans


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("Mr. Lee met Dr. No. He left.", ["Mr. Lee met Dr. No. ", "He left."]),
        ("See No. 5 there. Go.", ["See No. 5 there. ", "Go."]),
        ("Did he? No. He did not.", ["Did he? ", "No. ", "He did not."]),
        ("J. C. Penney of the U.S. Army.", ["J. C. Penney of the U.S. Army."]),
        ("Fruit, e.g. apples. Nuts.", ["Fruit, e.g. apples. ", "Nuts."]),
        ("He is a Dr.\nShe too.", ["He is a Dr.\n", "She too."]),
        ("It ends with Mr. ", ["It ends with Mr. "]),
    ],
)
def test_abbreviations_end_no_sentence(text, sentences):
    assert [text[start:end] for start, end in sentence_spans(text)] == sentences


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("Do so:\n1. Sit. Stay.\n 12. Go.", ["Do so:\n", "1. Sit. ", "Stay.\n ", "12. Go."]),
        ("3. They are red.", ["3. They are red."]),
        ("There are 3. They are red.", ["There are 3. ", "They are red."]),
        ("1985. A year.", ["1985. ", "A year."]),
        ("1.\nOne.", ["1.\n", "One."]),
        ("1. ", ["1. "]),
    ],
)
def test_the_number_of_a_list_ends_no_sentence(text, sentences):
    assert [text[start:end] for start, end in sentence_spans(text)] == sentences
