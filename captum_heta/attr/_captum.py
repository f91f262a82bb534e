"""Captum internals, and why each is used; the only place where they are imported.

- ``progress``: the progress bar that Captum's own methods show for ``show_progress``.
- ``_convert_ids_to_pretty_tokens``: the output labels of Captum's results, so that ours line up with them in a table.
- ``SkLearnLasso``: the surrogate that Captum's Lime takes by default, with a penalty of our own; Captum documents no
  other way to it.
"""

from typing import Any

from captum._utils.progress import NullProgress, Progress, progress
from captum.attr._core.llm_attr import _convert_ids_to_pretty_tokens as pretty_tokens

__all__ = ["NullProgress", "Progress", "pretty_tokens", "progress", "sparse_linear_model"]


def sparse_linear_model(alpha: float) -> Any:
    """Captum's Lasso for `captum.attr.Lime`.

    Raises:
        ImportError: without scikit-learn.
    """
    try:
        import sklearn  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "Captum's Lasso needs scikit-learn: pip install 'captum-heta[compare]', or scikit-learn alone."
        ) from error
    from captum._utils.models.linear_model import SkLearnLasso

    return SkLearnLasso(alpha=alpha)
