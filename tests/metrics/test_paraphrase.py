import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from captum_heta.inputs.offsets import token_spans
from captum_heta.metrics import aligned_words, paraphrase_consistency, word_scores

ACTIVE = "The cat chased the dog .".split()
PASSIVE = 'the dog was "chased" by the Cat.'.split()


def test_words_are_aligned_by_hand():
    # the first "the" with the first, though it belongs to the dog
    assert aligned_words(ACTIVE, PASSIVE) == [(0, 0), (1, 6), (2, 3), (3, 5), (4, 1)]
    assert aligned_words(["a", "a", "a"], ["a", "b", "A"]) == [(0, 0), (1, 2)]
    assert aligned_words(["...", "a"], ["!", "a,"]) == [(1, 1)]
    assert aligned_words(["Straße", "don't", "cafe\u0301"], ["DON'T", "CAF\u00c9", "STRASSE"]) == [
        (0, 2),
        (1, 0),
        (2, 1),
    ]
    assert aligned_words([], ["a"]) == []


def test_letters_of_other_scripts_are_no_punctuation():
    assert aligned_words(["की", "「猫」"], ["का", "猫"]) == [(1, 1)]


def test_consistency_by_hand():
    scores = torch.tensor([0.0, 4.0, 3.0, 1.0, 2.0, 9.0])
    same = torch.tensor([0.0, 20.0, 7.0, 30.0, 8.0, 10.0, 40.0])
    assert paraphrase_consistency(scores, ACTIVE, same, PASSIVE).item() == pytest.approx(1)
    assert paraphrase_consistency(scores, ACTIVE, -same, PASSIVE).item() == pytest.approx(-1)
    # the last two of the shared words change places: ranks 0 4 3 1 2 and 0 4 3 2 1
    same[[5, 1]] = same[[1, 5]]
    assert paraphrase_consistency(scores, ACTIVE, same, PASSIVE).item() == pytest.approx(1 - 6 * 2 / (5 * 24))


def test_consistency_of_constants_is_undefined():
    assert paraphrase_consistency(torch.ones(6), ACTIVE, torch.rand(7), PASSIVE).isnan()


@given(st.permutations(range(6)), st.lists(st.floats(0, 1, width=16), min_size=6, max_size=6))
def test_the_order_of_different_words_does_not_matter(order, scores):
    words, scores = list("abcdef"), torch.tensor(scores)
    other = torch.arange(6.0)
    shuffled = [words[i] for i in order]
    assert {(words[i], shuffled[j]) for i, j in aligned_words(words, shuffled)} == {(word, word) for word in words}
    found = paraphrase_consistency(scores, words, other[list(order)], shuffled)
    torch.testing.assert_close(found, paraphrase_consistency(scores, words, other, words), equal_nan=True)


def test_errors():
    with pytest.raises(ValueError, match=r"one score a word: got \(5,\) scores and 6 words"):
        paraphrase_consistency(torch.ones(5), ACTIVE, torch.ones(7), PASSIVE)
    with pytest.raises(ValueError, match=r"one score a word: got \(1, 7\) scores and 7 words"):
        paraphrase_consistency(torch.ones(6), ACTIVE, torch.ones(1, 7), PASSIVE)
    with pytest.raises(ValueError, match="share 2 words \\('a', 'b'\\); an order needs at least 3. Compare"):
        paraphrase_consistency(torch.ones(2), ["a", "b"], torch.ones(3), ["b", "a", "c"])
    with pytest.raises(ValueError, match="share 0 words \\(none\\)"):
        paraphrase_consistency(torch.ones(1), ["a"], torch.ones(1), ["b"])


def test_tokens_are_summed_by_hand():
    text = "(Un)kind cats, - sleep."
    spans = [(0, 0), (0, 3), (3, 8), (8, 10), (10, 13), (13, 14), (14, 16), (16, 22), (22, 23)]
    scores = torch.tensor([100.0, 1.0, 2.0, 4.0, 8.0, 100.0, 100.0, 16.0, 100.0])
    words, sums = word_scores(scores, text, spans)
    assert words == ["Un)kind", "cats", "sleep"]
    assert sums.tolist() == [3, 12, 16]
    _, both = word_scores(torch.stack([scores, -scores]), text, spans)
    assert both.tolist() == [[3, 12, 16], [-3, -12, -16]]


def test_tokens_of_the_embedded_model(demo):
    text = "Alice lives in Paris. Where does Alice live?"
    ids, spans = token_spans(text, demo[1])
    words, sums = word_scores(torch.ones(len(ids)), text, spans)
    assert words == "Alice lives in Paris Where does Alice live".split()
    assert (sums >= 1).all()
    assert sums.sum() == len(ids) - sum(text[start:end].strip() in ("", ".", "?") for start, end in spans)


def test_errors_of_word_scores():
    with pytest.raises(ValueError, match="one score a token: got 2 scores and 1 spans"):
        word_scores(torch.ones(2), "a", [(0, 1)])
    with pytest.raises(ValueError, match="There is no word in ' ... '"):
        word_scores(torch.ones(1), " ... ", [(1, 4)])
