"""From the scores of an answer's tokens to the shares of documents and their sentences in its sentences."""

from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

import torch

from captum_heta.attr.answer import check_weights, weighed
from captum_heta.attr.located_result import LocatedResult
from captum_heta.attr.recursion import parts_of
from captum_heta.attr.sources import Sources
from captum_heta.features import Features
from captum_heta.inputs.said import sentences_of, visible_span
from captum_heta.spans import Span, sentence_spans


class Part(NamedTuple):
    """A sentence of a document, or what is looked at in its place.

    Attributes:
        place: its characters [start, end) in the prompt.
        group: the name of its document, or of the rest.
        features: the numbers of the features in it.
    """

    place: Span
    group: str
    features: list[int]


def sources_of(result: LocatedResult, through: bool, weights: str) -> Sources:
    """As `LocatedResult.sources`."""
    check_weights(weights)
    if result.documents is None or result.groups is None:
        raise ValueError("The result has no documents: attribute to a DocumentsInput.")
    rows = result.rows.detach().cpu()
    if not rows.isfinite().all():
        raise ValueError("The result has scores that are not finite, of which there are no shares.")
    if through:
        shares = result.through_output().detach().cpu().double()
    else:
        shares = parts_of(rows, rows.new_zeros(len(rows), len(rows)))[0]
    probs = None if result.output_probs is None else result.output_probs.detach().cpu()
    if len(rows) < len(result.output_tokens):  # of a method that explains the output as a whole
        sentences, tokens, weights = [(0, len(result.target))], [[0]], "even"
    elif result.output_spans is None:
        raise ValueError(
            "The result does not know where its output tokens are in the output: it was saved without their places, or "
            "the tokenizer does not tell them. Attribute once more, with a fast tokenizer."
        )
    else:
        said = sentences_of(result.target, result.output_spans)
        sentences, tokens = said.spans, [list(group) for group in said.tokens.groups]
    each = [*tokens, list(range(len(rows)))]
    found = torch.stack([weighed(shares, some, probs, weights) for some in each])
    parts = parts_in(result.prompt, [spans[0] if spans else (0, 0) for spans in result.places], result.groups)
    sums = torch.stack([found[:, part.features].sum(-1) for part in parts], -1)
    totals = sums.sum(-1, keepdim=True)
    sums = (sums / totals.where(totals > 0, 1)).float()
    numbers: dict[str, int | None] = {name: i for i, name in enumerate(result.documents)}
    return Sources(
        method=result.method,
        prompt=result.prompt,
        answer=result.target,
        sentences=sentences,
        documents=result.documents,
        parts=[part.place for part in parts],
        document_of=[numbers.get(part.group) for part in parts],
        shares=sums[:-1],
        whole_shares=sums[-1],
        signed=bool((rows < 0).any()),
        through=through,
        provenance=result.provenance,
    )


def parts_in(prompt: str, places: Sequence[Span], groups: Sequence[str]) -> list[Part]:
    """The sentences of each document, in the order of the prompt; or the features of one that are larger.

    Args:
        prompt: the text.
        places: the characters of each feature.
        groups: the document of each feature.
    """
    found = []
    order = sorted(range(len(places)), key=lambda i: places[i])
    for group, run in groupby(order, key=groups.__getitem__):
        features = list(run)
        spans = [places[i] for i in features]
        first, last = spans[0][0], max(end for _, end in spans)
        sentences = [(first + start, first + end) for start, end in sentence_spans(prompt[first:last])]
        owners = list(range(len(features)))
        if 0 < len(sentences) <= len(features):
            inside = Features.of_spans(
                [[one] for one in sentences], [visible_span(prompt, span) for span in spans]
            ).groups
            known = {i: owner for owner, some in enumerate(inside) for i in some}
            owners = _filled([known.get(i) for i in range(len(features))])
        for _, some in groupby(range(len(features)), key=owners.__getitem__):
            members = list(some)
            place = min(spans[i][0] for i in members), max(spans[i][1] for i in members)
            found.append(Part(place, group, [features[i] for i in members]))
    return found


def _filled(owners: Sequence[int | None]) -> list[int]:
    """Owners for all: white space outside the sentences has that of what is before it, or else of the first behind."""
    owner = next((one for one in owners if one is not None), 0)
    found = []
    for one in owners:
        owner = owner if one is None else one
        found.append(owner)
    return found
