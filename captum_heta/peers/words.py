"""A text for token ids, for packages that read text: each token is a word, its number."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any


class Words:
    """A tokenizer whose words are numbers, so that a text of them is cut into exactly the tokens that were meant.

    Tokenizers of models cut the text of given tokens into others at times, put a special token before it, or leave
    those out that it begins with. For packages that only want the model to read it, no text needs them.

    Args:
        ids: all token ids that will be needed.
        size: of the model's vocabulary.
        whole: whether all of the vocabulary are words; a package that adds tokens numbers them by how many there are.

    Raises:
        ValueError: if ``ids`` are the whole vocabulary, as one has to stand for padding.
    """

    def __init__(self, ids: Sequence[int], size: int, whole: bool = False) -> None:
        self._width = len(str(size))
        used = set(ids)
        padding = next((i for i in range(size) if i not in used), None)
        if padding is None:
            raise ValueError(f"The text has all {size} tokens of the vocabulary, and one must be left for padding.")
        self.padding = padding
        self._known = range(size) if whole else sorted(used | {padding})

    def text(self, ids: Sequence[int]) -> str:
        """The text of token ids."""
        return " ".join(map(self._word, ids))

    @cached_property
    def tokenizer(self) -> Any:
        """The tokenizer, of transformers, which may be changed."""
        from tokenizers import Tokenizer, models, pre_tokenizers
        from transformers import PreTrainedTokenizerFast

        core = Tokenizer(models.WordLevel({self._word(i): i for i in self._known}))
        core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        padding = self._word(self.padding)
        return PreTrainedTokenizerFast(
            tokenizer_object=core, pad_token=padding, unk_token=padding, clean_up_tokenization_spaces=False
        )

    def _word(self, token: int) -> str:
        # all of one length: padding is looked for as a part of the text, and must not be found in another word
        return f"{token:0{self._width}d}"
