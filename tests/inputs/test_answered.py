"""A prompt with the beginning of its answer."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from captum_heta import ChatInput, DocumentsInput, LLMTokenAttribution, TargetedHETA, TextInput
from captum_heta.demo import load_model
from captum_heta.inputs import LocatedInput
from captum_heta.inputs.answered import SAID, AnsweredInput

PROMPT = "Anna lives in Rome. Ben lives in Oslo.\nQuestion: Where does Ben live?\nAnswer:"
TOKENIZER = load_model()[1]


def encoded(text):
    return TOKENIZER.encode(text, add_special_tokens=False)


@settings(max_examples=30)
@given(st.text(st.sampled_from("ab \n🎉א中.<"), min_size=1, max_size=12))
def test_the_tokens_of_an_answer_are_its_text(answer):
    ids = encoded(answer)
    inp = AnsweredInput(LocatedInput(TextInput(PROMPT, TOKENIZER), TOKENIZER), ids)
    # the tokenizer puts a space before a first word
    assert inp.text == PROMPT + (answer if answer[0] == " " else f" {answer}")
    assert inp.ids == TOKENIZER.encode(PROMPT) + ids
    spans = inp.spans[-len(ids) :]
    assert spans[0][0] == len(PROMPT)
    assert spans[-1][1] == len(inp.text)
    for (start, end), (later, _) in pairwise(spans):
        assert later in (start, end)  # of the same character, or behind it
        assert start < end
    assert inp.groups is None


def test_each_byte_of_a_character_has_it():
    ids = encoded("a🎉b")
    inp = AnsweredInput(LocatedInput(TextInput("Anna", TOKENIZER), TOKENIZER), ids)
    assert len(ids) > 4
    assert [piece for piece in inp.pieces if piece == "🎉"] == ["🎉"] * (len(ids) - 2)


def test_without_an_answer_it_is_the_prompt(kit):
    tokenizer = kit.embedded("{{ bos_token }}{% for m in messages %}{{ m['content'] }}\n{% endfor %}Answer:")
    messages = [{"role": "system", "content": "Anna lives in Rome. "}, {"role": "user", "content": "Where is Anna?"}]
    chat = ChatInput(messages, tokenizer)
    inp = AnsweredInput(LocatedInput(chat, tokenizer))
    assert (inp.ids, inp.text, inp.spans, inp.groups) == (chat.ids, chat.text, chat.spans, chat.groups)
    assert inp.end_of_turn == chat.end_of_turn
    assert torch.equal(inp.itp_mask, chat.itp_mask)


def test_documents_become_tokens(demo):
    model, tokenizer = demo
    documents = {"Register": "Anna lives in Rome. Ben lives in Oslo.", "Menu": "Ben likes to eat rice."}
    whole = LocatedInput(DocumentsInput(documents, "Where does Ben live?", tokenizer), tokenizer)
    inp = AnsweredInput(whole, encoded(" Oslo"))
    assert inp.text == whole.text + " Oslo"
    assert (
        "".join(piece for piece, name in zip(inp.pieces, inp.groups, strict=True) if name == "Menu")
        == documents["Menu"]
    )
    assert inp.groups[-1] == SAID
    assert set(inp.groups) == {"Register", "Menu", SAID}
    # what each document has is what it has as a feature of several tokens would say, token by token
    by_token = DocumentsInput(documents, "Where does Ben live?", tokenizer, by="token")
    llm = LLMTokenAttribution(TargetedHETA(model), tokenizer)
    torch.testing.assert_close(
        llm.attribute(AnsweredInput(whole), "Oslo").token_attr, llm.attribute(by_token, "Oslo").token_attr
    )


def test_an_answer_is_explained_as_a_text_that_ends_with_it(demo):
    model, tokenizer = demo
    llm = LLMTokenAttribution(TargetedHETA(model), tokenizer)
    inp = AnsweredInput(LocatedInput(TextInput(PROMPT, tokenizer), tokenizer), encoded(" Oslo"))
    found, expected = llm.attribute(inp, "."), llm.attribute(TextInput(PROMPT + " Oslo", tokenizer), ".")
    assert found.pieces == expected.pieces
    torch.testing.assert_close(found.token_attr, expected.token_attr)


def test_pictures_are_refused(demo):
    located = LocatedInput(TextInput("Anna", TOKENIZER), TOKENIZER)
    located.inp.media = {"pixel_values": torch.ones(1)}
    with pytest.raises(ValueError, match="The prompt has pictures or sound"):
        AnsweredInput(located)
