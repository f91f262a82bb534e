"""The fields of the page and the prompts that they make."""

import pytest

from captum_heta.app.fields import COUNT, DOCUMENTS, MESSAGES, default_name, default_role, fields_of, prompt_of
from captum_heta.app.prompts import ChatPrompt, DocumentsPrompt, TextPrompt

PROMPTS = [
    TextPrompt("Anna\nlives"),
    ChatPrompt((("system", "Be brief."), ("user", "Where?"), ("assistant", "There."), ("user", "Really?"))),
    ChatPrompt(tuple(("user", str(number)) for number in range(MESSAGES))),
    DocumentsPrompt((("A", "x"), ("B", "y\nz")), "Where?"),
    DocumentsPrompt(tuple((str(number), "x") for number in range(DOCUMENTS)), ""),
]


@pytest.mark.parametrize("prompt", PROMPTS)
def test_a_prompt_comes_back_from_its_fields(prompt):
    fields = fields_of(prompt)
    assert len(fields) == COUNT
    assert prompt_of(prompt.kind, fields) == prompt


def test_fields_of_other_tabs_stay_as_they_are():
    places = [{i for i, field in enumerate(fields_of(prompt)) if field is not None} for prompt in PROMPTS]
    text, chat, _, documents, _ = places
    assert text | chat | documents == set(range(COUNT))
    assert len(text) + len(chat) + len(documents) == COUNT


def test_what_has_no_text_is_left_out():
    fields = [""] * COUNT
    fields[1:5] = ["system", " ", "user", "Where?"]
    assert prompt_of("chat", fields) == ChatPrompt((("user", "Where?"),))
    first = 1 + 2 * MESSAGES
    fields[first : first + 4] = ["A", "", " ", "x"]
    assert prompt_of("documents", fields) == DocumentsPrompt(((default_name(2), "x"),), "")
    assert prompt_of("text", [None] * COUNT) == TextPrompt("")


def test_roles_take_turns():
    assert [default_role(number) for number in range(4)] == ["system", "user", "assistant", "user"]


def test_what_has_no_place_is_an_error():
    with pytest.raises(ValueError, match="kind must be one of text, chat, documents, got 'poem'"):
        prompt_of("poem", [""] * COUNT)
    with pytest.raises(ValueError, match=f"The page has {COUNT} fields for a prompt, got 1"):
        prompt_of("text", [""])
    with pytest.raises(ValueError, match=f"The page has room for {MESSAGES} messages, got {MESSAGES + 1}"):
        fields_of(ChatPrompt((("user", "x"),) * (MESSAGES + 1)))
    with pytest.raises(ValueError, match=f"The page has room for {DOCUMENTS} documents, got {DOCUMENTS + 1}"):
        fields_of(DocumentsPrompt((("x", "x"),) * (DOCUMENTS + 1), ""))
