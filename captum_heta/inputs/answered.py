"""A prompt with the beginning of its answer, whose tokens are features too."""

from collections.abc import Sequence

from captum_heta.inputs.offsets import token_spans
from captum_heta.inputs.text import LocatedInput, TextInput
from captum_heta.spans import Span
from captum_heta.tokenizers import Tokenizer

SAID = "the answer before"  # the group of the answer's tokens

# Tokens before the answer that are decoded with it, as some tokenizers write a first word otherwise.
_CONTEXT = 8


class AnsweredInput(TextInput):
    """What follows a prompt and the first tokens of its answer; of both the tokens are features.

    Of the prompt these are the tokens of its features, one by one, so that without an answer it is the prompt with
    tokens for features.

    Args:
        prompt: of text alone.
        answer: token ids, as the model gave them.

    Attributes:
        groups: the group of each feature, `SAID` for those of the answer; None for a prompt without groups.
        end_of_turn: as of a `ChatInput`.

    Raises:
        ValueError: for a prompt with pictures or sound.
    """

    def __init__(self, prompt: LocatedInput, answer: Sequence[int] = ()) -> None:
        if prompt.media is not None:
            raise ValueError("The prompt has pictures or sound, which the answer cannot be put behind: pass text.")
        owner = {token: number for number, group in enumerate(prompt.features.groups) for token in group}
        kept = [token in owner for token in range(len(prompt.ids))] + [True] * len(answer)
        self._set([*prompt.ids, *answer], kept, prompt.tokenizer, 0, None)
        said, spans = _said(prompt.ids, answer, prompt.tokenizer)
        first = len(prompt.text)
        places = _token_spans(prompt) + [(first + start, first + end) for start, end in spans]
        for token, number in owner.items():  # of chats, cut at the ends of a message
            if len(prompt.features.groups[number]) == len(prompt.places[number]) == 1:
                places[token] = prompt.places[number][0]
        self.__dict__ |= {
            "text": prompt.text + said,
            "token_spans": places,
            "spans": [span for span, keep in zip(places, kept, strict=True) if keep],
        }
        self.end_of_turn: list[int] = list(getattr(prompt.inp, "end_of_turn", []))
        names = prompt.groups
        self.groups = None if names is None else [names[owner[i]] for i in sorted(owner)] + [SAID] * len(answer)


def _token_spans(prompt: LocatedInput) -> list[Span]:
    """The characters [start, end) of each token of a prompt."""
    if isinstance(prompt.inp, TextInput):
        return list(prompt.inp.token_spans)
    return token_spans(prompt.text, prompt.tokenizer)[1]


def _said(before: Sequence[int], answer: Sequence[int], tokenizer: Tokenizer) -> tuple[str, list[Span]]:
    """The text of an answer behind a prompt, and the characters of each of its tokens.

    Tokens that are part of one character all have that character.
    """
    context = list(before)[-_CONTEXT:]

    def decoded(count: int) -> str:
        return tokenizer.decode([*context, *answer[:count]], clean_up_tokenization_spaces=False)

    start, whole = len(decoded(0)), decoded(len(answer))
    # a character whose bytes are not all there yet decodes to U+FFFD
    texts = [decoded(count).rstrip("\ufffd") for count in range(len(answer))]
    ends = [min(max(start, len(text)), len(whole)) for text in texts] + [len(whole)]
    spans = []
    for number in range(len(answer)):
        end = next((end for end in ends[number + 1 :] if end > ends[number]), ends[number])
        spans.append((ends[number] - start, end - start))
    return whole[start:], spans
