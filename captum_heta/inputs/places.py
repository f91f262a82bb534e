"""What is made of the places of features: each has its characters in a prompt, perhaps several times."""

from collections.abc import Sequence

from captum_heta.spans import Span


def flat(places: Sequence[Sequence[Span]]) -> list[Span]:
    """The places of all features, one after the other."""
    return [span for spans in places for span in spans]


def spread(scores: Sequence[float], places: Sequence[Sequence[Span]]) -> list[float]:
    """Scores of the features as those of their places, as `flat` has them."""
    return [score for score, spans in zip(scores, places, strict=True) for _ in spans]


def texts(prompt: str, places: Sequence[Sequence[Span]], labels: Sequence[str]) -> list[str]:
    """The text of each feature; its label where it has no text of its own."""
    found = ["".join(prompt[start:end] for start, end in spans[:1]) for spans in places]
    return [text or label for text, label in zip(found, labels, strict=True)]
