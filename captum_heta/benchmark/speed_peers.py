"""Methods of other packages, which are timed where these are installed: Inseq 0.7 and FlashTrace 0.1.

Both read text, and go with transformers 5.
"""

from collections.abc import Callable
from contextlib import nullcontext
from importlib.util import find_spec
from typing import Any, NamedTuple

from captum_heta.benchmark.speed_prompt import Subject
from captum_heta.benchmark.speed_table import Cost
from captum_heta.models import CausalLM

_PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj")


class Peer(NamedTuple):
    """A method of another package.

    Attributes:
        title: its name in the table.
        package: what it is imported from.
    """

    title: str
    package: str


PEERS = {"inseq": Peer("Inseq, saliency", "inseq"), "flashtrace": Peer("FlashTrace", "flashtrace")}


def missing(names: list[str], subjects: list[Subject]) -> str:
    """Why some of the peers are in no row; empty if all are.

    Args:
        names: keys of `PEERS` that were asked for.
        subjects: the prompts.
    """
    reasons = []
    for name in names:
        title, package = PEERS[name]
        if find_spec(package) is None:
            reasons.append(f"{title}: not installed (pip install {package})")
        elif not all(subject.text for subject in subjects):
            reasons.append(f"{title}: reads text, give --model")
        elif name == "flashtrace" and not all(_of_llama(subject.model) for subject in subjects):
            reasons.append(f"{title}: reads models that are built as Llama alone")
    return f"Without {'; '.join(reasons)}." if reasons else ""


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
    if missing([name], [subject]):
        return None
    assert subject.text is not None
    # FlashTrace asks the model for its attention, which the eager one alone tells
    with CausalLM(subject.model).ready() if name == "flashtrace" else nullcontext():
        made = _flashtrace if name == "flashtrace" else _saliency
        call = made(subject.model, subject.tokenizer, subject.text, subject.answer)
        if warm:
            call()
        return Cost(time(call))


def _saliency(model: Any, tokenizer: Any, text: str, answer: str) -> Callable[[], object]:
    import inseq

    wrapped = inseq.load_model(model, "saliency", tokenizer=tokenizer)
    return lambda: wrapped.attribute(text, text + answer, show_progress=False, step_scores=[])


def _flashtrace(model: Any, tokenizer: Any, text: str, answer: str) -> Callable[[], object]:
    from flashtrace import FlashTrace

    return lambda: FlashTrace(model, tokenizer).trace(prompt=text, target=answer, output_span=(0, 0))


def _of_llama(model: Any) -> bool:
    layers = getattr(getattr(model, "model", None), "layers", None) or [None]
    return all(hasattr(getattr(layers[0], "self_attn", None), name) for name in _PROJECTIONS)
