"""How much attributions change when the embeddings of a prompt are moved a little."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from captum_heta.checks import check_count, check_seed, check_weight
from captum_heta.metrics.noise import noisy_embeddings
from captum_heta.models import LanguageModel
from captum_heta.prompts import check_ids

# Token ids (1, n) to attributions (1, n).
Explain = Callable[[Tensor], Tensor]


def gaussian_sensitivity(
    explain: Explain, model: Any, inputs: Tensor, *, noise: float = 0.1, n_draws: int = 10, seed: int = 0
) -> Tensor:
    """Relative change of the attributions under Gaussian noise on the prompt's embeddings; smaller is stabler.

    With a the attributions and a' those under noise, the mean over draws of norm2(a' - a) / norm2(a), in the manner of
    the sensitivity of Yeh et al. (2019, arXiv 1901.09392) and of the stress tests of Pramanik et al. (2026). Works with
    every method that calls the model, Captum's layer methods included: see `captum_heta.metrics.noisy_embeddings`.

    Args:
        explain: token ids (1, n) to attributions (1, n), of ``model``. Fix its target, which noise may otherwise
            change, and its seed, or its own draws are measured too.
        model: a model of Hugging Face transformers.
        inputs: (B, n) token ids, prompts of one length without padding, which are explained one at a time.
        noise: its standard deviation, as a part of that of the elements of the prompt's embeddings, >= 0.
        n_draws: how often noise is drawn.
        seed: of the noise. A prompt has the same noise in every batch; torch's global random state is not touched.

    Returns:
        (B,), not negative; NaN where all attributions are 0.

    Raises:
        ValueError: for arguments that do not fit, or an ``explain`` that does not return (1, n).
    """
    lm = LanguageModel(model)
    check_ids(lm, inputs)
    check_weight("noise", noise)
    check_count("n_draws", n_draws)
    check_seed(seed)
    seeds = np.random.SeedSequence(seed).generate_state(n_draws).tolist()
    return torch.stack([_of_prompt(explain, lm, row[None], noise, seeds) for row in inputs])


def _of_prompt(explain: Explain, lm: LanguageModel, ids: Tensor, noise: float, seeds: list[int]) -> Tensor:
    embeds = lm.embed(ids[0])
    scale = noise * embeds.float().std(correction=0)
    before = explained(explain, ids)
    changes = []
    for seed in seeds:
        generator = torch.Generator(device="cpu").manual_seed(seed)
        drawn = torch.randn(embeds.shape, generator=generator, dtype=torch.float32, device="cpu").to(embeds.device)
        with noisy_embeddings(lm.model, ids[0], scale * drawn):
            changes.append((explained(explain, ids) - before).norm())
    length = before.norm()
    return torch.where(length > 0, torch.stack(changes).mean() / length, math.nan)


def explained(explain: Explain, ids: Tensor) -> Tensor:
    """What ``explain`` gives for token ids (1, n), (1, n).

    Raises:
        ValueError: if it is something else.
    """
    found = explain(ids)
    if not isinstance(found, Tensor) or found.shape != ids.shape:
        form = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise ValueError(
            f"explain must return a tensor with one attribution a token, {tuple(ids.shape)}, got {form}. Sum "
            "attributions of embeddings over their last dimension."
        )
    return found.detach()
