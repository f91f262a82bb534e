"""What each sentence of an answer takes from each document, in percent."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from captum_heta.checks import check_part
from captum_heta.inputs.documents import REST
from captum_heta.options import CITED
from captum_heta.spans import Span

if TYPE_CHECKING:
    from pandas import DataFrame

_LEVELS = ("sentence", "document")


@dataclass(frozen=True, eq=False)
class Sources:
    """The sentences of an answer, with the documents and the sentences in these that they came from.

    S are the sentences of the answer, D the documents and P the parts of the prompt: the sentences of the documents, or
    whole documents where these were the features, and those of the rest where it has features (``rest`` of a
    `DocumentsInput`). In a notebook it shows them.

    Attributes:
        method: the name of the method.
        prompt: its text.
        answer: the text of the output.
        sentences: the characters [start, end) of each of the S sentences in it; one for all where the method explains
            the output as a whole.
        documents: the D names.
        parts: the characters of each of the P parts in the prompt.
        document_of: the number from 0 of the document that each part is of; None for one that is of none.
        shares: (S, P), float32, non-negative. A row sums to 1; one of a sentence that nothing supports is 0.
        whole_shares: (P,), of the whole answer.
        signed: whether there were negative scores, which count as 0.
        through: whether what comes through the outputs before is in the shares.
        provenance: how the numbers were made.
    """

    method: str
    prompt: str
    answer: str
    sentences: list[Span]
    documents: list[str]
    parts: list[Span]
    document_of: list[int | None]
    shares: Tensor
    whole_shares: Tensor
    signed: bool = False
    through: bool = False
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        shares = zip(self.documents, self.by_document(self.whole_shares[None])[0].tolist(), strict=False)
        about = ", ".join(f"{name!r}: {share:.0%}" for name, share in shares)
        return f"Sources(answer={self.answer.strip()!r}, {{{about}}})"

    @property
    def has_rest(self) -> bool:
        """Whether something besides the documents has shares."""
        return None in self.document_of

    @property
    def answer_pieces(self) -> list[str]:
        """The text of each sentence of the answer."""
        return [self.answer[start:end].strip() for start, end in self.sentences]

    @property
    def pieces(self) -> list[str]:
        """The text of each part."""
        return [self.prompt[start:end].strip() for start, end in self.parts]

    @property
    def document_shares(self) -> Tensor:
        """The share of each document in each sentence of the answer, (S, D); with what is in none last, (S, D + 1)."""
        return self.by_document(self.shares)

    def by_document(self, shares: Tensor) -> Tensor:
        """Shares (..., P) of the parts as those of the documents, (..., D), and of the rest behind if it has any."""
        count = len(self.documents)
        owners = torch.tensor([count if of is None else of for of in self.document_of])
        sums = shares.new_zeros(*shares.shape[:-1], count + self.has_rest)
        return sums.index_add(-1, owners, shares)

    def citations(self, threshold: float = CITED) -> list[list[int]]:
        """The numbers from 1 of the documents that each sentence of the answer takes a share of from, in their order.

        Args:
            threshold: the least share, above 0 and up to 1.

        Raises:
            ValueError: for another threshold.
        """
        check_part("threshold", threshold, "a sentence", one=True)
        rows = self.document_shares[:, : len(self.documents)].tolist()
        return [[number for number, share in enumerate(row, 1) if share >= threshold] for row in rows]

    def cited(self, threshold: float = CITED) -> str:
        """The answer with [1][2] behind each sentence, for the documents that it comes from, and a list of these.

        Args:
            threshold: as in `citations`.

        Raises:
            ValueError: as `citations`.
        """
        numbers = self.citations(threshold)
        text, done = "", 0
        for (start, end), some in zip(self.sentences, numbers, strict=True):
            said = self.answer[start:end].rstrip()
            marks = "".join(f"[{number}]" for number in some)
            text += self.answer[done:start] + said + (f" {marks}" if marks else "")
            done = start + len(said)
        listed = [f"[{number}] {self.documents[number - 1]}" for number in sorted(set().union(*numbers))]
        return "\n\n".join([(text + self.answer[done:]).strip(), *(["\n".join(listed)] if listed else [])])

    def to_dataframe(self, by: str = "sentence") -> "DataFrame":
        """A row for each sentence of the answer and each part of the prompt, with its share.

        Args:
            by: "sentence", or "document" for the sums of each.

        Raises:
            ImportError: without pandas.
            ValueError: for another ``by``.
        """
        from captum_heta.attr.result import imported_pandas

        if by not in _LEVELS:
            raise ValueError(f"by must be one of {', '.join(_LEVELS)}, got {by!r}.")
        pandas = imported_pandas()
        names = [*self.documents, *([REST] if self.has_rest else [])]
        if by == "sentence":
            names, values = [names[-1 if of is None else of] for of in self.document_of], self.shares
        else:
            values = self.document_shares
        count, across = values.shape
        columns: dict[str, Any] = {
            "number": [number for number in range(1, count + 1) for _ in range(across)],
            "answer": [piece for piece in self.answer_pieces for _ in range(across)],
            "document": names * count,
        }
        columns |= {"sentence": self.pieces * count} if by == "sentence" else {}
        return pandas.DataFrame(columns | {"share": values.flatten().tolist()})

    def to_html(self, citations: bool = False, threshold: float = CITED) -> str:
        """One self-contained page, without scripts and with nothing that is fetched.

        Each sentence of the answer has the documents that it comes from and, when they are opened, their sentences.
        Each document is shaded by what the whole answer takes from its sentences.

        Args:
            citations: write numbers such as [1] behind the sentences.
            threshold: as in `citations`.

        Raises:
            ValueError: as `citations`.
        """
        from captum_heta.attr.sources_view import view_of
        from captum_heta.visualization.sources import page

        return page(view_of(self, threshold if citations else None))

    def _repr_html_(self) -> str:
        from captum_heta.attr.sources_view import view_of
        from captum_heta.visualization.sources import fragment

        return fragment(view_of(self, None))
