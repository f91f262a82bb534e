"""Attributions as records of Captum's own table of texts."""

import html
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from captum_heta.spans import Span
from captum_heta.visualization.text_pieces import peak, pieces, strength

if TYPE_CHECKING:
    from captum.attr import visualization


def records(
    rows: Mapping[str, Sequence[float]], text: str, spans: Sequence[Span], *, target: str, probability: float
) -> "list[visualization.VisualizationDataRecord]":
    """A record of each row for `captum.attr.visualization.visualize_text`, a table in a notebook.

    The words of a row are scaled to [-1, 1] by its own largest magnitude. "Attribution Label" is its name,
    "Attribution Score" the sum of its scores as they are, and the other labels are the target. Captum does not escape
    what it shows, so all is escaped here. It puts spaces between pieces; `html_text` shows the text as it is.

    Args:
        rows: the scores of each method, by its name.
        text: the prompt.
        spans: the characters [start, end) of each feature.
        target: the output that is explained.
        probability: what the model gives it.

    Raises:
        ValueError: as `pieces` does.
    """
    import torch
    from captum.attr import visualization

    found = []
    for name, scores in rows.items():
        parts = pieces(text, spans, scores)
        largest = peak(parts)
        found.append(
            visualization.VisualizationDataRecord(
                word_attributions=torch.tensor([strength(part.score, largest) for part in parts]),
                pred_prob=probability,
                pred_class=_escaped(target),
                true_class=_escaped(target),
                attr_class=_escaped(name),
                attr_score=float(sum(scores)),
                raw_input_ids=[_escaped(part.text).replace("\n", "<br>") for part in parts],
                convergence_score=0.0,
            )
        )
    return found


def _escaped(text: str) -> str:
    # browsers read a bare carriage return as a newline
    return html.escape(text).replace("\r", "&#13;")
