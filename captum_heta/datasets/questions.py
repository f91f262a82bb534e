"""Prompts that put a question to a text: passages, the question, and the cue that the answer follows."""

from collections.abc import Sequence
from itertools import accumulate

from captum_heta.spans import Span


def question_prompt(parts: Sequence[str], question: str, separator: str) -> tuple[str, list[Span]]:
    """The prompt, and the characters [start, end) of each of its ``parts``.

    It ends with the cue ``Answer:``, so that the onset of the answer is the position that is explained.
    """
    ends = list(accumulate(len(part) + len(separator) for part in parts))
    spans = [(end - len(separator) - len(part), end - len(separator)) for part, end in zip(parts, ends, strict=True)]
    return f"{separator.join(parts)}\nQuestion: {question}\nAnswer:", spans
