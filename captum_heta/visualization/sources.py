"""An answer with what its sentences come from, as HTML without scripts: links and what opens are the browser's own."""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple
from zlib import crc32

from captum_heta.visualization.html import rendered
from captum_heta.visualization.view import NumberTable

_FILE = "sources.html.jinja"


class Source(NamedTuple):
    """Something of the prompt, and its share.

    Attributes:
        number: of its document from 1; 0 for what is in none.
        text: the name of the document, or a sentence.
        share: from 0 to 1.
    """

    number: int
    text: str
    share: float


class ShownPart(NamedTuple):
    """Consecutive characters with one share.

    Attributes:
        text: the characters.
        strength: from 0 to 1; None for characters without a share.
        share: of the whole answer, in percent; "" where it is next to nothing.
    """

    text: str
    strength: float | None
    share: str


@dataclass(frozen=True)
class AnswerSentence:
    """A sentence of the answer.

    Attributes:
        text: what it says.
        cited: the numbers behind it.
        documents: the largest shares.
        others: what is said of the others.
        parts: the sentences with the largest shares.
    """

    text: str
    cited: list[int]
    documents: list[Source]
    others: str
    parts: list[Source]


@dataclass(frozen=True)
class ShownDocument:
    """A document, or what is in none.

    Attributes:
        number: as that of a `Source`.
        name: of the document.
        share: of the whole answer.
        used: the numbers from 1 of the sentences of the answer that come from it, and its share of each.
        runs: its text, and for what is in no document one for each stretch of it.
    """

    number: int
    name: str
    share: float
    used: list[tuple[int, float]]
    runs: list[list[ShownPart]]


@dataclass(frozen=True)
class SourcesView:
    """All that is shown.

    Attributes:
        title: the question.
        notes: how to read it.
        sentences: of the answer.
        documents: in the order of the prompt, what is in none last.
        tables: all shares.
        about: what was run, names and values.
    """

    title: str
    notes: list[str]
    sentences: list[AnswerSentence]
    documents: list[ShownDocument]
    tables: list[NumberTable]
    about: list[tuple[str, str]]

    @cached_property
    def key(self) -> str:
        """What its anchors begin with; another one for another view, as a notebook has several."""
        return f"heta-{crc32(repr((self.sentences, self.documents)).encode('utf-8', 'replace')):08x}"


def page(view: SourcesView) -> str:
    """A whole document, light or dark as the reader's system is."""
    return rendered("page", _FILE, view=view)


def fragment(view: SourcesView) -> str:
    """The same for a notebook, with its style, and as light or dark as what is around it."""
    return rendered("fragment", _FILE, view=view)
