"""An output that thinks before it answers: its tokens in its text, the reasoning in it, and the answer."""

from collections.abc import Sequence
from dataclasses import dataclass

from captum_heta.features import Features
from captum_heta.inputs.offsets import spans_of_ids
from captum_heta.spans import Piece, Span, numbers_of, sentence_spans
from captum_heta.tokenizers import Tokenizer

# How models of 2025 and 2026 mark what they think. The first may stand in the prompt, where a template writes it.
MARKS = (
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<reasoning>", "</reasoning>"),
    ("[THINK]", "[/THINK]"),
    ("<|channel|>analysis<|message|>", "<|end|>"),
)


@dataclass(frozen=True)
class Reasoned:
    """An output with reasoning.

    Attributes:
        text: of all of it.
        spans: the characters [start, end) of each of its K tokens.
        reasoning: the characters of what is thought, without the marks around it.
        answer: the characters of what is explained.
    """

    text: str
    spans: list[Span]
    reasoning: Span
    answer: Span

    @property
    def sentences(self) -> list[Span]:
        """The characters of each sentence of the reasoning."""
        start, end = self.reasoning
        return [(start + first, start + last) for first, last in sentence_spans(self.text[start:end])]

    def tokens(self, span: Span) -> list[int]:
        """The numbers of the tokens that are in some characters, by most of their own."""
        return list(Features.of_spans([[span]], self.spans).groups[0])


def reasoned(ids: Sequence[int], tokenizer: Tokenizer, reasoning: Piece, answer: Piece) -> Reasoned:
    """An output as `Reasoned`.

    Args:
        ids: its K token ids.
        tokenizer: of the model.
        reasoning: which tokens are thought: a slice, a range or a number of tokens, or text of which the first place
            counts; None for what stands between marks such as <think> and </think>.
        answer: which are explained, of a text the last place; None for all behind the reasoning and its mark.

    Raises:
        ValueError: if there is no such part, one has no tokens, or the answer does not follow the reasoning.
    """
    text, spans = spans_of_ids(ids, tokenizer)
    if reasoning is None:
        thought, after = _marked(text)
    else:
        thought = _place("reasoning", reasoning, text, spans, first=True)
        after = thought[1]
    said = (after, len(text)) if answer is None else _place("answer", answer, text, spans, first=False)
    if said[0] < thought[1]:
        raise ValueError(
            f"The answer {text[slice(*said)]!r:.80} begins before the reasoning {text[slice(*thought)]!r:.80} ends: it "
            "must follow it."
        )
    found = Reasoned(text, spans, thought, said)
    for name, part in (("reasoning", thought), ("answer", said)):
        if not found.tokens(part):
            raise ValueError(f"The {name} of the output {text!r:.80} has no token: pass {name}=.")
    return found


def _marked(text: str) -> tuple[Span, int]:
    """The characters between the first marks there are, and where those after them begin."""
    for opening, closing in MARKS:
        end = text.find(closing)
        if end >= 0:
            start = text.find(opening, 0, end)
            return (0 if start < 0 else start + len(opening), end), end + len(closing)
    marks = ", ".join(f"{opening} ... {closing}" for opening, closing in MARKS[:1])
    raise ValueError(
        f"The output {text!r:.80} has no {marks} or other marks of reasoning: pass reasoning=, a slice of its tokens "
        "or its text."
    )


def _place(name: str, piece: Piece, text: str, spans: Sequence[Span], first: bool) -> Span:
    if isinstance(piece, str):
        start = text.find(piece) if first else text.rfind(piece)
        if start < 0 or not piece:
            raise ValueError(f"{name} is a text that the output does not have, got {piece!r}: it is {text!r:.200}.")
        return start, start + len(piece)
    chosen = numbers_of(name, piece, len(spans))
    return min(spans[i][0] for i in chosen), max(spans[i][1] for i in chosen)
