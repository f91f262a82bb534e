"""A prompt: its text, its token ids, its features, and where they are in the text."""

import itertools
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from captum.attr import InterpretableInput, TextTemplateInput, TextTokenInput
from torch import Tensor

from captum_heta.features import Features
from captum_heta.inputs.markers import value_spans
from captum_heta.inputs.offsets import NO_OFFSETS, spans_of_ids, token_spans
from captum_heta.spans import Span, paragraph_spans, sentence_spans
from captum_heta.tokenizers import Tokenizer


class TextInput(TextTokenInput):
    """Captum's `TextTokenInput` of a text or of token ids, whose features are its tokens except the special ones.

    It stands wherever Captum takes a `TextTokenInput`, and knows where each feature is in the text.

    Args:
        text: the prompt, or its token ids, (n,) or (1, n), which need not be those that its text is cut into.
        tokenizer: of the model.
        skip_tokens: tokens that are no features, by id or as text; None for the tokenizer's special ones.
        baselines: the token that Captum's perturbation methods put in a feature's place, an id or its text; as in
            `captum.attr.TextTokenInput`. HETA's baselines are an option of its ``attribute``.

    Attributes:
        text: the prompt.
        ids: the ids of all its n tokens.
        token_spans: the characters [start, end) of each token in the text; empty for one that stands for no text.
        spans: those of each of the F features.
        pieces: the text of each feature.

    Raises:
        TypeError: if ``text`` is neither text nor token ids.
        ValueError: when spans are asked for, if the tokenizer does not say where its tokens are.

    Example::

        >>> inp = TextInput("Anna lives in Rome.", tokenizer)
        >>> inp.pieces
        ['Anna', ' lives', ' in', ' Rome', '.']
    """

    def __init__(
        self,
        text: str | Sequence[int] | Tensor,
        tokenizer: Tokenizer,
        *,
        skip_tokens: Sequence[int | str] | None = None,
        baselines: int | str = 0,
    ) -> None:
        ids = list(tokenizer.encode(text)) if isinstance(text, str) else checked_ids(text)
        self._given = text if isinstance(text, str) else None
        skipped = list(tokenizer.all_special_ids) if skip_tokens is None else list(skip_tokens)
        numbers = [tokenizer.convert_tokens_to_ids(token) if isinstance(token, str) else token for token in skipped]
        self._set(ids, [token not in numbers for token in ids], tokenizer, baselines, numbers)

    def _set(
        self,
        ids: Sequence[int],
        kept: Sequence[bool],
        tokenizer: Tokenizer,
        baselines: int | str,
        skipped: list[int] | None,
    ) -> None:
        """The attributes of Captum's class, whose constructor would encode text, perhaps to other tokens."""
        self.tokenizer = tokenizer
        self.inp_tensor = torch.tensor([list(ids)], dtype=torch.long, device="cpu")
        self.itp_mask = torch.tensor([list(kept)], dtype=torch.bool, device="cpu")
        self.itp_tensor = self.inp_tensor[self.itp_mask][None]
        self.skip_tokens = skipped
        self.values = tokenizer.convert_ids_to_tokens(self.itp_tensor[0].tolist())
        self.n_itp_features = len(self.values)
        self.baselines = tokenizer.convert_tokens_to_ids([baselines])[0] if isinstance(baselines, str) else baselines

    @property
    def ids(self) -> list[int]:
        """The ids of all tokens."""
        return self.inp_tensor[0].tolist()

    @property
    def text_ids(self) -> list[int]:
        """Those that the text is cut into."""
        return self.ids

    @property
    def features(self) -> Features:
        """The tokens of each feature."""
        return Features.of_tokens(self.itp_mask[0].nonzero()[:, 0].tolist())

    @cached_property
    def text(self) -> str:
        """The prompt."""
        return self._of_ids[0] if self._given is None else self._given

    @cached_property
    def token_spans(self) -> list[Span]:
        """The characters [start, end) of each token."""
        return self._of_ids[1] if self._given is None else token_spans(self._given, self.tokenizer)[1]

    @cached_property
    def _of_ids(self) -> tuple[str, list[Span]]:
        return spans_of_ids(self.ids, self.tokenizer)

    @cached_property
    def spans(self) -> list[Span]:
        """The characters [start, end) of each feature."""
        return [span for span, keep in zip(self.token_spans, self.itp_mask[0].tolist(), strict=True) if keep]

    @property
    def pieces(self) -> list[str]:
        """The text of each feature."""
        return [self.text[start:end] for start, end in self.spans]

    def sentence_mask(self) -> Tensor:
        """A ``feature_mask`` (F,) that makes one feature of each sentence; a token outside all stays by itself."""
        return mask_of([[sentence] for sentence in sentence_spans(self.text)], self.spans)


def checked_ids(ids: Any) -> list[int]:
    """Token ids (n,) or (1, n) as a list; TypeError for anything else."""
    if isinstance(ids, Sequence) and len(ids) == 0:
        return []
    values = torch.as_tensor(ids, device="cpu") if isinstance(ids, Tensor | Sequence) else None
    if (
        values is None
        or values.is_floating_point()
        or values.ndim not in (1, 2)
        or (values.ndim == 2 and len(values) > 1)
    ):
        raise TypeError(f"A prompt is text or token ids (n,) or (1, n), got {ids!r:.80}.")
    return values.flatten().long().tolist()


def mask_of(parts: Sequence[Sequence[Span]], spans: Sequence[Span]) -> Tensor:
    """A ``feature_mask`` (F,) that makes one of all features inside a part; those outside stay by themselves.

    Args:
        parts: the characters of each part, which may be in several places.
        spans: the characters of each feature.
    """
    numbers = {i: part for part, group in enumerate(Features.of_spans(parts, spans).groups) for i in group}
    own = itertools.count(len(parts))
    return torch.tensor([numbers[i] if i in numbers else next(own) for i in range(len(spans))], device="cpu")


class LocatedInput:
    """What any of Captum's inputs for language models is, in tokens and in characters.

    Args:
        inp: a `TextTokenInput`, such as a `TextInput` or a `ChatInput`; or a `TextTemplateInput`, such as a
            `DocumentsInput`.
        tokenizer: of the model.

    Attributes:
        inp: the input.
        ids: the ids of the n tokens.
        text: the text.
        places: the characters [start, end) of each feature; a template's value may be there several times.
        features: the tokens of each feature.
        labels: the features as Captum names them.
        groups: the name of the document or the role of the message that each feature is of; None for other inputs.
        documents: the names of the documents, in the order of the prompt; None for other inputs.

    Raises:
        TypeError: for another kind of input.
        ValueError: if there is no token, or nothing to attribute to.
    """

    def __init__(self, inp: InterpretableInput, tokenizer: Tokenizer) -> None:
        if not isinstance(inp, TextTokenInput | TextTemplateInput):
            raise TypeError(f"inp must be a TextTokenInput or a TextTemplateInput, got {type(inp).__name__}.")
        self.inp, self.tokenizer = inp, tokenizer
        if not self.ids:
            raise ValueError("The prompt is empty: there is no token to attribute the output to.")
        if not inp.values:
            raise ValueError(
                "The prompt has nothing to attribute the output to: all its tokens are skipped, or its template has no "
                "values."
            )

    @cached_property
    def ids(self) -> list[int]:
        """The ids of all tokens."""
        if isinstance(self.inp, TextTokenInput):
            return self.inp.inp_tensor[0].tolist()
        return self._located[0]

    @cached_property
    def text(self) -> str:
        """The text."""
        if isinstance(self.inp, TextInput):
            return self.inp.text
        return self._of_ids.text if isinstance(self.inp, TextTokenInput) else self.inp.to_model_input()

    @cached_property
    def places(self) -> list[list[Span]]:
        """The characters of each feature."""
        if isinstance(self.inp, TextTokenInput):
            return [[span] for span in self._of_ids.spans]
        return value_spans(self.inp)

    @cached_property
    def features(self) -> Features:
        """The tokens of each feature."""
        if isinstance(self.inp, TextInput):
            return self.inp.features
        if isinstance(self.inp, TextTokenInput):
            kept = torch.ones(len(self.ids)) if self.inp.itp_mask is None else self.inp.itp_mask[0]
            return Features.of_tokens(kept.nonzero().flatten().tolist())
        owners = range(len(self.places)) if self.inp.mask is None else self.inp.formatted_mask
        ranges: list[list[Span]] = [[] for _ in range(self.inp.n_itp_features)]
        for owner, spans in zip(owners, self.places, strict=True):
            ranges[owner] += spans
        return Features.of_spans(ranges, self._located[1])

    @property
    def text_ids(self) -> list[int]:
        """The ids that the text is cut into; fewer than `ids` where several stand for a picture."""
        return self.inp.text_ids if isinstance(self.inp, TextInput) else self.ids

    @property
    def media(self) -> Mapping[str, Any] | None:
        """What the model takes beside the token ids; None for text alone."""
        return getattr(self.inp, "media", None)

    @property
    def labels(self) -> list[str]:
        """The features as Captum names them."""
        return [str(value) for value in self.inp.values]

    @property
    def groups(self) -> list[str] | None:
        """The document or the role of each feature."""
        return getattr(self.inp, "groups", None)

    @property
    def documents(self) -> list[str] | None:
        """The names of the documents; None for other inputs."""
        found = getattr(self.inp, "documents", None)
        return None if found is None else list(found)

    def sentence_mask(self) -> Tensor | None:
        """A ``feature_mask`` (F,) of sentences for an input of tokens; None for a template, which has its own parts."""
        return self._of_ids.sentence_mask() if isinstance(self.inp, TextTokenInput) else None

    def parts(self) -> tuple[str, Tensor] | None:
        """Larger parts of the prompt, to look at first: what they are, and which (F,) each feature is in.

        The documents or messages of the input, paragraphs or sentences: of these whichever needs the fewest passes, if
        then two parts or so are looked into. None where no part has several features.
        """
        try:
            spans = [some[0] if some else (0, 0) for some in self.places]
            masks = {
                "paragraphs": mask_of([[part] for part in paragraph_spans(self.text)], spans),
                "sentences": mask_of([[part] for part in sentence_spans(self.text)], spans),
            }
        except NO_OFFSETS:
            masks = {}
        if self.groups is not None:
            names = {name: i for i, name in enumerate(dict.fromkeys(self.groups))}
            masks = {"groups": torch.tensor([names[name] for name in self.groups], device="cpu")} | masks
        counts = {kind: len(mask.unique()) for kind, mask in masks.items()}
        total = len(self.labels)
        useful = {kind: count + 2 * total / count for kind, count in counts.items() if 1 < count < total}
        if not useful:
            return None
        best = min(useful, key=lambda kind: useful[kind])
        return ("documents or messages" if best == "groups" else best), masks[best]

    @cached_property
    def _of_ids(self) -> TextInput:
        """An input of tokens as one that knows its text."""
        if isinstance(self.inp, TextInput):
            return self.inp
        found = TextInput(self.ids, self.tokenizer, skip_tokens=[])
        if self.inp.itp_mask is not None:
            found._set(self.ids, self.inp.itp_mask[0].tolist(), self.tokenizer, 0, None)
        return found

    @cached_property
    def _located(self) -> tuple[list[int], list[Span]]:
        return token_spans(self.text, self.tokenizer)
