"""What is explained: the one rule from a text to token ids, and what is taken when a person says nothing.

It is the same in Python, on the command line, in the benchmark and on the page.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from captum_heta.inputs.text import LocatedInput
from captum_heta.models import LanguageModel, Media, end_tokens, generated, greedy, media_logits, without_end
from captum_heta.prompts import check_length, checked_media


def target_ids(target: Any, prompt: LocatedInput, lm: LanguageModel | None) -> Tensor:
    """The token ids (K,) of a target, on the CPU.

    A text is cut into tokens as it follows the prompt. Where neither it nor the end of the prompt has white space, it
    is taken with or without a space before it, as the model finds likelier.

    Args:
        target: text, or token ids (K,).
        prompt: what it follows.
        lm: the model; None to take a text as it is.

    Raises:
        TypeError: for something that is neither text nor token ids.
        ValueError: for no tokens, ids that are no integers or of another shape, and more tokens than the model can read
            behind the prompt.
    """
    if not isinstance(target, str):
        return _fitting(_checked(target), prompt, lm)
    ways = target_ways(target, prompt)
    if not all(ways):
        raise ValueError(f"The target {target!r} encodes to no token: there is no output to explain.")
    several = [_fitting(torch.tensor(way, dtype=torch.long, device="cpu"), prompt, lm) for way in ways]
    if lm is None or len(several) == 1:
        return several[0]
    return max(several, key=lambda outputs: _likely(lm, prompt, outputs))


def chosen_outputs(
    target: Any, gen_args: Mapping[str, Any] | None, prompt: LocatedInput, lm: LanguageModel | None
) -> Tensor:
    """The token ids (K,) of a target; without one, of the answer that the model generates.

    Args:
        target: as in `target_ids`, or None.
        gen_args: as in `generated_answer`; only without a target.
        prompt: what it follows.
        lm: the model; None where there is none.

    Raises:
        ValueError: for both a target and ``gen_args``, for neither a target nor a model, and as those functions do.
    """
    if target is not None and gen_args is not None:
        raise ValueError("gen_args generate a target: pass them or a target, not both.")
    if target is not None:
        return target_ids(target, prompt, lm)
    if lm is None:
        raise ValueError("Without a model there is nothing to generate a target with: pass a target.")
    return generated_answer(prompt, lm, gen_args)


def contrasted(contrast: Any, outputs: Tensor, prompt: LocatedInput, lm: LanguageModel | None) -> tuple[Tensor, Tensor]:
    """Two answers as far as they can be compared: the explained token ids and the others, (K,) each, on the CPU.

    After the first token in which they differ the answers go on from different texts, so that two texts are cut there:
    " Madrid" and " Rome" may be compared as " Mad" and " Rome".

    Args:
        contrast: text, or token ids (K,), as many as the outputs and not cut.
        outputs: (K,), the explained answer.
        prompt: what they follow.
        lm: the model; None to take a text as it is.

    Raises:
        TypeError: as `target_ids`.
        ValueError: as `target_ids`, and if one answer is the beginning of the other.
    """
    others = target_ids(contrast, prompt, lm)
    if not isinstance(contrast, str):
        return outputs, others
    most = min(len(others), len(outputs))
    differ = (others[:most] != outputs[:most].cpu()).nonzero()
    if len(differ) == 0:
        raise ValueError(
            f"The contrast {contrast!r} and the target begin with the same {most} token(s), which is all of one of "
            "them: there is no difference to explain. Take an answer that differs."
        )
    end = int(differ[0]) + 1
    return outputs[:end], others[:end]


def next_token(prompt: LocatedInput, lm: LanguageModel) -> Tensor:
    """The model's likeliest next token, (1,), on the CPU."""
    check_length(lm, len(prompt.ids))
    with lm.lock, lm.restored(), lm.evaluating():
        ids = torch.tensor(prompt.ids, device=lm.device)
        if prompt.media is not None:
            return media_logits(lm, ids, _media(lm, prompt), 1)[-1].argmax()[None].cpu()
        return lm.logits(ids[None], 1)[0, -1].argmax()[None].cpu()


def generated_answer(prompt: LocatedInput, lm: LanguageModel, gen_args: Mapping[str, Any] | None = None) -> Tensor:
    """What the model goes on with, (K,), on the CPU, without the token that ends it.

    Args:
        prompt: what it follows.
        lm: the model.
        gen_args: arguments of ``model.generate``; None generates greedily, as Captum does, up to the end of the model's
            positions.

    Raises:
        ValueError: if it ends at once.
    """
    given = greedy(lm.room(len(prompt.ids))) if gen_args is None else gen_args
    given = {**turn_ends(prompt, lm.model), **given}
    beside = {} if prompt.media is None else _media(lm, prompt).tensors
    outputs = generated(lm.model, torch.tensor([prompt.ids], device="cpu"), **given, **beside)
    answer = without_end(lm.model, outputs, given)
    if answer.numel() == 0:
        ended = "ends the text at once" if outputs.numel() else "generated nothing"
        raise ValueError(
            f"The model {ended}: there is no output to explain. Pass a target with at least one token; the ids of its "
            "end token explain that it ends."
        )
    return answer


def turn_ends(prompt: LocatedInput, model: Any) -> dict[str, list[int]]:
    """What ``model.generate`` is told of where the answer to a chat ends; some models know the end of a text alone."""
    ends = getattr(prompt.inp, "end_of_turn", [])
    return {"eos_token_id": sorted({*ends, *end_tokens(model)})} if ends else {}


def _media(lm: LanguageModel, prompt: LocatedInput) -> Media:
    found = checked_media(lm, prompt.media or {}, len(prompt.ids), "The prompt")
    return Media({}) if found is None else found


def _fitting(outputs: Tensor, prompt: LocatedInput, lm: LanguageModel | None) -> Tensor:
    if lm is not None:
        check_length(lm, len(prompt.ids) + len(outputs) - 1)
    return outputs


def _checked(target: Any) -> Tensor:
    if not isinstance(target, Tensor | Sequence):
        raise TypeError(f"target must either be str or Tensor, text or token ids (K,), got {type(target).__name__}.")
    outputs = torch.as_tensor(target, device="cpu")
    if outputs.numel() == 0:
        raise ValueError(f"The target {target!r} encodes to no token: there is no output to explain.")
    if outputs.dtype not in (torch.int64, torch.int32):
        raise ValueError(f"target must be token ids, an integer tensor, got {outputs.dtype}.")
    if outputs.ndim != 1:
        raise ValueError(
            f"target must be text or token ids of shape (K,), got a tensor of shape {tuple(outputs.shape)}."
        )
    return outputs.long()


def target_ways(target: str, prompt: LocatedInput) -> list[list[int]]:
    """The token ids that a text may become behind the prompt: as it is, and with a space before it, if they differ."""
    text = prompt.text
    spaced = [] if not target or target[0].isspace() or text[-1:].isspace() else [f" {target}"]
    ways = [_continuation(way, text, prompt) for way in [target, *spaced]]
    return [way for i, way in enumerate(ways) if way not in ways[:i]]


def _continuation(target: str, text: str, prompt: LocatedInput) -> list[int]:
    """The token ids of ``target`` as they follow those of the prompt.

    Some tokenizers put a space before every text they are given: the target is then tokenized behind the prompt.
    """
    before = prompt.text_ids
    for special in (True, False):  # a chat has its special tokens in the text
        whole = list(prompt.tokenizer.encode(text + target, add_special_tokens=special))
        if whole[: len(before)] == before:
            return whole[len(before) :]
    return list(prompt.tokenizer.encode(target, add_special_tokens=False))


def _likely(lm: LanguageModel, prompt: LocatedInput, outputs: Tensor) -> float:
    """The log-probability of outputs after the prompt."""
    ids = torch.cat([torch.tensor(prompt.ids), outputs[:-1]]).to(lm.device)
    with lm.lock, lm.restored(), lm.evaluating():
        if prompt.media is None:
            log_probs = lm.log_probs_after([ids], len(outputs))[0]
        else:
            log_probs = media_logits(lm, ids, _media(lm, prompt), len(outputs)).log_softmax(-1)
    return log_probs.gather(1, outputs.to(log_probs.device)[:, None]).sum().item()
