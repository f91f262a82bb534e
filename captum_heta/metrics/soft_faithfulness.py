"""Soft sufficiency and comprehensiveness: the more important a token, the less, or the more, of it is removed.

From Zhao and Aletras (TACL 2023, arXiv 2305.10496), for next-token distributions as in Zhao and Shan (2024,
arXiv 2402.00794). No threshold decides which tokens count as important.

How much is kept depends on how peaked the attributions are, and the metrics with it. Huang and Chan (2026,
arXiv 2601.03089) therefore compare methods at the same expected part of what is kept: ``retain``.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from captum_heta.checks import check_count, check_part, check_seed
from captum_heta.metrics.inputs import ScoredPrompt, over_rows
from captum_heta.models import Batch, LanguageModel
from captum_heta.signatures import taking_those_of

_OF_METRIC = ("n_draws", "seed", "retain", "relative_to_random")


def soft_ns(
    model: Any,
    inputs: Tensor,
    attributions: Tensor,
    *,
    additional_forward_args: Any = None,
    fixed: Tensor | None = None,
    n_draws: int = 10,
    seed: int = 0,
    retain: float | None = None,
    relative_to_random: bool = False,
    perturbations_per_eval: int | None = None,
) -> Tensor:
    """Soft normalised sufficiency: how much of the prediction is left when tokens are kept by their importance.

    With a the magnitudes of a prompt's attributions over their maximum, each element of token i's embedding is kept
    with probability a_i, and set to zero otherwise. With H the Hellinger distance of the next-token distribution from
    that of the prompt, and H_0 that of a prompt of zeros:

        Soft-NS = max(0, H_0 - H) / H_0

    as a mean over draws, in [0, 1]; larger is better. Attributions of zeros keep nothing and have 0.

    Args:
        model: a causal language model of Hugging Face transformers.
        inputs: (B, n) token ids.
        attributions: (B, n). Signed ones count by magnitude.
        additional_forward_args: the attention mask (B, n) for padded prompts, or a tuple of it and position ids, or a
            dictionary with these names. What padding is attributed is not read.
        fixed: bool that broadcasts to (B, n), True for tokens that are never masked, such as the one that begins every
            text or an output before the explained one. They stay in the prompt of zeros too, and what they are
            attributed counts for nothing, the maximum included.
        n_draws: random masks that are averaged.
        seed: of all draws, which differ from prompt to prompt. A prompt has the same in every batch and for every
            method; torch's global random state is not touched.
        retain: the part of the elements that is kept on average, in (0, 1). The a_i are multiplied by a factor and
            clipped at 1 to give it; where fewer tokens than that have an attribution, those are kept (or removed) whole
            and the others evenly. None takes them as they are, so that attributions decide how much is kept.
        relative_to_random: divide by the mean of as many random attributions, uniform in [0, 1), under the same masks'
            draws. Random attributions have a ratio of about 1; with few draws it is noisy.
        perturbations_per_eval: masked copies in one pass; None fits them to a memory budget.

    Returns:
        (B,). NaN where a prompt of zeros predicts the same as the prompt (all its tokens are fixed, or the model
        ignores them), up to rounding in the model's precision. With ``relative_to_random``, NaN also where random
        attributions have 0: nothing is so many times that.

    Raises:
        TypeError: if the model does not predict the next token.
        ValueError: for arguments that do not fit; the message says what would.
    """

    def quality(distances: Tensor, farthest: Tensor) -> Tensor:
        return (farthest - distances).clamp(min=0) / farthest

    metric = _Metric(False, quality, n_draws, seed, retain, relative_to_random)
    rest = (additional_forward_args, fixed, perturbations_per_eval)
    return over_rows(metric.of_row, model, inputs, attributions, *rest)


@taking_those_of(soft_ns)
def soft_nc(model: Any, inputs: Tensor, attributions: Tensor, **options: Any) -> Tensor:
    """Soft normalised comprehensiveness: how far the prediction moves when tokens are removed by their importance.

    As `soft_ns`, but each element of token i's embedding is kept with probability 1 - a_i, and

        Soft-NC = H / H_0

    Not negative; 1 is as far as the prompt of zeros is, and more is possible. Larger is better. Attributions of zeros
    remove nothing and have 0.

    Args:
        model: a causal language model of Hugging Face transformers.
        inputs: (B, n) token ids.
        attributions: (B, n).
        **options: as there; the 1 - a_i have the mean ``retain``.

    Returns:
        (B,), NaN where `soft_ns` is for the same reasons.

    Raises:
        TypeError: if the model does not predict the next token.
        ValueError: for arguments that do not fit; the message says what would.
    """
    quality = (options.pop(name) for name in _OF_METRIC)
    metric = _Metric(True, lambda distances, farthest: distances / farthest, *quality)
    return over_rows(metric.of_row, model, inputs, attributions, **options)


def hellinger(one: Tensor, other: Tensor) -> Tensor:
    """Hellinger distance of distributions from their log-probabilities, (..., V) and (..., V) to (...), in [0, 1]."""
    return ((one / 2).exp() - (other / 2).exp()).norm(dim=-1) / math.sqrt(2)


class _Metric:
    """Random masks, and what is made of the distances under them.

    Args:
        removes: whether important tokens are removed, or kept.
        quality: from the distances under masks, and that of the prompt of zeros, to the metric.
        n_draws: masks.
        seed: of them.
        retain: the mean of the probabilities with which elements are kept; None for what the attributions give.
        relative: whether to divide by what random attributions have.
    """

    def __init__(
        self,
        removes: bool,
        quality: Callable[[Tensor, Tensor], Tensor],
        n_draws: int,
        seed: int,
        retain: float | None,
        relative: bool,
    ) -> None:
        check_count("n_draws", n_draws)
        check_seed(seed)
        if retain is not None:
            check_part("retain", retain, "the elements")
        self.removes, self.quality, self.n_draws, self.seed = removes, quality, n_draws, seed
        self.retain, self.relative = retain, relative

    def of_row(self, lm: LanguageModel, number: int, row: ScoredPrompt, batch: Batch) -> Tensor:
        """The metric of one prompt."""
        kept = self._kept(row.scores, row.free).expand(self.n_draws, -1)
        # draws that follow from the prompt: chance then cancels over many prompts, and methods share it on each
        entropy = np.random.SeedSequence([self.seed, *row.prompt.ids.tolist()])
        *mask_seeds, scores_seed = entropy.generate_state(self.n_draws + 1).tolist()
        probabilities, seeds = [torch.zeros_like(kept[:1]), kept], [0, *mask_seeds]
        if self.relative:
            generator = torch.Generator(device="cpu").manual_seed(scores_seed)
            random = torch.rand(kept.shape, generator=generator, dtype=torch.float64, device="cpu").to(kept.device)
            probabilities.append(self._kept(random, row.free))
            seeds += mask_seeds
        distances = _distances(lm, row, torch.cat(probabilities), seeds, batch)
        farthest = distances[0]
        # two passes over the same prompt in batches of different sizes differ by rounding
        if farthest <= 10 * torch.finfo(row.embeds.dtype).eps:
            return torch.full_like(farthest, math.nan)
        found = self.quality(distances[1:], farthest).unflatten(0, (-1, self.n_draws)).mean(1)
        if not self.relative:
            return found[0]
        return torch.where(found[1] > 0, found[0] / found[1], math.nan)

    def _kept(self, scores: Tensor, free: Tensor) -> Tensor:
        """The probabilities with which elements are kept, of the shape of scores (..., n)."""
        importances = _importances(scores, free)
        if self.retain is not None:
            importances = _with_mean(importances, free, 1 - self.retain if self.removes else self.retain)
        return 1 - importances if self.removes else importances


def _with_mean(importances: Tensor, free: Tensor, mean: float) -> Tensor:
    """Importances (..., n) times the factor with which, clipped at 1, those of the free tokens have this mean.

    Where too few are above 0 for that, they become 1 and the others share what is missing evenly.
    """
    wanted = mean * free.sum()
    # with the k largest at 1, the factor gives the rest of the mean to the others; the right k is the first that clips
    # no more than these
    ordered = importances.sort(-1, descending=True).values
    rest = ordered.flip(-1).cumsum(-1).flip(-1)
    factors = (
        ((wanted - torch.arange(len(free), device=rest.device)) / rest).nan_to_num(posinf=0, neginf=0).clamp(min=0)
    )
    first = (factors * ordered <= 1).int().argmax(-1, keepdim=True)
    scaled = (importances * factors.gather(-1, first)).clamp(max=1)
    ones = (importances > 0).to(importances)
    count = ones.sum(-1, keepdim=True)
    even = torch.where(importances > 0, 1, (wanted - count) / (free.sum() - count).clamp(min=1)) * free
    return torch.where(count <= wanted, even, scaled)


def _importances(scores: Tensor, free: Tensor) -> Tensor:
    """Scores (..., n) over the maximum of the free tokens', in [0, 1]; 0 where that maximum is 0."""
    scores = scores * free
    most = scores.amax(-1, keepdim=True)
    return torch.where(most > 0, scores / most, 0)


def _distances(lm: LanguageModel, row: ScoredPrompt, kept: Tensor, seeds: list[int], batch: Batch) -> Tensor:
    """Distances (R,) from the prompt's prediction when elements are kept with probabilities (R, n)."""
    positions = row.prompt.position_ids
    whole = lm.log_probs(row.embeds[None], positions)[:, 0]
    kept = torch.where(row.free, kept, 1)

    def distances(draws: Sequence[int]) -> Tensor:
        # masks are made here, a batch of them at a time: all would take as much memory as all copies
        copies = [torch.where(_uniform(row.embeds, seeds[draw]) < kept[draw, :, None], row.embeds, 0) for draw in draws]
        return hellinger(lm.log_probs(torch.stack(copies), positions)[:, 0], whole)

    return torch.cat(batch.run(range(len(seeds)), distances))


def _uniform(like: Tensor, seed: int) -> Tensor:
    """Uniform in [0, 1), of the shape of ``like``; drawn on the CPU, so that every device has the same."""
    generator = torch.Generator(device="cpu").manual_seed(seed)
    return torch.rand(like.shape, generator=generator, dtype=torch.float32, device="cpu").to(like.device)
