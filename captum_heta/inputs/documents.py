"""A prompt with retrieved documents as Captum's template input: documents, their sentences or tokens are features."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from captum.attr import TextTemplateInput

from captum_heta.inputs.markers import value_spans
from captum_heta.inputs.offsets import reaching_back, token_spans
from captum_heta.inputs.parts import summed
from captum_heta.inputs.rendering import ChatRenderer, Message, checked_messages
from captum_heta.spans import Span, sentence_spans
from captum_heta.tokenizers import Tokenizer

_TEMPLATE = "{documents}\n\nQuestion: {question}\nAnswer:"
_FEATURES = ("document", "sentence", "token")
_PLACEHOLDER = re.compile(r"\{(documents|question)\}")


class DocumentsInput(TextTemplateInput):
    r"""Named documents and a question, of which the documents, their sentences or their tokens are the features.

    The question and all the template writes, the names of documents included, are context. Captum's perturbation
    methods take the features out of the text: a document leaves its place empty.

    Args:
        documents: text by name, in the order of the prompt.
        question: what is asked; None where the template has no {question}.
        tokenizer: of the model. A chat template is its own; ``by="token"`` cuts as it does.
        by: "document", "sentence" or "token". Tokens that are part of one character are one feature.
        template: the prompt with {documents} once, and {question} if there is one; other braces are text. None is
            "{documents}\n\nQuestion: {question}\nAnswer:". Not with ``messages``.
        messages: in place of a template a chat in Hugging Face's format, with the same placeholders in its contents. It
            is rendered by the tokenizer's chat template and ends with the header of the assistant's answer.
        document_template: how a document is written, with {text} once, and {name} if names are to be read.
        separator: what is between documents.

    Attributes:
        labels: the features' names: that of the document, with the number of the sentence ("Rome 2") or of the token
            counted from 1.
        document_of: the name of the document of each feature.
        documents: text by name.

    Raises:
        ValueError: if there are no documents or only empty ones, ``by`` is none of the three, placeholders are missing,
            too many or without their text, both ``template`` and ``messages`` are given, the tokenizer has no chat
            template, that changes a document, or the tokenizer puts special tokens around text that its chat template
            does not write.

    Example::

        >>> documents = {"Rome": "Anna lives in Rome.", "Oslo": "Ben lives in Oslo."}
        >>> inp = DocumentsInput(documents, "Where does Ben live?", tokenizer)
        >>> shares = LLMTokenAttribution(HETA(model), tokenizer).attribute(inp, target="Oslo").by_group()
        >>> max(shares, key=shares.get)
        'Oslo'
    """

    def __init__(
        self,
        documents: Mapping[str, str],
        question: str | None,
        tokenizer: Tokenizer,
        *,
        by: str = "document",
        template: str | None = None,
        messages: Sequence[Message] | None = None,
        document_template: str = "{text}",
        separator: str = "\n\n",
    ) -> None:
        self.documents = _checked_documents(documents)
        if by not in _FEATURES:
            raise ValueError(f"by must be one of {', '.join(_FEATURES)}, got {by!r}.")
        write = _Writer(self.documents, document_template, separator)
        if messages is None:
            wrap: Callable[[str], str] = _TextPrompt(_TEMPLATE if template is None else template, question)
        elif template is None:
            wrap = _ChatPrompt(messages, question, tokenizer, write(list(self.documents.values())))
        else:
            raise ValueError("The prompt is written by a template or by messages: pass one of them, not both.")
        texts = list(self.documents.values())
        cuts = _cuts(TextTemplateInput(_Prompt(wrap, write), texts), by, tokenizer)
        self.document_of = [name for name, spans in zip(self.documents, cuts, strict=True) for _ in spans]
        self.labels = [
            name if by == "document" else f"{name} {number}"
            for name, spans in zip(self.documents, cuts, strict=True)
            for number, _ in enumerate(spans, start=1)
        ]
        values = [text[start:end] for text, spans in zip(texts, cuts, strict=True) for start, end in spans]
        super().__init__(_Prompt(wrap, write, texts, cuts), values)

    @property
    def groups(self) -> list[str]:
        """The document of each feature."""
        return self.document_of

    def by_document(self, scores: Any) -> dict[str, float]:
        """The sum of the scores (F,) of each document, by its name; 0 for an empty one.

        Raises:
            ValueError: if there is not one score for each feature.
        """
        return summed(scores, self.document_of, self.documents)


def _checked_documents(documents: Mapping[str, str]) -> dict[str, str]:
    if not isinstance(documents, Mapping) or not all(isinstance(text, str) for text in documents.values()):
        raise ValueError(
            f"documents must be text by name, such as {{'Rome': 'Anna lives in Rome.'}}, got {documents!r}."
        )
    if not any(text.strip() for text in documents.values()):
        raise ValueError(f"The documents have no text: there is nothing to attribute the output to, got {documents!r}.")
    return dict(documents)


# What writes a prompt is kept by it, and must be something that can be copied and pickled: no closures here.


class _Writer:
    """From the documents' texts to how they stand in the prompt."""

    def __init__(self, documents: Mapping[str, str], document_template: str, separator: str) -> None:
        if document_template.count("{text}") != 1:
            raise ValueError(
                f"document_template must have {{text}} once, where the document's text goes, got {document_template!r}."
            )
        # names first, and around the text, as either may have braces of its own
        self.frames = [
            [part.replace("{name}", name) for part in document_template.split("{text}")] for name in documents
        ]
        self.separator = separator

    def __call__(self, texts: Sequence[str]) -> str:
        return self.separator.join(text.join(frame) for text, frame in zip(texts, self.frames, strict=True))


@dataclass(frozen=True)
class _Prompt:
    """The prompt of the features: of whole documents, or of what stands at their ``cuts``."""

    wrap: Callable[[str], str]
    write: _Writer
    texts: Sequence[str] = ()
    cuts: Sequence[Sequence[Span]] | None = None

    def __call__(self, *parts: str) -> str:
        return self.wrap(self.write(parts if self.cuts is None else _refilled(self.texts, self.cuts, parts)))


def _check_placeholders(template: str, question: str | None) -> None:
    if template.count("{documents}") != 1:
        raise ValueError(f"The prompt must have {{documents}} once, where the documents go, got {template!r}.")
    if question is None and "{question}" in template:
        raise ValueError("The prompt has a {question}, but question is None: pass one, or write it in the prompt.")
    if question is not None and "{question}" not in template:
        raise ValueError(
            f"The question {question!r} has no place: put {{question}} into the prompt, or pass None for question."
        )


def _filled(template: str, **texts: str | None) -> str:
    """The template with its placeholders filled in one go, as texts may have braces of their own."""
    return _PLACEHOLDER.sub(lambda found: texts[found[1]] or "", template)


class _TextPrompt:
    """The written documents in a template."""

    def __init__(self, template: str, question: str | None) -> None:
        _check_placeholders(template, question)
        self.template, self.question = template, question

    def __call__(self, documents: str) -> str:
        return _filled(self.template, documents=documents, question=self.question)


class _ChatPrompt:
    """From the written documents to the text that the tokenizer encodes to the chat's token ids."""

    def __init__(self, messages: Sequence[Message], question: str | None, tokenizer: Tokenizer, documents: str) -> None:
        self.chat, self.question = checked_messages(messages), question
        _check_placeholders("\n".join(message.get("content") or "" for message in self.chat), question)
        self.render = ChatRenderer(tokenizer, add_generation_prompt=True, template_args=None)
        # Captum encodes text with special tokens: one that the chat template writes at the beginning would be there
        # twice
        whole = self._rendered(documents)
        ids = tokenizer.encode(whole, add_special_tokens=False)
        for written in ["", tokenizer.bos_token or ""]:
            if whole.startswith(written) and tokenizer.encode(whole.removeprefix(written)) == ids:
                self.written = written
                return
        raise ValueError(
            f"{type(tokenizer).__name__} puts special tokens around text that its chat template does not write, so "
            "that the chat cannot be passed as text. Make the chat template begin with them, or the tokenizer not add "
            "them."
        )

    def __call__(self, documents: str) -> str:
        return self._rendered(documents).removeprefix(self.written)

    def _rendered(self, documents: str) -> str:
        return self.render(
            [
                {**message, "content": _filled(message["content"], documents=documents, question=self.question)}
                if message.get("content")
                else message
                for message in self.chat
            ]
        )


def _cuts(whole: TextTemplateInput, by: str, tokenizer: Tokenizer) -> list[list[Span]]:
    """The characters [start, end) of the features in each document."""
    prompt = whole.to_model_input()
    places = [found[0] if found else (0, 0) for found in value_spans(whole)]
    for text, (first, last) in zip(whole.values, places, strict=True):
        if prompt[first:last] != text:
            raise ValueError(
                f"The chat template leaves out the document {text!r} or changes it. Pass it without white space at its "
                "ends, or take a template that inserts contents as they are."
            )
    if by == "document":
        return [[(0, len(text))] for text in whole.values]
    if by == "sentence":
        return [sentence_spans(text) for text in whole.values]
    spans = token_spans(prompt, tokenizer)[1]
    starts = sorted({start for start, _ in reaching_back(prompt, spans)})
    return [
        list(pairwise([0, *(start - first for start in starts if first < start < last), last - first])) if text else []
        for text, (first, last) in zip(whole.values, places, strict=True)
    ]


def _refilled(texts: Sequence[str], cuts: Sequence[Sequence[Span]], parts: Sequence[str]) -> list[str]:
    """The texts with other parts at their cuts."""
    left = iter(parts)
    filled = []
    for text, spans in zip(texts, cuts, strict=True):
        edges = [0, *(edge for span in spans for edge in span), len(text)]
        around = [text[start:end] for start, end in zip(edges[::2], edges[1::2], strict=True)]
        filled.append(around[0] + "".join(next(left) + after for after in around[1:]))
    return filled
