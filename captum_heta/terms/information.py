"""I, the information lost with a token: how far the prediction moves when its embedding is masked."""

from collections.abc import Callable

import torch
from torch import Tensor

from captum_heta.features import Features
from captum_heta.models import Trace


@torch.no_grad()
def information(
    trace: Trace,
    features: Features,
    masked: Tensor,
    batch_size: int,
    progress: Callable[[int], object] = lambda done: None,
) -> Tensor:
    """I[i] = KL(P_orig || P_masked(i)) in nats over the whole vocabulary (Pramanik et al. 2026, arXiv 2604.13258).

    One pass over prompt and outputs serves every output; copies masked at neighbouring tokens share a batch
    and the cache of what precedes them.

    Args:
        trace: the sequence.
        features: what is masked together.
        masked: (T, d), the embedding that replaces each token's.
        batch_size: masked copies in one pass.
        progress: called with the number of features done.

    Returns:
        (K, F), float32 or better, non-negative.
    """
    lost = trace.log_probs.new_zeros(trace.n_outputs, len(features))
    for batch in features.batches(batch_size):
        start = min(features.groups[batch[0]][0], int(trace.output_positions[0]))  # where the first output is predicted
        copies = trace.embeds[start:].repeat(len(batch), 1, 1)
        for row, feature in enumerate(batch):
            tokens = torch.tensor(features.groups[feature], device=copies.device)
            copies[row, tokens - start] = masked[tokens]
        log_probs = trace.rerun(copies, start, keep=trace.n_outputs)
        divergence = torch.nn.functional.kl_div(log_probs, trace.log_probs, reduction="none", log_target=True).sum(-1)
        lost[:, batch] = divergence.T.clamp(min=0)  # rounding may put a zero just below
        progress(len(batch))
    return lost
