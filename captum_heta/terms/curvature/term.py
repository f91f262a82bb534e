"""The curvature term: S of the features of a sequence, and what is known of how exact it is."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from captum_heta.features import Features
from captum_heta.models import Batch, Trace
from captum_heta.options import CurvatureOptions
from captum_heta.terms.curvature.estimate import Estimate, Estimates


@dataclass(frozen=True, eq=False)
class Sensitivity:
    """S, and what is known of how exact it is.

    Attributes:
        scores: (K, F), or (1, F) of the outputs together; float32 or better, non-negative.
        errors: their standard errors, of the same shape: of the random probes alone. NaN for a single probe.
        mode: the mode that ran.
        products: how many Hessian products, or gradients in "fisher", it took.
        omitted: the share of the matrix that the mode's factors leave out, the largest of all outputs and windows: of
            its trace in "fisher", of its squared Frobenius norm in "low_rank"; 0 in the others.
    """

    scores: Tensor
    errors: Tensor
    mode: str
    products: int
    omitted: float


def curvature(
    trace: Trace,
    features: Features,
    targets: Sequence[int],
    options: CurvatureOptions,
    batch: Batch,
    progress: Callable[[int], object] = lambda done: None,
    together: Tensor | None = None,
    contrast: Sequence[int] | None = None,
) -> Sensitivity:
    """S[i] = E_r norm1(P_i H P_i r), H the Hessian of log P(target) (Pramanik et al. 2026, arXiv 2604.13258).

    Args:
        trace: the sequence.
        features: the blocks of P.
        targets: the K output token ids.
        options: as in `Curvature`.
        batch: as in `Curvature`.
        progress: called with the number of features done.
        together: as in `Curvature`.
        contrast: as in `Curvature`.

    Raises:
        RuntimeError: if a second derivative is not finite.
    """
    return Curvature(trace, targets, options, batch, together, contrast).of(features, progress)


class Curvature:
    """S of any features of one sequence. What serves several sets of features is computed once.

    Every output starts from the same seed and features are drawn in the order of their tokens: an output's
    numbers do not depend on the other outputs nor on the batch size.

    Args:
        trace: the sequence.
        targets: the K output token ids.
        options: the estimator and its draws.
        batch: products in one backward pass.
        together: (K,), non-negative weights: the Hessian of the sum of all outputs' log-probabilities with these, in
            one estimate; None for one of each.
        contrast: K token ids that the targets are compared with: the Hessian of log P(target) - log P(contrast).
    """

    def __init__(
        self,
        trace: Trace,
        targets: Sequence[int],
        options: CurvatureOptions,
        batch: Batch,
        together: Tensor | None = None,
        contrast: Sequence[int] | None = None,
    ) -> None:
        self.trace, self.tolerance = trace, options.tolerance
        rows = [range(k, k + 1) for k in range(len(targets))]
        if together is not None:
            first, last = (int(place) for place in together.nonzero()[[0, -1], 0])
            rows, together = [range(first, last + 1)], together[first : last + 1]
        self._estimates = [Estimate(trace, some, targets, contrast, options, batch, together) for some in rows]

    def is_factored(self, features: Features) -> bool:
        """Whether S of each feature follows from the factors of all of them, without products of its own."""
        return all(
            estimate.is_factored(mode) and (mode != "low_rank" or estimate.has_one_window(features))
            for estimate in self._estimates
            for mode in [estimate.mode(features)]
        )

    def is_apart(self, features: Features, more: Features) -> bool:
        """Whether S of some features is the same beside the others of ``more``, which begins with them.

        Not in "low_rank", whose factors are of all that varies, nor where a tolerance says when there are draws enough.
        """
        return all(
            estimate.mode(features) == mode
            and mode != "low_rank"
            and (estimate.is_factored(mode) or self.tolerance is None)
            for estimate in self._estimates
            for mode in [estimate.mode(more.before(estimate.stop))]
        )

    def of(self, features: Features, progress: Callable[[int], object] = lambda done: None) -> Sensitivity:
        """S of some features; 0 for one with tokens that an output does not see.

        Args:
            features: the blocks of P.
            progress: called with the number of features done.

        Raises:
            RuntimeError: if a second derivative is not finite.
        """
        shape = len(self._estimates), len(features)
        scores, errors = (self.trace.log_probs.new_zeros(shape) for _ in range(2))
        modes = []
        for row, estimate in enumerate(self._estimates):
            seen = features.before(estimate.stop)
            modes.append(estimate.mode(seen))
            if seen.by_first_token:
                scores[row], errors[row] = _mean_of_windows(estimate.run(seen, modes[-1]), scores[row], progress)
        if not torch.isfinite(scores).all():
            dtype = self.trace.embeds.dtype
            advice = (
                "Load the model in float32 or bfloat16." if dtype == torch.float16 else "Check its weights for NaN."
            )
            raise RuntimeError(
                f"The second derivatives of {type(self.trace.lm.model).__name__} in {dtype} are not finite. {advice}"
            )
        return Sensitivity(
            scores,
            errors,
            modes[-1],
            sum(estimate.products for estimate in self._estimates),
            max(estimate.omitted for estimate in self._estimates),
        )


def _mean_of_windows(found: Estimates, like: Tensor, progress: Callable[[int], object]) -> tuple[Tensor, Tensor]:
    """What several windows say of a feature, averaged; their errors are of probes in common at worst, and so too."""
    score, error, counts = (torch.zeros_like(like) for _ in range(3))
    for names, mean, deviation in found:
        places = torch.tensor(names, device=like.device)
        progress(int((counts[places] == 0).sum()))  # windows overlap
        score = score.index_add(0, places, mean.to(like))
        error = error.index_add(0, places, deviation.to(like))
        counts = counts.index_add(0, places, torch.ones_like(mean).to(counts))
    return score / counts.clamp(min=1), error / counts.clamp(min=1)
