"""Texts, chats and documents as a person enters them."""

import copy

import pytest

from captum_heta.app.prompts import PLAIN_TEMPLATE, ChatPrompt, DocumentsPrompt, TextPrompt
from captum_heta.inputs import ChatInput

TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }}{{ eos_token }}\n{% endfor %}"
    "{% if add_generation_prompt %}[assistant] {% endif %}"
)


@pytest.fixture(scope="module")
def tokenizer(demo):
    return copy.deepcopy(demo[1])


@pytest.fixture(scope="module")
def talking(demo):
    found = copy.deepcopy(demo[1])
    found.chat_template = TEMPLATE
    return found


def test_a_text_is_its_tokens(tokenizer):
    assert TextPrompt("Anna lives").located(tokenizer).ids == tokenizer.encode("Anna lives")


def test_a_chat_is_written_by_the_models_template(talking):
    prompt = ChatPrompt((("system", "Be brief."), ("user", "Where is Anna?")))
    located = prompt.located(talking)
    assert located.text == "<s>[system] Be brief.</s>\n[user] Where is Anna?</s>\n[assistant] "
    assert set(located.groups) == {"0 system", "1 user"}
    assert located.inp.end_of_turn == [talking.eos_token_id]


def test_without_a_template_messages_are_lines(tokenizer):
    located = ChatPrompt((("system", "Anna lives in Rome."), ("user", "Question: Where is Anna?"))).located(tokenizer)
    assert located.text == "<s>Anna lives in Rome.\nQuestion: Where is Anna?\nAnswer:"
    assert located.ids == tokenizer.encode(located.text.removeprefix("<s>"))
    assert tokenizer.chat_template is None  # and stays without
    assert "Answer:" in PLAIN_TEMPLATE


DOCUMENTS = DocumentsPrompt((("A", " Anna lives in Rome. "), ("B", "Ben {question} lives in Oslo.")), " Where? ")


def test_documents_are_features_and_the_question_is_context(tokenizer):
    located = DOCUMENTS.located(tokenizer)
    assert located.text == "Anna lives in Rome.\n\nBen {question} lives in Oslo.\n\nQuestion: Where?\nAnswer:"
    assert set(located.groups) == {"A", "B"}
    assert "".join(located.inp.pieces).replace(" ", "") == "AnnalivesinRome.Ben{question}livesinOslo."


def test_a_chat_model_reads_documents_as_its_user_says_them(talking):
    located = DOCUMENTS.located(talking)
    assert located.text.removeprefix("<s>").startswith("[user] Anna lives in Rome.\n\nBen")
    assert located.text.endswith("Question: Where?</s>\n[assistant] ")
    assert located.inp.end_of_turn == [talking.eos_token_id]
    messages = [{"role": "user", "content": "Anna lives in Rome.\n\nBen {question} lives in Oslo.\n\nQuestion: Where?"}]
    assert located.ids == ChatInput(messages, talking).ids


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        (DocumentsPrompt((("A", "x"), ("A", "y")), "Where?"), "Two documents have the name 'A': give each a name"),
        (DocumentsPrompt((("A", "x"),), " "), "The question is empty"),
        (DocumentsPrompt((), "Where?"), "The documents have no text"),
        (ChatPrompt(()), "messages must be a list of at least one message"),
    ],
)
def test_what_does_not_fit_is_told(tokenizer, prompt, message):
    with pytest.raises(ValueError, match=message):
        prompt.located(tokenizer)
