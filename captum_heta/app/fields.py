"""The fields of the page in which a person writes what is explained, in order, and the prompt that they make."""

from collections.abc import Sequence
from itertools import chain

from captum_heta.app.prompts import ROLES, ChatPrompt, DocumentsPrompt, Prompt, TextPrompt

KINDS = ("text", "chat", "documents")  # a tab each
MESSAGES = 8  # at most
DOCUMENTS = 8

# the text, roles and texts of messages, names and texts of documents, the question
COUNT = 1 + 2 * MESSAGES + 2 * DOCUMENTS + 1


def prompt_of(kind: str, fields: Sequence[str]) -> Prompt:
    """The prompt of a tab; messages and documents without a text are left out.

    Args:
        kind: one of `KINDS`.
        fields: `COUNT` texts.

    Raises:
        ValueError: for another kind, or another number of fields.
    """
    if len(fields) != COUNT:
        raise ValueError(f"The page has {COUNT} fields for a prompt, got {len(fields)}.")
    texts = [field or "" for field in fields]
    messages, documents = texts[1 : 1 + 2 * MESSAGES], texts[1 + 2 * MESSAGES : -1]
    if kind == "text":
        return TextPrompt(texts[0])
    if kind == "chat":
        pairs = zip(messages[::2], messages[1::2], strict=True)
        return ChatPrompt(tuple((role, text) for role, text in pairs if text.strip()))
    if kind == "documents":
        named = enumerate(zip(documents[::2], documents[1::2], strict=True), start=1)
        kept = ((name.strip() or default_name(number), text) for number, (name, text) in named if text.strip())
        return DocumentsPrompt(tuple(kept), texts[-1])
    raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}.")


def fields_of(prompt: Prompt) -> list[str | None]:
    """The fields of a prompt, and None for those of the other tabs, which stay as they are.

    Raises:
        ValueError: if it has more messages or documents than the page.
    """
    if isinstance(prompt, TextPrompt):
        return [prompt.text, *[None] * (COUNT - 1)]
    if isinstance(prompt, ChatPrompt):
        _check_room("messages", prompt.messages, MESSAGES)
        roles = [(default_role(number), "") for number in range(len(prompt.messages), MESSAGES)]
        return [None, *chain(*prompt.messages, *roles), *[None] * (2 * DOCUMENTS + 1)]
    _check_room("documents", prompt.documents, DOCUMENTS)
    names = [(default_name(number), "") for number in range(len(prompt.documents) + 1, DOCUMENTS + 1)]
    return [*[None] * (1 + 2 * MESSAGES), *chain(*prompt.documents, *names), prompt.question]


def _check_room(name: str, given: Sequence[object], most: int) -> None:
    if len(given) > most:
        raise ValueError(f"The page has room for {most} {name}, got {len(given)}.")


def default_role(number: int) -> str:
    """Of the message with a number, from 0 on: the system, and then user and assistant in turn."""
    return ROLES[0] if number == 0 else ROLES[1 + (number + 1) % 2]


def default_name(number: int) -> str:
    """Of the document with a number, from 1 on."""
    return f"Document {number}"
