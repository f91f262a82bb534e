"""What a model goes on with."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from captum_heta.models.records import record_of
from captum_heta.models.state import evaluating

# As Captum generates where nothing else is said: greedily.
GREEDY: dict[str, Any] = {"max_new_tokens": 25, "do_sample": False, "temperature": None, "top_p": None, "top_k": None}


def greedy(room: int | None) -> dict[str, Any]:
    """`GREEDY`, with no more tokens than there is room for, but one at least; None for no limit."""
    return GREEDY if room is None else GREEDY | {"max_new_tokens": max(1, min(room, GREEDY["max_new_tokens"]))}


def generated(model: Any, ids: Tensor, **arguments: Any) -> Tensor:
    """The tokens (K,) that a model generates after a prompt (1, n), in eval mode and with the whole prompt attended to.

    Without an attention mask transformers would leave out what looks like padding, often the token of the beginning.

    Args:
        model: a causal language model of transformers, which is left as it is found.
        ids: the prompt, wherever it is.
        **arguments: of ``model.generate``.
    """
    ids = ids.to(getattr(model, "device", ids.device))
    record = record_of(model)
    with record.lock, record.restored(model), torch.no_grad(), evaluating(model):
        found = model.generate(ids, attention_mask=torch.ones_like(ids), **arguments)
    whole = found if isinstance(found, Tensor) else found.sequences  # with return_dict_in_generate
    return whole[0, ids.shape[1] :].cpu()


def end_tokens(model: Any) -> list[int]:
    """The ids of the tokens that end what a model generates."""
    ends = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    return [] if ends is None else torch.as_tensor(ends, device="cpu").flatten().tolist()


def without_end(model: Any, outputs: Tensor, arguments: Mapping[str, Any]) -> Tensor:
    """Generated tokens (K,) without those that end the text, and what fills up after them.

    Args:
        model: what generated them.
        outputs: the tokens.
        arguments: of ``model.generate``, which may say what ends a text.
    """
    ends = arguments.get("eos_token_id", end_tokens(model))
    if ends is None:
        return outputs
    is_end = torch.isin(outputs, torch.as_tensor(ends, device=outputs.device).flatten())
    return outputs[: int(is_end.int().argmax())] if is_end.any() else outputs
