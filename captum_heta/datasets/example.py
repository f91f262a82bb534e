"""One prompt whose right attribution is known."""

from dataclasses import dataclass

from captum_heta.spans import Span


@dataclass(frozen=True)
class Example:
    """A prompt, its answer, and where in the prompt the answer comes from.

    Spans are half-open character ranges ``[start, end)`` of ``prompt``. The prompt ends with the answer's cue, so
    that the position after its last token is the onset of the answer.

    Attributes:
        prompt: the text given to the model.
        target: the answer's text as it continues the prompt (leading space included), or None if unknown.
        evidence: the spans that hold the answer.
        distractors: the spans that resemble the evidence and do not hold the answer.
        id: unique in its data set.
        source: where the example comes from.
        licence: the licence of its text.
        paraphrase: a prompt that says the same in other words, if there is one.
        passage: the spans of what the question is about, evidence and distractors among them; the question and the
            answer's cue are causal too, and no misses. Empty if the prompt is not made so.
        counterfactual: the prompt with another value in its evidence, if there is one: what a model answers to it does
            not depend on what it knows of the world.
        counterfactual_target: that value as it continues ``counterfactual``.
    """

    prompt: str
    target: str | None
    evidence: tuple[Span, ...]
    distractors: tuple[Span, ...]
    id: str
    source: str
    licence: str
    paraphrase: str | None = None
    passage: tuple[Span, ...] = ()
    counterfactual: str | None = None
    counterfactual_target: str | None = None
