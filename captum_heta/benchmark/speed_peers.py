"""Methods of other packages, which are timed where these are installed."""

from collections.abc import Callable

import torch

from captum_heta.benchmark.speed_prompt import Subject
from captum_heta.benchmark.speed_table import Cost
from captum_heta.methods import PEERS as METHODS
from captum_heta.peers.flashtrace import unreadable

PEERS = {name: METHODS[name].title for name in ("inseq_saliency", "flashtrace")}


def missing(names: list[str], subjects: list[Subject]) -> str:
    """Why some of the peers are in no row; empty if all are.

    Args:
        names: keys of `PEERS` that were asked for.
        subjects: the prompts.
    """
    reasons = [_missing(name, subject) for name in names for subject in subjects]
    told = dict.fromkeys(reason for reason in reasons if reason)
    return f"Without {'; '.join(told)}." if told else ""


def peer_cost(
    name: str, subject: Subject, time: Callable[[Callable[[], object]], float], warm: bool = False
) -> Cost | None:
    """What a peer takes for the first output token; None if it is not installed or cannot read this prompt or model.

    Args:
        name: a key of `PEERS`.
        subject: the model and the prompt.
        time: from a call to its seconds.
        warm: call it once before.
    """
    if _missing(name, subject):
        return None
    method = METHODS[name].make(subject.model, subject.tokenizer)
    target = torch.tensor([subject.target], device=subject.ids.device)

    def call() -> object:
        return method.attribute_outputs(subject.ids, target, subject.features)

    if warm:
        call()
    return Cost(time(call))


def _missing(name: str, subject: Subject) -> str:
    """Why a peer is not timed on a prompt, after its title."""
    method = METHODS[name]
    reason = method.type.package.missing
    if not reason and method.of_tokenizer and subject.tokenizer is None:
        reason = "it looks at the text of tokens, give --model"
    if not reason and name == "flashtrace":
        reason = unreadable(subject.model)
    return f"{PEERS[name]}: {reason.rstrip('.')}" if reason else ""
