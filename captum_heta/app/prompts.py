"""What a person wants explained: what follows a text, a chat, or documents and a question about them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from captum_heta.inputs import ChatInput, DocumentsInput, LocatedInput, TextInput
from captum_heta.inputs.answered import AnsweredInput
from captum_heta.inputs.documents import ASKING
from captum_heta.inputs.rendering import has_template
from captum_heta.tokenizers import Tokenizer

ROLES = ("system", "user", "assistant")

# Of a model without a chat template: what was said, a line each, and a cue.
PLAIN_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{{ message['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}Answer:{% endif %}"
)


@dataclass(frozen=True)
class TextPrompt:
    """A text that the model goes on with.

    Attributes:
        text: the text.
    """

    kind: ClassVar[str] = "text"
    text: str = ""

    @property
    def texts(self) -> Sequence[str]:
        """All that a person wrote."""
        return (self.text,)

    def located(self, tokenizer: Tokenizer) -> LocatedInput:
        """Its tokens."""
        return LocatedInput(TextInput(self.text, tokenizer), tokenizer)


@dataclass(frozen=True)
class ChatPrompt:
    """Messages that the model answers, rendered by its chat template.

    Attributes:
        messages: role and text of each.
    """

    kind: ClassVar[str] = "chat"
    messages: tuple[tuple[str, str], ...] = ()

    @property
    def texts(self) -> Sequence[str]:
        """All that a person wrote."""
        return [part for message in self.messages for part in message]

    def located(self, tokenizer: Tokenizer) -> LocatedInput:
        """The tokens of what is said.

        Raises:
            ValueError: if the template takes no such messages.
        """
        messages = [{"role": role, "content": content} for role, content in self.messages]
        args = None if has_template(tokenizer) else {"chat_template": PLAIN_TEMPLATE}
        return LocatedInput(ChatInput(messages, tokenizer, template_args=args), tokenizer)


@dataclass(frozen=True)
class DocumentsPrompt:
    """Documents and a question about them, which a chat model reads as what its user says.

    Attributes:
        documents: name and text of each.
        question: what is asked.
    """

    kind: ClassVar[str] = "documents"
    documents: tuple[tuple[str, str], ...] = ()
    question: str = ""

    @property
    def texts(self) -> Sequence[str]:
        """All that a person wrote."""
        return [*(part for document in self.documents for part in document), self.question]

    def located(self, tokenizer: Tokenizer) -> LocatedInput:
        """The tokens of the documents; the question is context.

        Raises:
            ValueError: for documents of one name, no question, and a template that changes what is written.
        """
        names = [name for name, _ in self.documents]
        twice = [name for i, name in enumerate(names) if name in names[:i]]
        if twice:
            raise ValueError(f"Two documents have the name {twice[0]!r}: give each a name of its own.")
        if not self.question.strip():
            raise ValueError("The question is empty: write what the model shall answer from the documents.")
        documents, question = {name: text.strip() for name, text in self.documents}, self.question.strip()
        messages = [{"role": "user", "content": ASKING}] if has_template(tokenizer) else None
        whole = DocumentsInput(documents, question, tokenizer, messages=messages)
        return LocatedInput(AnsweredInput(LocatedInput(whole, tokenizer)), tokenizer)


Prompt = TextPrompt | ChatPrompt | DocumentsPrompt
