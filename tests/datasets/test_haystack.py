import random
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captum_heta.datasets.filler import filler
from captum_heta.datasets.haystack import check_length, haystack

STATEMENTS = ["Anna plays the harp.", "Ben plays the drums.", "Zoe plays the horn."]
# a token each word, and one for the beginning
WORDS = SimpleNamespace(encode=lambda text: ["<s>", *text.split()])
LETTERS = SimpleNamespace(encode=list)


def write(sentences):
    return f"Text: {' '.join(sentences)} What?"


@given(seed=st.integers(0, 10**6), length=st.integers(15, 600), count=st.integers(0, 3))
def test_any_length_of_words(seed, length, count):
    sentences, places = haystack(STATEMENTS[:count], write, length, WORDS, random.Random(seed))
    assert length - 6 <= len(WORDS.encode(write(sentences))) <= length  # the shortest sentence has four words
    assert [sentences[place] for place in places] == STATEMENTS[:count]
    assert places == sorted(set(places))
    assert not set(STATEMENTS) & {s for i, s in enumerate(sentences) if i not in places}


def test_any_tokenizer_counts():
    for length in (100, 1000):
        sentences, _ = haystack(STATEMENTS, write, length, LETTERS, random.Random(0))
        assert length - 30 <= len(write(sentences)) <= length
    assert len(sentences) > 15


def test_statements_are_at_any_depth():
    depths = []
    for seed in range(200):
        sentences, places = haystack(["Here."], write, 200, WORDS, random.Random(seed))
        depths.append(places[0] / (len(sentences) - 1))
    counts = [sum(a <= depth < a + 0.25 for depth in depths) for a in (0, 0.25, 0.5, 0.75)]
    assert all(30 < count < 70 for count in counts)
    assert (min(depths), max(depths)) == (0, 1)


def test_filler_is_that_of_the_generator():
    sentences, places = haystack(["Here."], write, 300, WORDS, random.Random(3))
    rng = random.Random(3)
    rng.random()  # the depth
    drawn = filler(rng)
    rest = [s for i, s in enumerate(sentences) if i not in places]
    assert [next(drawn) for _ in range(20)] == rest[:20]


def test_too_short_lengths_are_told():
    assert haystack(STATEMENTS, write, 15, WORDS, random.Random(0)) == (STATEMENTS, [0, 1, 2])
    with pytest.raises(ValueError, match="length must be at least 15, the tokens of the prompt without .* got 14"):
        haystack(STATEMENTS, write, 14, WORDS, random.Random(0))


def test_length_is_checked():
    assert check_length(7, WORDS) == 7
    with pytest.raises(ValueError, match="length must be a whole number, got 2.5"):
        check_length(2.5, WORDS)
    with pytest.raises(ValueError, match="length is counted in the tokens of a tokenizer: pass tokenizer"):
        check_length(7, None)
