"""A method at work on an output that thinks before it answers."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from captum_heta.attr.hops import Hop, followed
from captum_heta.attr.reasoning import ReasoningTrace
from captum_heta.attr.task import OutputAttributions
from captum_heta.attr.weighted import WeightedAttribution
from captum_heta.features import Features
from captum_heta.inputs import LocatedInput
from captum_heta.inputs.reasoning import Reasoned
from captum_heta.spans import Span


class Tracing:
    """The explanations that the hops of a trace take, of all tokens of prompt and reasoning by their sentences.

    What follows the reasoning is known by its tokens, so that each hop leads to earlier ones: a sentence whose last
    word comes from its first would else come from itself for ever.

    Args:
        method: which explains weighted sums.
        prompt: what is read.
        outputs: (K,), the output.
        reasoned: where the reasoning and the answer are in it.
        refine: look into the sentences that hold this share of the score; None for none.
        options: of the method.
    """

    def __init__(
        self,
        method: WeightedAttribution[Any],
        prompt: LocatedInput,
        outputs: Tensor,
        reasoned: Reasoned,
        refine: float | None,
        options: Mapping[str, Any],
    ) -> None:
        self.method, self.prompt, self.outputs, self.reasoned = method, prompt, outputs, reasoned
        self.refine, self.options = refine, options
        self.ids = torch.tensor(prompt.ids, device=outputs.device)
        mask = prompt.sentence_mask()
        count = len(prompt.features)
        self.parts = (torch.arange(count) if mask is None else mask).unique(return_inverse=True)[1]
        self.sentences = Features.of_spans([[one] for one in reasoned.sentences], reasoned.spans)
        self.thoughts = [token for group in self.sentences.groups for token in group]
        # the sentences of the reasoning behind the parts of the prompt
        owners = [count + i for i, group in enumerate(self.sentences.groups) for _ in group]
        self.owners = torch.cat([self.parts, torch.tensor(owners)])
        later = Features.of_tokens([len(prompt.ids) + token for token in self.thoughts])
        self.features = Features(prompt.features.groups + later.groups)

    def run(self, hops: int) -> ReasoningTrace:
        """The trace, without its provenance."""
        answer = torch.zeros(len(self.outputs))
        answer[self.reasoned.tokens(self.reasoned.answer)] = 1
        among = answer.bool()
        if hops > 1:
            among[self.thoughts] = True
        with self.method.explaining_together(
            self.ids,
            self.outputs,
            among,
            self.features,
            times=hops,
            parts=self.owners,
            refine=self.refine,
            media=self.prompt.media,
            **self.options,
        ) as explained:
            found = followed(lambda weights: self._shares(explained(weights)), answer, self.thoughts, hops)
        places, thoughts = self.prompt.places, [self.reasoned.spans[token] for token in self.thoughts]
        if self.refine is None:
            found = [Hop(hop.weights, self._of_parts(hop.prompt), self._of_sentences(hop.reasoning)) for hop in found]
            places, thoughts = _merged(places, self.parts), self.reasoned.sentences
        return ReasoningTrace(
            method=self.method.get_name(),
            prompt=self.prompt.text,
            places=places,
            output=self.reasoned.text,
            reasoning_places=thoughts,
            answer_place=self.reasoned.answer,
            of_sentences=self.refine is None,
            hops=found,
        )

    def _shares(self, found: OutputAttributions) -> tuple[Tensor, Tensor]:
        scores = found.scores[0].double().clamp(min=0)
        total = scores.sum()
        shares = scores / total if total > 0 else scores
        count = len(self.prompt.features)
        return shares[:count], shares[count:]

    def _of_parts(self, shares: Tensor) -> Tensor:
        return shares.new_zeros(int(self.parts.max()) + 1).index_add(0, self.parts, shares)

    def _of_sentences(self, shares: Tensor) -> Tensor:
        return torch.stack([part.sum() for part in shares.split([len(group) for group in self.sentences.groups])])


def _merged(places: list[list[Span]], parts: Tensor) -> list[list[Span]]:
    """The places of features that have become one: from the first of theirs to the last."""
    found: list[list[Span]] = [[] for _ in range(int(parts.max()) + 1)]
    for owner, spans in zip(parts.tolist(), places, strict=True):
        found[owner] += spans
    return [[(min(spans)[0], max(end for _, end in spans))] if spans else [] for spans in found]
