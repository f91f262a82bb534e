"""What a comparison asks of the models of its methods: how long a text may be, and that nobody changes them."""

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from captum_heta.models import LanguageModel, record_of


def tightest(models: Iterable[LanguageModel]) -> LanguageModel | None:
    """The model with the fewest positions; None if none of them has a limit."""
    limited = [lm for lm in models if lm.max_positions is not None]
    return min(limited, key=lambda lm: lm.max_positions or 0, default=None)


def undisturbed(method: Any) -> AbstractContextManager[Any]:
    """A context in which no other thread changes the model of a method.

    Methods of this package change a model during a call: Captum's own would see the change, and know nothing of it.
    """
    try:
        return record_of(method.model).lock
    except (AttributeError, NotImplementedError, TypeError):  # without a model of transformers, which none changes
        return nullcontext()


def language_models(methods: Iterable[Any]) -> list[LanguageModel]:
    """Views of the models of methods, in their order; of those that have none, or one whose limit nothing says, none.

    Args:
        methods: wrapped ones, with their models as ``model``, and functions, which have none.
    """
    found = []
    for method in methods:
        try:
            found.append(LanguageModel(method.model))
        except (AttributeError, TypeError):
            continue
    return found
