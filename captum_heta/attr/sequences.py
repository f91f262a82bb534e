"""What the methods that differentiate and mask share: a prompt and its outputs as one traced sequence."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from captum_heta.attr.base import Task
from captum_heta.features import Features
from captum_heta.models import Batch, CausalLM, Merged, Trace, merged, trace_of
from captum_heta.prompts import baseline_embeddings, baseline_ids, check_predictions, targets
from captum_heta.terms.curvature import check_gradients, check_second_derivatives
from captum_heta.terms.information import Masking

FIRST_DERIVATIVES = ("fisher", "gradient")


@dataclass(frozen=True, eq=False)
class TaskSequence:
    """Neighbouring outputs of a task that the model all reads in one way, behind their prompt.

    Attributes:
        lm: the model, ready.
        task: the task.
        some: which of its outputs.
        contrast: (K,) token ids for all outputs of the task, or None.
    """

    lm: CausalLM
    task: Task
    some: range
    contrast: Tensor | None = None

    @property
    def outputs(self) -> Tensor:
        """(K,), the outputs that are explained."""
        return self.task.outputs[self.some.start : self.some.stop]

    @property
    def others(self) -> Tensor | None:
        """(K,), what they are compared with."""
        return None if self.contrast is None else self.contrast[self.some.start : self.some.stop]

    @cached_property
    def ids(self) -> Tensor:
        """(T,), the prompt and all outputs but the last."""
        return torch.cat([self.task.input_ids, self.task.outputs[: self.some.stop - 1]])

    @property
    def sources(self) -> Features:
        """The task's features, and behind them the outputs read so far where each output has those before it."""
        task = self.task
        if not (task.earlier and task.per_token):
            return task.features
        return Features(task.features.groups + task.output_features.before(len(self.ids)).groups)

    @cached_property
    def read(self) -> Merged:
        """What the layers read: embeddings (T, d) and positions."""
        positions = self.task.position_ids
        if positions is not None:
            later = positions[-1] + torch.arange(1, len(self.ids) - len(positions) + 1, device=positions.device)
            positions = torch.cat([positions, later])
        if self.task.media is None:
            return Merged(self.lm.embed(self.ids), positions)
        return merged(self.lm, self.ids, self.task.media, positions)

    @property
    def embeds(self) -> Tensor:
        """(T, d)."""
        return self.read.embeds

    @cached_property
    def per_layer(self) -> Tensor | None:
        """What the layers read of the token ids beside the embeddings; None for most models."""
        return self.lm.per_layer(self.ids)

    def traced(self, residuals: bool = False, published: bool = False) -> Trace:
        """One pass over it, whose predictions are checked; see `captum_heta.models.trace_of`.

        Raises:
            RuntimeError: if they are no numbers.
            ValueError: if an output, or what it is compared with, has the probability 0.
        """
        trace = self.unchecked(residuals, published)
        check_predictions(self.lm, trace.log_probs, self.outputs)
        if self.others is not None:
            check_predictions(self.lm, trace.log_probs, self.others)
        return trace

    def unchecked(self, residuals: bool = False, published: bool = False) -> Trace:
        """As `traced`, whatever it predicts."""
        embeds, positions, rereading = self.read
        return trace_of(
            self.lm,
            embeds,
            len(self.outputs),
            position_ids=positions,
            per_layer=self.per_layer,
            residuals=residuals,
            published=published,
            rereading=rereading,
        )

    def masking(self, baselines: Any, batch: Batch, progress: Callable[[int], object]) -> Masking:
        """What replaces the prompt's tokens, and where they are sources the outputs'.

        Raises:
            ValueError: for baselines that do not fit, and for an id for each token where outputs are sources too.
        """
        prompt = self.embeds[: len(self.task.input_ids)]
        masked = self._extended(baseline_embeddings(self.lm, prompt, baselines), self.embeds, baselines)
        per_layer = self.per_layer
        if per_layer is not None:
            replacing = self.lm.per_layer(baseline_ids(self.lm, prompt, baselines))
            assert replacing is not None
            per_layer = self._extended(replacing, per_layer, baselines)
        return Masking(masked, batch, per_layer, progress)

    def _extended(self, replacing: Tensor, whole: Tensor, baselines: Any) -> Tensor:
        """What replaces the prompt's tokens (n, ...), and behind it what replaces the outputs' (T, ...)."""
        count = len(replacing)
        if not self.task.earlier:
            return torch.cat([replacing, whole[count:]])
        if isinstance(baselines, Tensor) and baselines.numel() > 1:
            raise ValueError(
                f"baselines has {baselines.numel()} token ids, one for each token of the prompt, and none for the "
                "outputs, which are sources here too: pass one id for all."
            )
        return torch.cat([replacing, replacing[-1:].expand(len(whole) - count, *replacing.shape[1:])])


def sequences(lm: CausalLM, task: Task, contrast: Any = None) -> list[TaskSequence]:
    """The outputs of a task as few sequences.

    Raises:
        ValueError: for outputs together that no one sequence has, positions that the model ignores, and a contrast that
            does not fit.
    """
    if task.position_ids is not None:
        lm.check_position_ids()
    alike = lm.alike(len(task.input_ids), len(task.outputs))
    if not task.per_token and len(alike) > 1:
        raise ValueError(
            f"The answer crosses a length at which the rotary embedding of {type(lm.model).__name__} changes "
            f"(after its output {alike[0].stop}): its outputs have no function in common. Explain each by itself, "
            "with per_token=True."
        )
    others = None if contrast is None else _fitting(contrast, task.outputs)
    return [TaskSequence(lm, task, some, others) for some in alike]


def _fitting(contrast: Any, outputs: Tensor) -> Tensor:
    others = torch.as_tensor(contrast, device=outputs.device).flatten()
    if len(others) != len(outputs):
        raise ValueError(
            f"contrast has {len(others)} token ids and the target {len(outputs)}: each output token is compared with "
            "one in its place, given the target's before it. Pass as many; a text as contrast is cut where they differ."
        )
    if torch.equal(others, outputs):
        raise ValueError(f"contrast is the target itself, {outputs.tolist()}: there is no difference to explain.")
    return others


class Tested:
    """Whether a model's derivatives are right, found out once for a method; quantized ones may have none."""

    def __init__(self, lm: CausalLM) -> None:
        self.lm = lm
        self._first = self._second = not lm.is_quantized

    def check(self, mode: str) -> None:
        """Raise TypeError if the derivatives that a mode of the curvature takes are wrong."""
        if not self._first:
            check_gradients(self.lm)
            self._first = True
        if not self._second and mode not in FIRST_DERIVATIVES:
            check_second_derivatives(self.lm)
            self._second = True


def contrast_of_row(lm: CausalLM, contrast: Any, rows: int, row: int) -> Tensor | None:
    """The part of a batch's contrast that is for one prompt, (1,)."""
    return None if contrast is None else targets(lm, contrast, rows, "contrast")[row]
