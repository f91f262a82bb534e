"""A prompt with pictures or sound, as the processor of a model makes it."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, NoReturn

from torch import Tensor

from captum_heta.features import Features
from captum_heta.inputs.offsets import spans_of_ids
from captum_heta.inputs.text import TextInput, checked_ids
from captum_heta.models import placeholders, runs
from captum_heta.spans import Span


class MediaInput(TextInput):
    """What a processor makes of one prompt with pictures, video or sound.

    Features are the tokens of the text except the special ones, and, as one, all tokens that stand for a picture or a
    sound: neighbouring placeholders of one kind. A picture that is read in several tiles or rows, with tokens between
    them, is as many features; ``feature_mask`` makes one of them.

    Args:
        inputs: the output of the processor for one prompt, without padding: ``input_ids`` (1, n), and what the model
            takes beside them.
        processor: of the model, with its ``tokenizer``.
        skip_tokens: tokens that are no features, by id or as text; None for the tokenizer's special ones. Placeholders
            are features in any case.

    Attributes:
        media: what the model takes beside the token ids.

    Raises:
        ValueError: for several prompts, padding, and token ids without a placeholder.

    Example::

        inp = MediaInput(processor(text=prompt, images=photo, return_tensors="pt"), processor)
        result = LLMTokenAttribution(HETA(model), processor.tokenizer).attribute(inp, target="harbour")
    """

    def __init__(
        self, inputs: Mapping[str, Any], processor: Any, *, skip_tokens: Sequence[int | str] | None = None
    ) -> None:
        mask = inputs.get("attention_mask")
        if mask is not None and not bool((mask == 1).all()):
            raise ValueError("attention_mask leaves out tokens: pass the processor's output for one prompt alone.")
        tokenizer = processor.tokenizer
        kinds = placeholders(tokenizer) | placeholders(processor)
        ids = checked_ids(inputs["input_ids"])
        self.media = {name: value for name, value in inputs.items() if name not in ("input_ids", "attention_mask")}
        self._runs = runs(ids, kinds)
        media = [run for run in self._runs if ids[run[0]] in kinds]
        if not media:
            raise ValueError(
                f"No token of the prompt stands for a picture or sound: {type(processor).__name__} names the tokens "
                f"{sorted(kinds) or 'of none'}. Pass the processor's output for a prompt with one, or a TextInput."
            )
        skipped = list(tokenizer.all_special_ids) if skip_tokens is None else list(skip_tokens)
        numbers = [tokenizer.convert_tokens_to_ids(token) if isinstance(token, str) else token for token in skipped]
        self._given = None
        kept = [False] * len(ids)
        for run in self._runs:  # by its first token
            kept[run[0]] = ids[run[0]] in kinds or ids[run[0]] not in numbers
        self._set(ids, kept, tokenizer, 0, numbers)
        places = self.itp_mask[0].nonzero()[:, 0].tolist()
        for kind in set(kinds.values()):
            mine = [run[0] for run in media if kinds[ids[run[0]]] == kind]
            for number, place in enumerate(mine, start=1):
                self.values[places.index(place)] = kind if len(mine) == 1 else f"{kind} {number}"

    @property
    def features(self) -> Features:
        """The tokens of each feature."""
        kept = self.itp_mask[0].tolist()
        return Features(tuple(run for run in self._runs if kept[run[0]]))

    @property
    def text_ids(self) -> list[int]:
        """Those of the text, in which one token stands for each picture."""
        ids = self.ids
        return [ids[run[0]] for run in self._runs]

    @cached_property
    def _of_ids(self) -> tuple[str, list[Span]]:
        text, spans = spans_of_ids(self.text_ids, self.tokenizer)
        places = []
        for run, (start, end) in zip(self._runs, spans, strict=True):
            places += [(start, end)] + [(end, end)] * (len(run) - 1)
        return text, places

    def to_tensor(self) -> NoReturn:
        """Captum's perturbation methods would change token ids and leave the pictures out."""
        raise TypeError(
            "Captum's own methods read token ids alone, without pictures or sound: wrap a method of captum_heta in "
            "LLMTokenAttribution."
        )

    def to_model_input(self, perturbed_tensor: Tensor | None = None) -> NoReturn:
        """As `to_tensor`."""
        self.to_tensor()
