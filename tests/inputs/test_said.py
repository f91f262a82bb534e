"""The sentences of an output."""

import pytest

from captum_heta.inputs.said import sentences_of, sentences_said

TEXT = " Oslo. Ben works as a pilot."


def test_each_token_is_of_the_sentence_that_its_word_is_in(demo):
    tokenizer = demo[1]
    ids = tokenizer.encode(TEXT, add_special_tokens=False)
    said = sentences_said(tokenizer.decode(ids), ids, tokenizer)
    assert said.texts == ["Oslo.", "Ben works as a pilot."]
    assert ["".join(tokenizer.decode(ids[i]) for i in group).strip() for group in said.tokens.groups] == said.texts
    assert sum(said.tokens.groups, ()) == tuple(range(len(ids)))


def test_a_special_token_is_of_no_sentence():
    assert sentences_of("Yes. No.", [(0, 4), (4, 8), (0, 0)]).tokens.groups == ((0,), (1,))


def test_white_space_alone_is_one():
    said = sentences_of(" \n", [(0, 1), (1, 2)])
    assert (said.spans, said.texts, said.tokens.groups) == ([(0, 2)], [""], ((0, 1),))


def test_a_token_of_two_sentences_leaves_none_without_place():
    said = sentences_of("One. Two. Six.", [(0, 10), (10, 14)])
    assert said.spans == [(0, 10), (10, 14)]
    assert said.tokens.groups == ((0,), (1,))


def test_an_output_that_its_tokens_do_not_give(demo):
    ids = demo[1].encode(TEXT, add_special_tokens=False)
    with pytest.raises(ValueError, match="per_sentence: the output 'Rome.' is not what its tokens decode to"):
        sentences_said("Rome.", ids, demo[1])
