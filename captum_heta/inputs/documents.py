"""A prompt with retrieved documents as Captum's template input: documents, their sentences or tokens are features."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice, pairwise
from typing import Any, Protocol

from captum.attr import TextTemplateInput

from captum_heta.inputs.markers import value_spans
from captum_heta.inputs.offsets import reaching_back, token_spans
from captum_heta.inputs.parts import summed
from captum_heta.inputs.rendering import ChatRenderer, Message, checked_messages, turn_end
from captum_heta.spans import Span, sentence_spans
from captum_heta.tokenizers import Tokenizer

# What asks about documents, and for a model without a chat template what lets it answer.
ASKING = "{documents}\n\nQuestion: {question}"
_TEMPLATE = f"{ASKING}\nAnswer:"
_FEATURES = ("document", "sentence", "token")

# The group of the features that are in no document.
REST = "rest of the prompt"


class DocumentsInput(TextTemplateInput):
    r"""Named documents and a question, of which the documents, their sentences or their tokens are the features.

    The question and all the template writes, the names of documents included, are context, unless ``rest`` makes
    features of the question and of what is asked around the documents. Captum's perturbation methods take the features
    out of the text: a document leaves its place empty.

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
        rest: whether what the template or the messages say before and behind the documents, the question above all, is
            features too, behind those of the documents: a feature a stretch for "document", else its sentences or
            tokens. A chat template's own text and the beginning-of-text token are none.

    Attributes:
        labels: the features' names: that of the document, with the number of the sentence ("Rome 2") or of the token
            counted from 1; "rest of the prompt 1" for one that is in none.
        document_of: the name of the document of each feature; "rest of the prompt" for one that is in none.
        documents: text by name.

    Raises:
        ValueError: if there are no documents or only empty ones, ``by`` is none of the three, placeholders are missing,
            too many or without their text, the question is empty, both ``template`` and ``messages`` are given, the
            tokenizer has no chat template, that changes a document or another feature, the tokenizer puts special
            tokens around text that its chat template does not write, or with ``rest`` a document has the name of the
            rest.

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
        rest: bool = False,
    ) -> None:
        self.documents = _checked_documents(documents)
        if by not in _FEATURES:
            raise ValueError(f"by must be one of {', '.join(_FEATURES)}, got {by!r}.")
        if rest and REST in self.documents:
            raise ValueError(f"A document is called {REST!r}, as what is in none: give it another name.")
        write = _Writer(self.documents, document_template, separator)
        self._chat: _ChatPrompt | None = None
        if messages is None:
            wrap: _Wrapping = _TextPrompt(_TEMPLATE if template is None else template, question)
        elif template is None:
            wrap = self._chat = _ChatPrompt(messages, question, tokenizer, write(list(self.documents.values())))
        else:
            raise ValueError("The prompt is written by a template or by messages: pass one of them, not both.")
        texts, owners = list(self.documents.values()), list(self.documents)
        whole = [[(0, len(text))] for text in texts]
        if rest:
            texts, owners = [*texts, *wrap.around], [*owners, *(REST for _ in wrap.around)]
            whole += [_core(text, tokenizer.bos_token or "") for text in wrap.around]
        cuts = _cuts(_Prompt(wrap, write, texts, whole), by, tokenizer)
        self.document_of = [name for name, spans in zip(owners, cuts, strict=True) for _ in spans]
        self.labels = _labels(self.document_of, numbered=by != "document")
        prompt = _Prompt(wrap, write, texts, cuts)
        super().__init__(prompt, prompt.values)

    @cached_property
    def end_of_turn(self) -> list[int]:
        """The special token that a chat's template writes behind what an assistant says; none for other prompts."""
        return [] if self._chat is None else self._chat.end_of_turn

    @property
    def groups(self) -> list[str]:
        """The document of each feature."""
        return self.document_of

    def by_document(self, scores: Any) -> dict[str, float]:
        """The sum of the scores (F,) of each document, by its name; 0 for an empty one. With ``rest`` its sum too.

        Raises:
            ValueError: if there is not one score for each feature.
        """
        return summed(scores, self.document_of, dict.fromkeys([*self.documents, *self.document_of]))


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


class _Wrapping(Protocol):
    """What writes a prompt around the documents.

    Attributes:
        around: what it says before and behind them.
    """

    around: list[str]

    def __call__(self, documents: str, around: Sequence[str]) -> str:
        """The prompt, with other text around the documents."""


@dataclass(frozen=True)
class _Prompt:
    """The prompt of what stands at the cuts in its texts.

    Attributes:
        wrap: what is around the documents.
        write: from their texts to one.
        texts: the documents, and behind them what is around, where that has features.
        cuts: the characters of the features of each text.
    """

    wrap: _Wrapping
    write: _Writer
    texts: Sequence[str]
    cuts: Sequence[Sequence[Span]]

    def __call__(self, *parts: str) -> str:
        filled, count = _refilled(self.texts, self.cuts, parts), len(self.write.frames)
        return self.wrap(self.write(filled[:count]), filled[count:] or self.wrap.around)

    @property
    def values(self) -> list[str]:
        """What stands at the cuts."""
        return [text[start:end] for text, spans in zip(self.texts, self.cuts, strict=True) for start, end in spans]


def _labels(owners: Sequence[str], numbered: bool) -> list[str]:
    """The owner of each feature, with a number from 1 if they are ``numbered``, and for the rest."""
    counts: dict[str, int] = {}
    found = []
    for name in owners:
        counts[name] = counts.get(name, 0) + 1
        found.append(f"{name} {counts[name]}" if numbered or name == REST else name)
    return found


def _check_placeholders(template: str, question: str | None) -> None:
    if template.count("{documents}") != 1:
        raise ValueError(f"The prompt must have {{documents}} once, where the documents go, got {template!r}.")
    if question is None and "{question}" in template:
        raise ValueError("The prompt has a {question}, but question is None: pass one, or write it in the prompt.")
    if question is not None and not question.strip():
        raise ValueError(
            f"The question is empty, got {question!r}: pass one, or None where the prompt has no {{question}}."
        )
    if question is not None and "{question}" not in template:
        raise ValueError(
            f"The question {question!r} has no place: put {{question}} into the prompt, or pass None for question."
        )


def _around(template: str, question: str | None) -> list[str]:
    """The text before the documents and that behind them; all of it where they are not."""
    return [part.replace("{question}", question or "") for part in template.split("{documents}")]


class _TextPrompt:
    """The written documents in a template."""

    def __init__(self, template: str, question: str | None) -> None:
        _check_placeholders(template, question)
        self.around = _around(template, question)

    def __call__(self, documents: str, around: Sequence[str]) -> str:
        return documents.join(around)


class _ChatPrompt:
    """From the written documents to the text that the tokenizer encodes to the chat's token ids."""

    def __init__(self, messages: Sequence[Message], question: str | None, tokenizer: Tokenizer, documents: str) -> None:
        self.chat = checked_messages(messages)
        contents = [message.get("content") or "" for message in self.chat]
        _check_placeholders("\n".join(contents), question)
        parts = [_around(content, question) for content in contents]
        self.counts, self.around = [len(some) for some in parts], [part for some in parts for part in some]
        self.tokenizer = tokenizer
        self.render = ChatRenderer(tokenizer, add_generation_prompt=True, template_args=None)
        # Captum encodes text with special tokens: one that the chat template writes at the beginning would be there
        # twice
        whole = self._rendered(documents, self.around)
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

    def __call__(self, documents: str, around: Sequence[str]) -> str:
        return self._rendered(documents, around).removeprefix(self.written)

    @property
    def end_of_turn(self) -> list[int]:
        return turn_end(self.tokenizer, self._messages("", self.around))

    def _rendered(self, documents: str, around: Sequence[str]) -> str:
        return self.render(self._messages(documents, around))

    def _messages(self, documents: str, around: Sequence[str]) -> list[dict[str, Any]]:
        left = iter(around)
        contents = [documents.join(islice(left, count)) for count in self.counts]
        return [
            {**message, "content": content} if message.get("content") else message
            for message, content in zip(self.chat, contents, strict=True)
        ]


def _core(text: str, beginning: str) -> list[Span]:
    """The characters of a text without white space at its ends, which chat templates cut, and without its beginning."""
    start = len(beginning) if text.startswith(beginning) else 0
    core = text[start:].strip()
    start = text.index(core, start)
    return [(start, start + len(core))] if core else []


def _cuts(whole: _Prompt, by: str, tokenizer: Tokenizer) -> list[list[Span]]:
    """The characters [start, end) of the features in each text, of which ``whole`` has the largest."""
    inp = TextTemplateInput(whole, whole.values)
    prompt = inp.to_model_input()
    places = [found[0] if found else (0, 0) for found in value_spans(inp)]
    for text, (first, last) in zip(inp.values, places, strict=True):
        if prompt[first:last] != text:
            raise ValueError(
                f"The chat template leaves out {text!r} or changes it. Pass it without white space at its ends, or "
                "take a template that inserts contents as they are."
            )
    if by == "document":
        return [list(spans) for spans in whole.cuts]
    starts: list[int] = []
    if by == "token":
        spans = token_spans(prompt, tokenizer)[1]
        starts = sorted({start for start, _ in reaching_back(prompt, spans)})
    left, found = iter(places), []
    for text, cuts in zip(whole.texts, whole.cuts, strict=True):
        inside: list[Span] = []
        for start, end in cuts:
            first, last = next(left)
            if by == "sentence":
                inside += [(start + a, start + b) for a, b in sentence_spans(text[start:end])]
            elif first < last:
                between = (start - first + one for one in starts if first < one < last)
                inside += pairwise([start, *between, end])
        found.append(inside)
    return found


def _refilled(texts: Sequence[str], cuts: Sequence[Sequence[Span]], parts: Sequence[str]) -> list[str]:
    """The texts with other parts at their cuts."""
    left = iter(parts)
    filled = []
    for text, spans in zip(texts, cuts, strict=True):
        edges = [0, *(edge for span in spans for edge in span), len(text)]
        around = [text[start:end] for start, end in zip(edges[::2], edges[1::2], strict=True)]
        filled.append(around[0] + "".join(next(left) + after for after in around[1:]))
    return filled
