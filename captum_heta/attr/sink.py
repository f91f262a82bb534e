"""Finds out, and warns, where the attention flow shows an attention sink and not the prompt."""

import warnings

from torch import Tensor

from captum_heta.attr.base import Task
from captum_heta.models import CausalLM

_MOST = 0.5
_FEWEST = 5  # of a few tokens, the first may well be most


def sink_of(lm: CausalLM, flow: Tensor, task: Task) -> float:
    """The share of a first token that begins no text in an attention flow (K, T) if it has most of it, or else 0.

    A token that is no feature is not shown, and is none. What it is, is said once for a model, as a warning.
    """
    shown = {token for group in task.features.groups for token in group}
    share = float(flow[:, 0].mean())
    if 0 not in shown or share <= _MOST or len(task.input_ids) < _FEWEST or int(task.input_ids[0]) in lm.first_ids:
        return 0.0
    _warn(lm, share)
    return share


def _warn(lm: CausalLM, share: float) -> None:
    if "sink" in lm.record.said:
        return
    lm.record.said.add("sink")
    known = ", ".join(map(str, sorted(lm.first_ids)))
    begins = f"its beginning-of-text token ({known})" if known else "a special token"
    warnings.warn(
        f"The first token has {share:.0%} of the attention flow of {type(lm.model).__name__}, whatever it says: an "
        f"attention sink, which the gate of HETA's Eq. 5 follows. The prompt does not begin with {begins}, which would "
        "take that place. Explain with TargetedHETA or flow='contribution', which gives a sink little. A "
        "beginning-of-text token helps a model that was trained with one; elsewhere it changes what is predicted, and "
        "in a chat model it may begin a message.",
        stacklevel=3,
    )
