"""Chats as text: what a tokenizer's chat template makes of messages, and where their contents are in it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from captum_heta.text import Span

Message = Mapping[str, Any]

# What apply_chat_template takes and would change or leave out here.
_OURS = (
    "add_generation_prompt",
    "max_length",
    "padding",
    "return_assistant_tokens_mask",
    "return_dict",
    "return_tensors",
    "sanitize_control_tokens",
    "tokenize",
    "tokenizer_kwargs",
    "truncation",
)


def checked_messages(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Copies of the messages of a chat.

    Raises:
        ValueError: if there are none, or one has no role or a content that is not text.
    """
    if isinstance(messages, str | Mapping) or not messages:
        raise ValueError(
            "messages must be a list of at least one message, each a mapping such as "
            f"{{'role': 'user', 'content': 'Hello'}}, got {messages!r}."
        )
    for number, message in enumerate(messages):
        if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
            raise ValueError(f"Message {number} must be a mapping with a 'role' that is text, got {message!r}.")
        if not isinstance(message.get("content"), str | None):
            raise ValueError(
                f"The content of message {number} ({message['role']}) must be text or None, got "
                f"{type(message['content']).__name__}. Join the text of its parts; pictures and sounds are no tokens "
                "of text."
            )
    return [dict(message) for message in messages]


def chat_renderer(
    tokenizer: Any, add_generation_prompt: bool, template_args: Mapping[str, Any] | None
) -> Callable[[Sequence[Message]], str]:
    """The tokenizer's chat template as a function of messages, to text with all special tokens.

    Raises:
        ValueError: if the tokenizer has no chat template, or ``template_args`` has arguments that are set here.
    """
    args = dict(template_args or {})
    taken = sorted(set(args) & set(_OURS))
    if taken:
        raise ValueError(
            f"template_args are what the chat template itself reads, such as tools or enable_thinking; {taken[0]!r} is "
            "set by the input. Leave it out."
        )
    if not getattr(tokenizer, "chat_template", None) and "chat_template" not in args:
        raise ValueError(
            f"{type(tokenizer).__name__} has no chat template. Load the tokenizer of a model that was trained on "
            "chats, set tokenizer.chat_template, or pass the whole prompt as a TextTokenInput."
        )

    def render(messages: Sequence[Message]) -> str:
        chat = [dict(message) for message in messages]
        return tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=add_generation_prompt, **args)

    return render


def content_spans(render: Callable[[Sequence[Message]], str], messages: Sequence[Message], number: int) -> list[Span]:
    """The characters [start, end) of one message's content in the rendered chat, perhaps several times.

    White space that the template takes from the content's ends is not in them. An empty content, or one of white space
    that the template leaves out, has none.

    Raises:
        ValueError: if the template leaves the content out or changes it, so that it cannot be found.
    """
    text, content = render(messages), messages[number].get("content") or ""
    core = content.strip()
    if not content:
        return []
    opening, closing = _absent_characters(text + content)
    candidates = [f"{opening}{content}{closing}"]
    if core:  # which templates that strip their contents leave
        before, _, after = content.partition(core)
        candidates.append(f"{before}{opening}{core}{closing}{after}")
    for marked in candidates:
        changed = [{**m, "content": marked} if i == number else m for i, m in enumerate(messages)]
        rendered = render(changed)
        found = _between(rendered, opening, closing)
        if found and rendered.replace(opening, "").replace(closing, "") == text:
            return found
    if not core:
        return []
    role = messages[number]["role"]
    raise ValueError(
        f"The chat template does not show where the content {content!r} of message {number} ({role}) is: it leaves it "
        "out or changes it. Use roles to leave this role out of the features, pass the content as the template would "
        "write it, or take a template that inserts contents as they are."
    )


def _absent_characters(text: str) -> list[str]:
    """Two characters of the private-use area that are not in the text."""
    there = set(text)
    return [character for character in map(chr, range(0xE000, 0xF900)) if character not in there][:2]


def _between(rendered: str, opening: str, closing: str) -> list[Span]:
    """The characters between each pair of marks, counted without the marks; none if they are no pairs."""
    spans: list[Span] = []
    start, position = None, 0
    for character in rendered:
        if character == opening:
            if start is not None:
                return []
            start = position
        elif character == closing:
            if start is None:
                return []
            spans.append((start, position))
            start = None
        else:
            position += 1
    return spans if start is None else []
