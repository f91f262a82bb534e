"""How likely a whole answer of several tokens is when tokens of its prompt are masked."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from captum_heta.metrics.inputs import ScoredPrompt
from captum_heta.models import Batch, LanguageModel
from captum_heta.prompts import (
    Baselines,
    baseline_embeddings,
    baselines_of_row,
    check_length,
    check_predictions,
    check_targets,
)


class Answers:
    """The answers to a batch of prompts, and what masks the prompts.

    Args:
        inputs: (B, n), all prompts.
        target: as in `captum_heta.metrics.insertion`.
        baselines: as there.
    """

    def __init__(self, inputs: Tensor, target: Any, baselines: Baselines) -> None:
        self.inputs, self.target, self.baselines = inputs, target, baselines

    def of_row(self, lm: LanguageModel, number: int, row: ScoredPrompt, batch: Batch) -> "Answer":
        """The answer to one prompt; without a target the model's likeliest next token."""
        outputs = _answers(lm, self.target, len(self.inputs))[number]
        mine = baselines_of_row(self.baselines, self.inputs, number, row.prompt.places)
        replaced = baseline_embeddings(lm, row.embeds, mine)
        if outputs is None:
            outputs = lm.log_probs(row.embeds[None], row.prompt.position_ids)[0].argmax(-1)
        return Answer(lm, row, outputs, replaced, batch)


class Answer:
    """One answer.

    Args:
        lm: the model, within `LanguageModel.evaluating`.
        row: the prompt.
        outputs: (K,), the answer's token ids.
        replaced: (n, d), what masks each token.
        batch: how many copies of the prompt go through the model at once; unless a person chose that, as many as fit
            the memory budget with the answer behind them.

    Raises:
        RuntimeError: if the model predicts NaN after the prompt.
        ValueError: if it gives the answer the probability 0, or prompt and answer are too long for it.
    """

    def __init__(self, lm: LanguageModel, row: ScoredPrompt, outputs: Tensor, replaced: Tensor, batch: Batch) -> None:
        self.length, self.count = len(row.embeds), len(outputs)
        check_length(lm, self.length + self.count - 1)
        self.lm, self.row, self.outputs, self.replaced = lm, row, outputs, replaced
        self.following = lm.embed(outputs[:-1])
        self.batch = batch if batch.chosen else Batch(lm.batch_size(self.length + self.count - 1, self.count))
        self.positions = row.prompt.position_ids
        if self.positions is not None:
            after = torch.arange(1, self.count, device=self.positions.device)
            self.positions = torch.cat([self.positions, self.positions[-1] + after])
        check_predictions(lm, self._predictions(torch.zeros_like(row.free)[None])[0], outputs)

    def log_probs(self, masks: Tensor) -> Tensor:
        """Log-probabilities of the answer, sums over its tokens, when tokens are masked, (R, n) bool to (R,)."""
        return torch.cat(self.batch.run(masks, self._log_probs))

    def _log_probs(self, masks: Tensor) -> Tensor:
        outputs = self.outputs.expand(len(masks), -1)[..., None]
        return self._predictions(masks).gather(-1, outputs)[..., 0].double().sum(-1)

    def _predictions(self, masks: Tensor) -> Tensor:
        """(R, n) bool to the predictions of each token of the answer, (R, K, V)."""
        copies = torch.where(masks[..., None], self.replaced, self.row.embeds)
        copies = torch.cat([copies, self.following.expand(len(copies), -1, -1)], dim=1)
        found = []
        for some in self.lm.alike(self.length, self.count):
            stop = self.length + some[-1]
            positions = None if self.positions is None else self.positions[:stop]
            found.append(self.lm.log_probs(copies[:, :stop], positions, keep=len(some)))
        return torch.cat(found, dim=1)


def _answers(lm: LanguageModel, target: Any, count: int) -> Sequence[Tensor | None]:
    """One answer a row, each (K,), or None for the model's own choice.

    Raises:
        ValueError: for answers that are not as many as the rows, that have no token, or ids the model does not predict.
    """
    if target is None:
        return [None] * count
    several = _one_a_row(target)
    given = list(target) if several else [target] * count
    if len(given) != count:
        raise ValueError(f"target has {len(given)} answers for {count} prompts: give one answer, or one a prompt.")
    found = []
    for answer in given:
        ids = torch.as_tensor(answer, device=lm.device)
        if ids.ndim > 1 or ids.numel() == 0:
            raise ValueError(
                f"An answer must be one token id or at least one, (K,), got shape {tuple(ids.shape)} in target."
            )
        check_targets(lm, ids)
        found.append(ids.reshape(-1).to(torch.int64))
    return found


def _one_a_row(target: Any) -> bool:
    """Whether a target has an answer for each prompt, rather than one for all."""
    if isinstance(target, Tensor):
        return target.ndim > 1
    if not isinstance(target, Sequence) or len(target) == 0:
        return False
    return all(one.ndim > 0 if isinstance(one, Tensor) else isinstance(one, Sequence) for one in target)
