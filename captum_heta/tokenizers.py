"""What is asked of a tokenizer."""

from collections.abc import Sequence
from typing import Any, Protocol


class Tokenizer(Protocol):
    """A tokenizer of transformers, fast or slow, or anything with as much of its interface."""

    @property
    def all_special_ids(self) -> Sequence[int]:
        """The ids of the tokens that stand for no text."""

    @property
    def bos_token(self) -> Any:
        """The text of the token that begins a text; None without one."""

    @property
    def bos_token_id(self) -> Any:
        """Its id."""

    @property
    def eos_token(self) -> Any:
        """The text of the token that ends a text; None without one."""

    @property
    def cls_token(self) -> Any:
        """The token that some encoders begin with; None without one."""

    @property
    def sep_token(self) -> Any:
        """The token that some encoders end with; None without one."""

    def __call__(self, text: Any, **arguments: Any) -> Any:
        """The token ids of a text, and what else is asked for."""

    def encode(self, text: Any, *, add_special_tokens: bool = True) -> list[int]:
        """The token ids of a text."""

    def decode(self, token_ids: Any, **arguments: Any) -> Any:
        """The text of token ids."""

    def convert_ids_to_tokens(self, ids: Any) -> Any:
        """The vocabulary's entries."""

    def convert_tokens_to_ids(self, tokens: Any) -> Any:
        """The ids of the vocabulary's entries."""

    def apply_chat_template(self, conversation: Any, **arguments: Any) -> Any:
        """A chat as text."""
