"""What a comparison asks of the models of its methods: how long a text may be, and that nobody changes them."""

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from captum_heta.models import LanguageModel, record_of


def tightest(methods: Iterable[Any]) -> LanguageModel | None:
    """The model with the fewest positions; None if none of the methods' models has a limit.

    Args:
        methods: wrapped ones, with their models as ``model``, and functions, which have none.
    """
    limited = [lm for lm in map(language_model, methods) if lm is not None and lm.max_positions is not None]
    return min(limited, key=lambda lm: lm.max_positions or 0, default=None)


def undisturbed(method: Any) -> AbstractContextManager[Any]:
    """A context in which no other thread changes the model of a method.

    Methods of this package change a model during a call: Captum's own would see the change, and know nothing of it.
    """
    try:
        return record_of(method.model).lock
    except (AttributeError, NotImplementedError, TypeError):  # without a model of transformers, which none changes
        return nullcontext()


def language_model(method: Any) -> LanguageModel | None:
    """A view of the model of a method; None without one."""
    try:
        return LanguageModel(method.model)
    except (AttributeError, TypeError):  # without a model, or with one whose limit nothing says
        return None
