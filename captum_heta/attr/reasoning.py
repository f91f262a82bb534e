"""Where an answer comes from when the model thinks before it answers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from captum_heta.attr.hops import Hop
from captum_heta.attr.result import imported_pandas
from captum_heta.files import write_whole
from captum_heta.inputs.places import texts
from captum_heta.spans import Span

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True, eq=False)
class ReasoningTrace:
    """What an answer takes from the prompt, directly and through the reasoning before it.

    F are the features of the prompt and R those of the reasoning: sentences, or tokens where it was made with
    ``refine``. In a notebook it shows all three: the prompt, the reasoning and the answer.

    Attributes:
        method: the name of the method.
        prompt: its text.
        places: the characters [start, end) of each of the F features in the prompt.
        output: the text of the whole output.
        reasoning_places: the characters of each of the R features in the output.
        answer_place: those of the answer.
        of_sentences: whether the features are sentences, and not tokens.
        hops: what each explanation found; the first is of the answer.
        provenance: how the numbers were made.
    """

    method: str
    prompt: str
    places: list[list[Span]]
    output: str
    reasoning_places: list[Span]
    answer_place: Span
    of_sentences: bool
    hops: list[Hop]
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        about = f"method={self.method!r}, hops={len(self.hops)}, left={self.left:.3g}"
        return f"ReasoningTrace(answer={self.answer.strip()!r}, {about})"

    @property
    def prompt_attr(self) -> Tensor:
        """The share of each feature of the prompt in the answer, by all hops, (F,), float32; of sum 1 less `left`."""
        return torch.stack([hop.prompt for hop in self.hops]).sum(0).float()

    @property
    def direct_attr(self) -> Tensor:
        """The same without recursion, (F,): what the answer takes from the prompt past the reasoning."""
        return self.hops[0].prompt.float()

    @property
    def reasoning_attr(self) -> Tensor:
        """The share of each part of the reasoning in the answer, before it is followed, (R,), float32."""
        return self.hops[0].reasoning.float()

    @property
    def left(self) -> float:
        """What stayed in the reasoning after the last hop, or had no support, of 1."""
        # what rounding leaves is nothing
        return max(0.0, round(1 - torch.stack([hop.prompt for hop in self.hops]).sum().item(), 9))

    @property
    def pieces(self) -> list[str]:
        """The text of each feature of the prompt."""
        return texts(self.prompt, self.places, ["" for _ in self.places])

    @property
    def reasoning_pieces(self) -> list[str]:
        """The text of each part of the reasoning."""
        return [self.output[start:end] for start, end in self.reasoning_places]

    @property
    def answer(self) -> str:
        """The text of the answer."""
        return self.output[slice(*self.answer_place)]

    def to_dataframe(self) -> "DataFrame":
        """A row for each part of the prompt and of the reasoning, with its share by all hops, and by each hop.

        Raises:
            ImportError: without pandas.
        """
        pandas = imported_pandas()
        columns: dict[str, Any] = {
            "in": ["prompt"] * len(self.places) + ["reasoning"] * len(self.reasoning_places),
            "text": [*self.pieces, *self.reasoning_pieces],
            "share": [*self.prompt_attr.tolist(), *self.reasoning_attr.tolist()],
        }
        for number, hop in enumerate(self.hops, 1):
            columns[f"hop {number}"] = [*hop.prompt.tolist(), *hop.reasoning.tolist()]
        return pandas.DataFrame(columns)

    def to_html(self) -> str:
        """One self-contained page: the prompt and the reasoning shaded by their shares; no script, no network."""
        from captum_heta.attr.reasoning_view import view_of
        from captum_heta.visualization.html import page

        return page(view_of(self))

    def _repr_html_(self) -> str:
        from captum_heta.attr.reasoning_view import view_of
        from captum_heta.visualization.html import fragment

        return fragment(view_of(self))

    def save(self, file: str | Path) -> None:
        """Write everything to a JSON file, for `load`; whole, or the file is as it was before.

        Raises:
            OSError: if the file cannot be written.
        """
        from captum_heta.attr.saved_reasoning import to_record
        from captum_heta.stored import as_json

        write_whole(file, as_json(to_record(self)))

    @classmethod
    def load(cls, file: str | Path) -> "ReasoningTrace":
        """What `save` wrote.

        Raises:
            ValueError: if the file is none of `save`; says what is wrong with it.
            OSError: if it cannot be read.
        """
        from captum_heta.attr.saved_reasoning import from_record
        from captum_heta.stored import read_json

        return read_json(file, "trace", from_record)
