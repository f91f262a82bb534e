"""I, the information lost with a token: how far the prediction moves when its embedding is masked."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from captum_heta.features import Features
from captum_heta.models import Batch, Trace


@torch.no_grad()
def information(
    trace: Trace,
    features: Features,
    masked: Tensor,
    batch: Batch,
    progress: Callable[[int], object] = lambda done: None,
    masked_per_layer: Tensor | None = None,
) -> Tensor:
    """I[i] = KL(P_orig || P_masked(i)) in nats over the whole vocabulary (Pramanik et al. 2026, arXiv 2604.13258).

    One pass over prompt and outputs serves every output; copies masked at neighbouring tokens share a batch
    and the cache of what precedes them.

    Args:
        trace: the sequence.
        features: what is masked together.
        masked: (T, d), the embedding that replaces each token's.
        batch: masked copies in one pass.
        progress: called with the number of features done.
        masked_per_layer: (T, ...), what replaces each token's per-layer inputs, for models that have some.

    Returns:
        (K, F), float32 or better, non-negative.

    Raises:
        RuntimeError: if a divergence is not finite.
    """
    lost = trace.log_probs.new_zeros(trace.n_outputs, len(features))

    def divergences(names: Sequence[int]) -> Tensor:
        first = features.groups[names[0]][0]
        start = trace.first_run(min(first, int(trace.output_positions[0])))  # where the first output is predicted

        def copies(rows: Tensor, replacing: Tensor) -> Tensor:
            found = rows[start:].expand(len(names), *rows[start:].shape).clone()
            for row, name in zip(found, names, strict=True):
                tokens = torch.tensor(features.groups[name], device=rows.device)
                row[tokens - start] = replacing[tokens]
            return found

        per_layer = None
        if trace.per_layer is not None:
            if masked_per_layer is None:
                raise ValueError("The sequence has per-layer inputs: pass what replaces those of a masked token.")
            per_layer = copies(trace.per_layer, masked_per_layer)
        log_probs = trace.rerun(copies(trace.embeds, masked), start, trace.n_outputs, per_layer)
        progress(len(names))
        return divergence(trace.log_probs, log_probs)

    for names in features.batches():
        found = torch.cat(batch.run(names, divergences))
        lost[:, torch.tensor(names, device=lost.device)] = found.T
    if not torch.isfinite(lost).all():
        raise RuntimeError(
            f"The information of {type(trace.lm.model).__name__} is not finite: with a token masked it gives no "
            "number, or probability 0 to a token that was possible. Check its weights for NaN, or load it in float32."
        )
    return lost


def divergence(original: Tensor, changed: Tensor) -> Tensor:
    """KL(original || changed) of log-probabilities (..., V), in nats, (...,); a token of probability 0 adds nothing."""
    terms = original.exp() * (original - changed)
    # rounding may put a sum of zeros just below 0
    return torch.where(original == -torch.inf, 0, terms).sum(-1).clamp(min=0)
