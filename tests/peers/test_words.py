import pytest

from captum_heta.peers.words import Words


@pytest.mark.parametrize("whole", [False, True])
def test_a_text_is_cut_into_the_tokens_that_it_is_made_of(whole):
    ids = [0, 0, 7, 70, 7, 0, 12, 99, 1]
    words = Words(ids, 100, whole)
    assert words.padding == 2
    tokenizer = words.tokenizer
    assert tokenizer(words.text(ids))["input_ids"] == ids
    assert tokenizer.encode(words.text(ids)) == ids
    assert tokenizer.decode(ids) == words.text(ids)
    assert tokenizer.decode(ids, skip_special_tokens=True) == words.text(ids)  # padding alone is special
    assert tokenizer.pad_token_id == 2
    assert len(tokenizer) == (100 if whole else 7)
    assert tokenizer.eos_token is None


def test_the_beginning_of_a_text_is_told_from_its_end():
    words = Words([3, 4], 50)
    text, whole = words.text([3, 4]), words.text([3, 4, 3])
    assert whole.startswith(text)
    assert words.tokenizer(whole, return_offsets_mapping=True)["offset_mapping"][:2] == [(0, 2), (3, 5)]


def test_a_token_is_left_for_padding():
    with pytest.raises(ValueError, match="The text has all 3 tokens of the vocabulary, and one must be left"):
        Words([0, 1, 2], 3)
