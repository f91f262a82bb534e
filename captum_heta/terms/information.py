"""What is lost with a token when its embedding is masked: of the whole prediction, I, or of the target's, D."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from captum_heta.features import Features
from captum_heta.models import Batch, Trace


@dataclass(frozen=True, eq=False)
class Masking:
    """What replaces tokens, and how many masked copies of the sequence run at once.

    Attributes:
        masked: (T, d), the embedding that replaces each token's.
        batch: masked copies in one pass.
        per_layer: (T, ...), what replaces each token's per-layer inputs, for models that have some.
        progress: called with the number of features done.
    """

    masked: Tensor
    batch: Batch
    per_layer: Tensor | None = None
    progress: Callable[[int], object] = lambda done: None


def information(trace: Trace, features: Features, masking: Masking) -> Tensor:
    """I[i] = KL(P_orig || P_masked(i)) in nats over the whole vocabulary (Pramanik et al. 2026, arXiv 2604.13258).

    Args:
        trace: the sequence.
        features: what is masked together.
        masking: by what.

    Returns:
        (K, F), float32 or better, non-negative.

    Raises:
        RuntimeError: if a divergence is not finite.
    """
    return _lost(trace, features, masking, divergence)


def target_information(
    trace: Trace, features: Features, masking: Masking, outputs: Tensor, contrast: Tensor | None = None
) -> Tensor:
    """f(X) - f(X with feature i masked), in nats, for f = log P(output), or log P(output) - log P(contrast).

    Negative where the feature speaks against the output.

    Args:
        trace: the sequence.
        features: what is masked together.
        masking: by what.
        outputs: (K,) token ids.
        contrast: (K,) token ids, or None.

    Returns:
        (K, F), float32 or better.

    Raises:
        RuntimeError: if a fall is not finite.
    """

    def explained(log_probs: Tensor) -> Tensor:  # (..., K, V) to (..., K)
        found = _of_tokens(log_probs, outputs)
        return found if contrast is None else found - _of_tokens(log_probs, contrast)

    return _lost(trace, features, masking, lambda original, changed: explained(original) - explained(changed))


@torch.no_grad()
def _lost(trace: Trace, features: Features, masking: Masking, measure: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """What a measure (K, V), (B, K, V) to (B, K) says of masked copies, (K, F).

    One pass over prompt and outputs serves every output; copies masked at neighbouring tokens share a batch and the
    cache of what precedes them.
    """
    lost = trace.log_probs.new_zeros(trace.n_outputs, len(features))

    def of_masked(names: Sequence[int]) -> Tensor:
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
            if masking.per_layer is None:
                raise ValueError("The sequence has per-layer inputs: pass what replaces those of a masked token.")
            per_layer = copies(trace.per_layer, masking.per_layer)
        log_probs = trace.rerun(copies(trace.embeds, masking.masked), start, trace.n_outputs, per_layer)
        masking.progress(len(names))
        return measure(trace.log_probs, log_probs)

    for names in features.batches():
        found = torch.cat(masking.batch.run(names, of_masked))
        lost[:, torch.tensor(names, device=lost.device)] = found.T
    if not torch.isfinite(lost).all():
        raise RuntimeError(
            f"The information of {type(trace.lm.model).__name__} is not finite: with a token masked it gives no "
            "number, or probability 0 to a token that was possible. Check its weights for NaN, or load it in float32."
        )
    return lost


def _of_tokens(log_probs: Tensor, ids: Tensor) -> Tensor:
    """The log-probability of one token at each of K places, (..., K, V) and (K,) to (..., K)."""
    return log_probs.gather(-1, ids.to(log_probs.device)[:, None].expand(*log_probs.shape[:-1], 1))[..., 0]


def divergence(original: Tensor, changed: Tensor) -> Tensor:
    """KL(original || changed) of log-probabilities (..., V), in nats, (...,); a token of probability 0 adds nothing."""
    terms = original.exp() * (original - changed)
    # rounding may put a sum of zeros just below 0
    return torch.where(original == -torch.inf, 0, terms).sum(-1).clamp(min=0)
