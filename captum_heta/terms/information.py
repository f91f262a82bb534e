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

    Returns:
        (K, F), float32 or better, non-negative.
    """
    lost = trace.log_probs.new_zeros(trace.n_outputs, len(features))

    def divergences(names: Sequence[int]) -> Tensor:
        first = features.groups[names[0]][0]
        start = min(first, int(trace.output_positions[0]))  # where the first output is predicted
        copies = trace.embeds[start:].repeat(len(names), 1, 1)
        for row, name in enumerate(names):
            tokens = torch.tensor(features.groups[name], device=copies.device)
            copies[row, tokens - start] = masked[tokens]
        log_probs = trace.rerun(copies, start, keep=trace.n_outputs)
        progress(len(names))
        return torch.nn.functional.kl_div(log_probs, trace.log_probs, reduction="none", log_target=True).sum(-1)

    for names in features.batches():
        found = torch.cat(batch.run(names, divergences))
        lost[:, names] = found.T.clamp(min=0)  # rounding may put a zero just below
    return lost
