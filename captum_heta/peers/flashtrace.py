"""FlashTrace (Pan et al., arXiv 2602.01914), by its authors' package."""

from typing import Any, ClassVar

import torch
from torch import Tensor

from captum_heta.attr.task import Task
from captum_heta.models.twin import twin
from captum_heta.options import Options
from captum_heta.peers.base import TextPeer
from captum_heta.peers.package import Package
from captum_heta.peers.texts import KnownTexts
from captum_heta.tokenizers import Tokenizer

PACKAGE = Package("FlashTrace", "flashtrace", "flashtrace")
_PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj")


def unreadable(model: Any) -> str:
    """Why FlashTrace cannot read a model, in one sentence; empty if it can."""
    layers = getattr(getattr(model, "model", None), "layers", None) or [None]
    if all(hasattr(getattr(layers[0], "self_attn", None), name) for name in _PROJECTIONS):
        return ""
    return (
        f"FlashTrace reads models that are built as Llama alone, and {type(model).__name__} is not: its layers have no "
        f"self_attn with {', '.join(_PROJECTIONS)}."
    )


def traced(model: Any, tokenizer: Tokenizer, ids: list[int], outputs: list[int], **options: Any) -> Any:
    """What ``flashtrace.FlashTrace.trace`` finds, for these very tokens.

    Args:
        model: which stays as it is.
        tokenizer: of the model.
        ids: of the prompt.
        outputs: the token ids that follow it.
        **options: those of ``trace``, such as ``hops`` and spans of the output.

    Raises:
        ImportError: without FlashTrace.
        TypeError: for a model that it does not read.
        RuntimeError: for what fails in it.
    """
    flashtrace = PACKAGE.imported()
    if reason := unreadable(model):
        raise TypeError(reason)
    texts = KnownTexts(tokenizer, ids)
    target = texts.add(outputs)
    given = twin(model)
    given.set_attn_implementation("eager")  # it asks the model for its attention, which no other tells
    with PACKAGE.at_work(model):
        found = flashtrace.FlashTrace(given, texts).trace(prompt=texts.prompt, target=target, **options)
        read = len(found.prompt_tokens), len(found.generation_tokens)
    if read != (len(ids), len(outputs)):
        raise ValueError(
            f"{PACKAGE.named} read {read[0]} tokens and {read[1]} behind them, and was given {len(ids)} and "
            f"{len(outputs)}: its scores would be of another text."
        )
    return found


class FlashTrace(TextPeer[Options]):
    """What reaches an output token along attention and the residual stream, by FlashTrace.

    As ``flashtrace.FlashTrace(model, tokenizer).trace(...)`` gives it with its defaults, one hop. It reads the stream
    at the output's own position, one behind the position that predicts it, and is here left so. Its tokens "," and "."
    and white space have no score and are not explained: among several outputs they have zeros. Outputs one by one are
    each a call, with those before as part of the prompt; together they are one call, and no sum.

    Args:
        forward_func: a causal language model of Hugging Face transformers that is built as Llama.
        tokenizer: of the model: FlashTrace looks at the text of tokens.

    Raises:
        ImportError: when it attributes, without FlashTrace.
        TypeError: without a tokenizer; when it attributes, for a model that is built otherwise.
        ValueError: when it attributes, if all outputs are of the tokens that it does not explain.
    """

    package: ClassVar[Package] = PACKAGE
    reads_last_output: ClassVar[bool] = True

    def _token_scores(self, task: Task, options: Options) -> Tensor:
        ids, outputs = task.input_ids.tolist(), task.outputs.tolist()
        if task.per_token:
            rows = [self._row(ids + outputs[:k], outputs[k : k + 1]) for k in range(len(outputs))]
        else:
            rows = [self._row(ids, outputs)]
        found = [row for row in rows if row is not None]
        if not found:
            raise ValueError(
                f"{self.package.named} explains no ',', '.' or white space, and the output "
                f"{self.tokenizer.decode(outputs)!r} is nothing else."
            )
        zeros = [0.0] * len(ids)
        scores = [zeros if row is None else row[: len(ids)] for row in rows]
        return torch.tensor(scores, dtype=torch.float32, device=task.input_ids.device)

    def _row(self, ids: list[int], outputs: list[int]) -> list[float] | None:
        """The scores of a prompt's tokens; None for outputs that are not explained."""
        found = traced(self.model, self.tokenizer, ids, outputs)
        # what it explains it tells the sum of; for the rest there is a matrix of NaN, which it tells as zeros
        return found.scores if "observation_projected" in found.metadata.get("ifr", {}) else None
