"""What a person chooses of a method, checked; and HETA's choices, in one place.

The fields of a method's options are the options of its ``attribute``, with their defaults and their documentation
(`captum_heta.attr.signature`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from captum_heta.checks import check_batch_size, check_count, check_part, check_seed, check_weight

if TYPE_CHECKING:
    from torch import Tensor

    from captum_heta.prompts import Baselines

CURVATURE_MODES = ("auto", "exact", "low_rank", "gauss_newton", "fisher", "gradient")
FLOWS = ("attention", "contribution")
INFORMATION = ("kl", "target")
FUSIONS = ("sum", "product")
BALANCED = "balanced"


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
class ContrastOptions(Options):
    """Those of a method that may explain a difference.

    Attributes:
        contrast: token id(s) that the explained ones are compared with, in the form of ``target``: explains
            log P(target) - log P(contrast), why the one and not the other. None explains log P(target).
    """

    contrast: "int | Sequence[int] | Tensor | None" = None


@dataclass(frozen=True, kw_only=True)
class CurvatureOptions(DrawOptions):
    """How S is estimated.

    Attributes:
        curvature: "exact": a Hessian-vector product for each feature and probe. "low_rank": the Hessian's eigenvectors,
            from ``rank`` products in each window. "gauss_newton": as "exact", with the Gauss-Newton matrix, which
            leaves out how the logits curve. "fisher": that matrix, estimated from ``rank`` random combinations of score
            vectors, at the cost of a few gradients. "auto": the one of "exact" and "low_rank" that needs fewer
            products. "gradient" is no curvature but the control for it: the squared gradient, norm2(P_i grad)^2. With
            ``contrast`` the matrix of "gauss_newton" and "fisher" is that of the choice between the two tokens.
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
        _check_among("curvature", self.curvature, CURVATURE_MODES)
        check_count("n_samples", self.n_samples)
        check_count("rank", self.rank)
        for name in ("window", "last_n_layers"):
            if getattr(self, name) is not None:
                check_count(name, getattr(self, name))
        check_part("overlap", self.overlap, "a window", zero=True)


@dataclass(frozen=True, kw_only=True)
class HETAOptions(ContrastOptions, CurvatureOptions, BatchOptions):
    """HETA's.

    Attributes:
        baselines: what replaces a masked token's embedding: None or "zero" for zeros, "vocabulary" for the mean of all
            tokens' embeddings, "mean" for the mean of the prompt's, or token ids (an int, or a tensor that broadcasts
            to ``inputs``) for theirs.
        flow: the gate. "attention": M, the paper's, which follows attention and is large for an attention sink.
            "contribution": G, which follows what attention really adds to the residual stream.
        information: what is lost with a masked token. "kl": I, the paper's, the divergence of the whole prediction.
            "target": D, the fall of log P(target), or of the difference with ``contrast``, where it is above 0.
        fusion: "sum": gate (beta S + gamma information), Eq. 5. "product": gate sqrt(S) information, as shares, which
            are all 0 where nothing supports the target; D then has a soft corner at 0, which keeps an order among
            tokens that hardly change the target.
        beta: the weight of S in a sum, >= 0; None for 0.5. "balanced": S and the information each over its own sum,
            so that neither outweighs the other by its unit.
        gamma: the weight of the information in a sum, >= 0; None for 0.5.
    """

    baselines: "Baselines" = None
    flow: str = "attention"
    information: str = "kl"
    fusion: str = "sum"
    beta: float | str | None = None
    gamma: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_among("flow", self.flow, FLOWS)
        _check_among("information", self.information, INFORMATION)
        _check_among("fusion", self.fusion, FUSIONS)
        for name in ("beta", "gamma"):
            weight = getattr(self, name)
            if weight is not None and self.fusion == "product":
                raise ValueError(f"{name} weighs a sum, and fusion is 'product', got {weight!r}: leave it out.")
        if isinstance(self.beta, str):
            if self.beta != BALANCED:
                raise ValueError(f"beta must be a number or {BALANCED!r}, got {self.beta!r}.")
            if self.gamma is not None:
                raise ValueError(f"beta={BALANCED!r} weighs both terms: leave gamma out, got {self.gamma!r}.")
        elif self.beta is not None:
            check_weight("beta", self.beta)
        if self.gamma is not None:
            check_weight("gamma", self.gamma)


@dataclass(frozen=True, kw_only=True)
class TargetedOptions(HETAOptions):
    """Those of HETA, with the defaults of its targeted form."""

    baselines: "Baselines" = "vocabulary"
    flow: str = "contribution"
    information: str = "target"
    fusion: str = "product"
    curvature: str = "fisher"


def _check_among(name: str, value: Any, known: Sequence[str]) -> None:
    if value not in known:
        raise ValueError(f"{name} must be one of {', '.join(known)}, got {value!r}.")
