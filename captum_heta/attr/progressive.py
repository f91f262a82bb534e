"""Methods that read the target's probability from position to position: TDD and progressive inference."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from captum_heta.attr.base import OutputAttributions, Task, TokenAttribution, attributions
from captum_heta.models import Batch
from captum_heta.options import BatchOptions, Options
from captum_heta.prompts import check_vocabulary

DIRECTIONS = ("forward", "backward", "bidirectional")


@dataclass(frozen=True, kw_only=True)
class TDDOptions(BatchOptions):
    """Those of `TDD`.

    Attributes:
        direction: "forward", "backward" or "bidirectional".
        alternatives: token ids that the target is contrasted with, (A,) for all outputs or (K, A); their probabilities
            are added. None explains the target's probability alone.
    """

    direction: str = "bidirectional"
    alternatives: int | list[int] | Tensor | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.direction not in DIRECTIONS:
            raise ValueError(f"direction must be one of {', '.join(DIRECTIONS)}, got {self.direction!r}.")


class TDD(TokenAttribution[TDDOptions]):
    """Token distribution dynamics (Feng et al., ICLR 2024, arXiv 2405.11891), signed.

    With r the probability of the target less that of the alternatives, over the whole vocabulary:

    - "forward": what token i adds to r when the prompt is read up to it, r(x_1..x_i) - r(x_1..x_{i-1});
    - "backward": what it adds when the text from it to the end is read alone, r(x_i..x_n) - r(x_{i+1}..x_n);
    - "bidirectional": their sum.

    r of no text is 0, so that the scores of all tokens sum to r of the whole in either direction. The authors' code
    takes a softmax over target and alternative alone; this is the paper's reading. Forward costs one pass, backward n.

    Args:
        forward_func: a causal language model of Hugging Face transformers.
    """

    def _scores(self, task: Task, options: TDDOptions) -> OutputAttributions:
        outputs, n = task.outputs, len(task.input_ids)
        foils = _foils(options.alternatives, outputs)
        check_vocabulary("alternatives", foils, self._lm)
        ids = torch.cat([task.input_ids, outputs[:-1]])
        log_probs = self._lm.log_probs_at_prefixes(ids)
        scores = torch.zeros(len(outputs), len(ids), dtype=log_probs.dtype, device=ids.device)
        if options.direction != "backward":
            scores += _steps(_contrast(log_probs[None].expand(len(outputs), -1, -1), outputs, foils))
        if options.direction != "forward":
            batch = self._batch(options, len(ids), len(outputs))
            scores += self._backward(ids, outputs, foils, batch)
        return attributions(scores, task.features, log_probs[n - 1 :], outputs)

    def _options_of_output(self, options: TDDOptions, number: int) -> TDDOptions:
        foils = torch.as_tensor([] if options.alternatives is None else options.alternatives)
        return (
            replace(options, alternatives=foils[number : number + 1]) if foils.ndim == 2 and len(foils) > 1 else options
        )

    def _backward(self, ids: Tensor, outputs: Tensor, foils: Tensor, batch: Batch) -> Tensor:
        """(K, T): what each token of the prompt adds to the text after it."""
        count = len(outputs)
        n = len(ids) - count + 1

        def alone(starts: Sequence[int]) -> Tensor:
            log_probs = self._lm.log_probs_after([ids[start:] for start in starts], count)
            return _contrast(log_probs.transpose(0, 1), outputs, foils)

        r = torch.cat(batch.run(range(n), alone), dim=1)
        after = torch.zeros_like(r[:, :1])
        if count > 1:  # the outputs before, alone; nothing before the first
            log_probs = self._lm.log_probs_after([ids[n:]], count - 1)
            after[1:] = _contrast(log_probs.transpose(0, 1), outputs[1:], foils[1:])
        return torch.nn.functional.pad(r - torch.cat([r[:, 1:], after], dim=1), (0, len(ids) - n))


class ProgressiveInference(TokenAttribution[Options]):
    """The change of the target's probability from position to position (SP-PI of Kariyappa et al., ICML 2024).

    score_i = P(target | x_1..x_i) - P(target | x_1..x_{i-1}), the latter 0 for the first token (arXiv 2406.02625). The
    paper reads classifiers in this way; here the class is the next token. Scores of all tokens sum to the target's
    probability. One pass; the paper's variant of several masked passes (MP-PI) is not implemented.

    Args:
        forward_func: a causal language model of Hugging Face transformers.
    """

    def _scores(self, task: Task, options: Options) -> OutputAttributions:
        # TDD, forward and without alternatives
        log_probs = self._lm.log_probs_at_prefixes(torch.cat([task.input_ids, task.outputs[:-1]]))
        targets = log_probs.exp()[:, task.outputs].T
        return attributions(_steps(targets), task.features, log_probs[len(task.input_ids) - 1 :], task.outputs)


def _foils(alternatives: Any, outputs: Tensor) -> Tensor:
    """(K, A)."""
    if alternatives is None:
        return outputs.new_empty(len(outputs), 0)
    foils = torch.as_tensor(alternatives, device=outputs.device)
    foils = foils.reshape(1, -1) if foils.ndim < 2 else foils
    if foils.dtype not in (torch.int64, torch.int32) or foils.ndim != 2 or len(foils) not in (1, len(outputs)):
        raise ValueError(
            f"alternatives must be token ids, (A,) or one row for each of the {len(outputs)} outputs, got "
            f"{tuple(foils.shape)} {foils.dtype}."
        )
    return foils.expand(len(outputs), -1).long()


def _contrast(log_probs: Tensor, outputs: Tensor, foils: Tensor) -> Tensor:
    """What r is, (K, P), from predictions (K, P, V)."""
    wanted = torch.cat([outputs[:, None], foils], dim=1)[:, None].expand(-1, log_probs.shape[1], -1)
    probs = log_probs.gather(-1, wanted).exp()
    return probs[..., 0] - probs[..., 1:].sum(-1)


def _steps(values: Tensor) -> Tensor:
    """Differences along the last dimension, from 0 on."""
    return values.diff(dim=-1, prepend=torch.zeros_like(values[..., :1]))
