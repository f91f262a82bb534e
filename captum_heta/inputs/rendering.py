"""Chats as text: what a tokenizer's chat template makes of messages, and where their contents are in it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jinja2

from captum_heta.inputs.markers import absent_characters, marked_places
from captum_heta.spans import Span
from captum_heta.tokenizers import Tokenizer

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


# What templates call what an assistant thought before its content.
REASONING = ("reasoning_content", "reasoning", "thinking")

# What a template may fail with: errors of its language, and of Python's operators on what it is given.
_TEMPLATE_ERRORS = (jinja2.TemplateError, TypeError, KeyError, AttributeError)


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
        for name in REASONING:
            if not isinstance(message.get(name), str | None):
                raise ValueError(
                    f"The {name} of message {number} ({message['role']}) must be text or None, got "
                    f"{type(message[name]).__name__}."
                )
        if not isinstance(message.get("content"), str | None):
            raise ValueError(
                f"The content of message {number} ({message['role']}) must be text or None, got "
                f"{type(message['content']).__name__}. Join the text of its parts; pictures and sounds are no tokens "
                "of text."
            )
    return [dict(message) for message in messages]


def has_template(tokenizer: Tokenizer) -> bool:
    """Whether a tokenizer has a chat template of its own."""
    return bool(getattr(tokenizer, "chat_template", None))


class ChatRenderer:
    """The tokenizer's chat template as a function of messages, to text with all special tokens.

    Raises:
        ValueError: if the tokenizer has no chat template, or ``template_args`` has arguments that are set here; when
            called, if the template fails.
    """

    def __init__(
        self, tokenizer: Tokenizer, add_generation_prompt: bool, template_args: Mapping[str, Any] | None
    ) -> None:
        args = dict(template_args or {})
        taken = sorted(set(args) & set(_OURS))
        if taken:
            raise ValueError(
                f"template_args are what the chat template itself reads, such as tools or enable_thinking; "
                f"{taken[0]!r} is set by the input. Leave it out."
            )
        if not has_template(tokenizer) and "chat_template" not in args:
            raise ValueError(
                f"{type(tokenizer).__name__} has no chat template. Load the tokenizer of a model that was trained on "
                "chats, set tokenizer.chat_template, or pass the whole prompt as a TextTokenInput."
            )
        self.tokenizer, self.args = tokenizer, args | {"add_generation_prompt": add_generation_prompt}

    def __call__(self, messages: Sequence[Message]) -> str:
        """The text of a chat."""
        try:
            return self._rendered(messages)
        except _TEMPLATE_ERRORS as error:
            number = self._failing(messages)
            if number is None:
                raise ValueError(f"The chat template fails on these messages: {error}") from error
            raise ValueError(
                f"The chat template fails at message {number} ({messages[number]['role']}), which has no content: "
                f"{error}. Give it a content, an empty one where it only calls tools."
            ) from error

    def _rendered(self, messages: Sequence[Message]) -> str:
        chat = [dict(message) for message in messages]
        return self.tokenizer.apply_chat_template(chat, tokenize=False, **self.args)

    def _failing(self, messages: Sequence[Message]) -> int | None:
        """The first message without content at which the template fails, when all others have one."""
        filled = [message if message.get("content") is not None else {**message, "content": ""} for message in messages]
        for number, message in enumerate(messages):
            if message.get("content") is None and not self._takes([*filled[:number], message, *filled[number + 1 :]]):
                return number if self._takes(filled) else None
        return None

    def _takes(self, messages: Sequence[Message]) -> bool:
        try:
            self._rendered(messages)
        except _TEMPLATE_ERRORS:
            return False
        return True


def turn_end(
    tokenizer: Tokenizer, messages: Sequence[Message], template_args: Mapping[str, Any] | None = None
) -> list[int]:
    """The special token that a template writes behind what an assistant says next, where generation ends; or none."""
    render = ChatRenderer(tokenizer, False, template_args)
    try:
        said = absent_characters(render(messages))[0]
        after = render([*messages, {"role": "assistant", "content": said}]).rpartition(said)[2]
    except ValueError:  # a template in which an assistant does not speak next
        return []
    following = tokenizer.encode(after, add_special_tokens=False)[:1]
    return [token for token in following if token in tokenizer.all_special_ids]


def content_spans(
    render: Callable[[Sequence[Message]], str], messages: Sequence[Message], number: int, name: str = "content"
) -> list[Span]:
    """The characters [start, end) of one message's content in the rendered chat, perhaps several times.

    Or of another entry of it by its ``name``, such as its reasoning, which a template may leave out.

    White space that the template takes from the content's ends is not in them. An empty content, or one of white space
    that the template leaves out, has none.

    Raises:
        ValueError: if the template leaves the content out or changes it, so that it cannot be found.
    """
    text, content = render(messages), messages[number].get(name) or ""
    core = content.strip()
    if not content:
        return []
    opening, closing = absent_characters(text + content)
    forms = [f"{opening}{content}{closing}"]
    if core:  # which templates that strip their contents leave
        before, _, after = content.partition(core)
        forms.append(f"{before}{opening}{core}{closing}{after}")

    def write(marked: str) -> str:
        return render([{**m, name: marked} if i == number else m for i, m in enumerate(messages)])

    found = marked_places(write, forms, text, opening, closing)
    if found:
        return found
    if not core or (name != "content" and core not in text):
        return []
    role = messages[number]["role"]
    raise ValueError(
        f"The chat template does not show where the {name} {content!r} of message {number} ({role}) is: it leaves it "
        "out or changes it. Use roles to leave this role out of the features, pass the content as the template would "
        "write it, or take a template that inserts contents as they are."
    )
