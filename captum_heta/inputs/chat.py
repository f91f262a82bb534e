"""A chat as Captum's token input: the tokens of the messages are features, those of the chat template are not."""

from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from typing import Any

from torch import Tensor

from captum_heta.inputs.offsets import encoded, place_of
from captum_heta.inputs.parts import summed
from captum_heta.inputs.rendering import REASONING, ChatRenderer, Message, checked_messages, content_spans, turn_end
from captum_heta.inputs.text import TextInput, mask_of
from captum_heta.spans import sentence_spans
from captum_heta.tokenizers import Tokenizer


class ChatInput(TextInput):
    """A chat, rendered by the tokenizer's chat template, whose features are the tokens of the messages' contents.

    Role headers, end-of-turn marks and other tokens of the template are context. The token ids are those of
    ``tokenizer.apply_chat_template(messages, tokenize=True)``: no special token is added to what the template writes.

    Args:
        messages: the chat in Hugging Face's format, mappings with "role" and "content", which is text. A message
            without content, such as a tool call, has no features. What an assistant thought ("reasoning_content",
            "reasoning" or "thinking") has features of its own where the template writes it.
        tokenizer: a fast tokenizer that has a chat template.
        roles: the roles whose contents are features, such as ("user",); None for all.
        add_generation_prompt: end with the header of the assistant's answer, which a target then follows.
        baselines: the token that Captum's perturbation methods put in a feature's place, an id or its text; as in
            `captum.attr.TextTokenInput`. HETA's baselines are an argument of its ``attribute``.
        template_args: what else the chat template reads, by name, such as ``{"enable_thinking": False}``.

    Attributes:
        text: the rendered chat with its special tokens, as the model reads it.
        spans: the characters [start, end) of each feature in ``text``, cut at the ends of its content. Tokens that are
            part of one character all have that character.
        message_of: the number of the message of each feature.
        role_of: the role of the message of each feature.
        messages: the chat.
        roles: the roles whose contents are features.

    Raises:
        TypeError: if ``roles`` is one text.
        ValueError: if the tokenizer has no chat template or no character offsets, the messages are no chat, a role is
            none of theirs, the template changes a content so that it cannot be found, or no token is left to attribute
            to.

    Example::

        >>> chat = ChatInput([{"role": "user", "content": "Where is Rome?"}], tokenizer)
        >>> chat.pieces
        ['Where', ' is', ' Rome', '?']
        >>> result = LLMTokenAttribution(HETA(model), tokenizer).attribute(chat, target="Italy")
        >>> list(result.by_group())
        ['0 user']
    """

    def __init__(
        self,
        messages: Sequence[Message],
        tokenizer: Tokenizer,
        *,
        roles: Collection[str] | None = None,
        add_generation_prompt: bool = True,
        baselines: int | str = 0,
        template_args: Mapping[str, Any] | None = None,
    ) -> None:
        self.messages = checked_messages(messages)
        self.roles = _checked_roles(roles, self.messages)
        render = ChatRenderer(tokenizer, add_generation_prompt, template_args)
        self._template_args = template_args
        text = render(self.messages)
        found = sorted(
            (place, number, name in REASONING)
            for number, message in enumerate(self.messages)
            if message["role"] in self.roles
            for name in ("content", *REASONING)
            for place in content_spans(render, self.messages, number, name)
        )
        self._places = places = [place for place, _, _ in found]
        ids, spans = encoded(text, tokenizer)
        placed = [place_of(text, span, places) for span in spans]
        self.message_of = [found[place[0]][1] for place in placed if place]
        self._is_thought = [found[place[0]][2] for place in placed if place]
        self.role_of = [self.messages[number]["role"] for number in self.message_of]
        if not self.message_of:
            raise ValueError(
                f"The messages of {', '.join(self.roles)} have no text: there is no token to attribute the output to."
            )
        self._set(ids, [place is not None for place in placed], tokenizer, baselines, None)
        # in the place of those that the token ids alone would have
        self.__dict__ |= {"text": text, "token_spans": spans, "spans": [place[1] for place in placed if place]}

    @cached_property
    def end_of_turn(self) -> list[int]:
        """The special token that the template writes behind what an assistant says, where generation ends; or none."""
        return turn_end(self.tokenizer, self.messages, self._template_args)

    @property
    def groups(self) -> list[str]:
        """The message of each feature, by its number and role, such as "1 user", or "1 assistant's reasoning"."""
        return [
            f"{number} {self.messages[number]['role']}" + ("'s reasoning" if thought else "")
            for number, thought in zip(self.message_of, self._is_thought, strict=True)
        ]

    def by_message(self, scores: Any) -> dict[int, float]:
        """The sum of the scores (F,) of each message, by its number; messages of the other roles are left out.

        Raises:
            ValueError: if there is not one score for each feature.
        """
        parts = [number for number, message in enumerate(self.messages) if message["role"] in self.roles]
        return summed(scores, self.message_of, parts)

    def by_role(self, scores: Any) -> dict[str, float]:
        """The sum of the scores (F,) of each role.

        Raises:
            ValueError: if there is not one score for each feature.
        """
        return summed(scores, self.role_of, self.roles)

    def sentence_mask(self) -> Tensor:
        """A ``feature_mask`` (F,) that makes one feature of each sentence of a message.

        Sentences do not reach over the end of a message. A token outside all sentences stays by itself.
        """
        sentences = [
            [(start + first, start + last)]
            for start, end in self._places
            for first, last in sentence_spans(self.text[start:end])
        ]
        return mask_of(sentences, self.spans)


def _checked_roles(roles: Collection[str] | None, messages: Sequence[Message]) -> tuple[str, ...]:
    """The roles to keep, in the order of the chat."""
    there = tuple(dict.fromkeys(message["role"] for message in messages))
    if roles is None:
        return there
    if isinstance(roles, str):
        raise TypeError(f"roles must be several names, got the text {roles!r}: pass ({roles!r},).")
    unknown = [role for role in roles if role not in there]
    if unknown or not roles:
        raise ValueError(
            f"roles must be some of the chat's, {', '.join(there)}, got {unknown[0]!r}."
            if unknown
            else f"roles must name at least one of the chat's, {', '.join(there)}; None takes all."
        )
    return tuple(role for role in there if role in roles)
