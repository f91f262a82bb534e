"""Captum internals, and why each is used; the only place where they are imported.

- ``progress``: the progress bar that Captum's own methods show for ``show_progress``.
- ``_convert_ids_to_pretty_tokens``: the output labels of Captum's results, so that ours line up with them in a table.
"""

from captum._utils.progress import NullProgress, Progress, progress
from captum.attr._core.llm_attr import _convert_ids_to_pretty_tokens as pretty_tokens

__all__ = ["NullProgress", "Progress", "pretty_tokens", "progress"]
