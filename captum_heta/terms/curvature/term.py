"""The curvature term: which tokens vary together, which estimator, which draws."""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from captum_heta.features import Features
from captum_heta.models import Trace
from captum_heta.terms.curvature.estimators import draw_probes, exact_block_norms, factored_block_norms
from captum_heta.terms.curvature.function import varying
from captum_heta.terms.curvature.operators import hessian, jacobian_transposed

MODES = ("auto", "exact", "low_rank", "gauss_newton", "fisher")


def check_mode(mode: str) -> None:
    """Raise ValueError for what is no mode, NotImplementedError for one that this version does not have."""
    if mode not in MODES:
        raise ValueError(f"curvature must be one of {', '.join(MODES)}, got {mode!r}.")
    if mode in ("low_rank", "gauss_newton"):
        raise NotImplementedError(f"curvature={mode!r} is not implemented yet; use 'exact' or 'fisher'.")


def curvature(
    trace: Trace,
    features: Features,
    targets: Sequence[int],
    *,
    mode: str,
    n_samples: int,
    rank: int,
    seed: int,
    batch_size: int,
    progress: Callable[[int], object] = lambda done: None,
) -> Tensor:
    """S[i] = E_r norm1(P_i H P_i r), H the Hessian of log P(target) (Pramanik et al. 2026, arXiv 2604.13258).

    Every output starts from the same seed and features are drawn in the order of their tokens: an output's
    numbers do not depend on the other outputs nor on the batch size.

    Args:
        trace: the sequence.
        features: the blocks of P.
        targets: the K output token ids.
        mode: "exact", or "fisher" for the Gauss-Newton matrix in place of H; "auto" is "exact".
        n_samples: Rademacher probes r.
        rank: random combinations of score vectors in the mode "fisher".
        seed: of the draws; the global random state is not touched.
        batch_size: Hessian products in one backward pass.
        progress: called with the number of features done.

    Returns:
        (K, F), float32 or better, non-negative.

    Raises:
        NotImplementedError: for the modes that this version does not have.
        RuntimeError: if a second derivative is not finite.
    """
    check_mode(mode)
    scores = trace.log_probs.new_zeros(trace.n_outputs, len(features))
    for output, target in enumerate(targets):
        generator = torch.Generator().manual_seed(seed)
        if mode == "fisher":
            estimates = _fisher(trace, features, output, n_samples, rank, generator, batch_size, progress)
        else:
            estimates = _exact(trace, features, output, target, n_samples, generator, batch_size, progress)
        for names, norms in estimates:
            scores[output, names] = norms
    if not torch.isfinite(scores).all():
        dtype = trace.embeds.dtype
        advice = "Load the model in float32 or bfloat16." if dtype == torch.float16 else "Check its weights for NaN."
        raise RuntimeError(
            f"The second derivatives of {type(trace.lm.model).__name__} in {dtype} are not finite. {advice}"
        )
    return scores


def _exact(
    trace: Trace,
    features: Features,
    output: int,
    target: int,
    n_samples: int,
    generator: torch.Generator,
    batch_size: int,
    progress: Callable[[int], object],
) -> Iterator[tuple[list[int], Tensor]]:
    for names in features.batches():
        tokens, blocks = _blocks(features, names, trace.embeds.device)
        probes = draw_probes([features.groups[name] for name in names], n_samples, trace.embeds, generator)
        with torch.enable_grad():
            log_probs, x = varying(trace, tokens, output)
            operator = hessian(log_probs(x)[target], x)
            norms = exact_block_norms(operator, blocks, probes, batch_size)
        progress(len(names))
        yield names, norms


def _fisher(
    trace: Trace,
    features: Features,
    output: int,
    n_samples: int,
    rank: int,
    generator: torch.Generator,
    batch_size: int,
    progress: Callable[[int], object],
) -> Iterator[tuple[list[int], Tensor]]:
    # For a softmax the Gauss-Newton matrix is the Fisher matrix E_y[s_y s_y^T], s_y the gradient of log P(y) (Martens
    # 2020, arXiv 1412.1193). sum_y sqrt(P(y)) e_y s_y with random signs e has it as its second moment too, and a
    # lower variance than drawing y: a model that is sure would draw the same y, whose s_y is about 0, again and again.
    names = features.by_first_token
    tokens, blocks = _blocks(features, names, trace.embeds.device)
    probes = draw_probes([features.groups[name] for name in names], n_samples, trace.embeds, generator)
    roots = trace.log_probs[output].div(2).exp()
    signs = 2 * torch.randint(2, (rank, len(roots)), generator=generator) - 1
    combinations = signs.to(roots) * roots
    with torch.enable_grad():
        log_probs, x = varying(trace, tokens, output)
        product = jacobian_transposed(log_probs(x), x)
        factors = torch.cat([product(part) for part in combinations.split(batch_size)])
    progress(len(names))
    yield names, factored_block_norms(factors, roots.new_full((rank,), 1 / rank), blocks, probes)


def _blocks(features: Features, names: list[int], device: torch.device) -> tuple[Tensor, Tensor]:
    """The tokens (m,) of some features, ascending, and which of them each feature has, (len(names), m)."""
    tokens = sorted(token for name in names for token in features.groups[name])
    owned = [[token in features.groups[name] for token in tokens] for name in names]
    return torch.tensor(tokens, device=device), torch.tensor(owned, device=device)
