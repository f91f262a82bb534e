"""What a person chooses of a method, checked; and HETA's choices, in one place.

The fields of a method's options are the options of its ``attribute``, with their defaults and their documentation
(`captum_heta.attr.signature`).
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from captum_heta.checks import check_batch_size, check_count, check_part, check_seed, check_weight

if TYPE_CHECKING:
    from captum_heta.prompts import Baselines

CURVATURE_MODES = ("auto", "exact", "low_rank", "gauss_newton", "fisher")


@dataclass(frozen=True, kw_only=True)
class Options:
    """Those of a method that has none of its own."""

    def __post_init__(self) -> None:
        """Check the values; those of a subclass add theirs."""


@dataclass(frozen=True, kw_only=True)
class BatchOptions(Options):
    """Those of a method that runs the model on many rows.

    Attributes:
        perturbations_per_eval: how many rows (masked copies, derivatives, texts) go through the model at once. None
            fits them to a memory budget.
    """

    perturbations_per_eval: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_batch_size(self.perturbations_per_eval)


@dataclass(frozen=True, kw_only=True)
class DrawOptions(Options):
    """Those of a method that draws.

    Attributes:
        seed: of all draws. The same seed gives the same scores; torch's global random state is not touched.
    """

    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_seed(self.seed)


@dataclass(frozen=True, kw_only=True)
class CurvatureOptions(DrawOptions):
    """How S is estimated.

    Attributes:
        curvature: "exact": a Hessian-vector product for each feature and probe. "low_rank": the Hessian's eigenvectors,
            from ``rank`` products in each window. "gauss_newton": as "exact", with the Gauss-Newton matrix, which
            leaves out how the logits curve. "fisher": that matrix, estimated from ``rank`` random combinations of score
            vectors, at the cost of a few gradients. "auto": the one of "exact" and "low_rank" that needs fewer
            products.
        n_samples: Rademacher probes that estimate S. The error falls with their square root.
        rank: products of "low_rank" in a window, combinations of score vectors in "fisher".
        window: tokens that vary together in "low_rank"; None for all. The model always sees the whole prompt. The
            other modes look at one feature at a time, which no window cuts: any window gives the same.
        overlap: the share of a window that the next one covers too, in [0, 1); scores are averaged there.
        last_n_layers: S with respect to the hidden states that enter the last so many layers, not the embeddings:
            cheaper in memory and time for deep models (the paper takes 6 of a 70B model's). None for the embeddings.

    Raises:
        ValueError: naming the option that is outside its range.
    """

    curvature: str = "auto"
    n_samples: int = 10
    rank: int = 64
    window: int | None = 512
    overlap: float = 0.5
    last_n_layers: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.curvature not in CURVATURE_MODES:
            raise ValueError(f"curvature must be one of {', '.join(CURVATURE_MODES)}, got {self.curvature!r}.")
        check_count("n_samples", self.n_samples)
        check_count("rank", self.rank)
        for name in ("window", "last_n_layers"):
            if getattr(self, name) is not None:
                check_count(name, getattr(self, name))
        check_part("overlap", self.overlap, "a window", zero=True)


@dataclass(frozen=True, kw_only=True)
class HETAOptions(CurvatureOptions, BatchOptions):
    """HETA's.

    Attributes:
        baselines: what replaces a masked token's embedding in I: None or "zero" for zeros, "mean" for the mean of the
            prompt's embeddings, or token ids (an int, or a tensor that broadcasts to ``inputs``) for theirs.
        beta: the weight of S, >= 0.
        gamma: the weight of I, >= 0.
    """

    baselines: "Baselines" = None
    beta: float = 0.5
    gamma: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        check_weight("beta", self.beta)
        check_weight("gamma", self.gamma)
