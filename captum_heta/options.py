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
# Those that know the matrix by factors: probes then cost no products.
FACTORED = ("low_rank", "fisher", "gradient")
FLOWS = ("attention", "contribution", "published")
INFORMATION = ("kl", "target")
FUSIONS = ("sum", "product")
BALANCED = "balanced"
# The share of a sentence of an answer from which on a document is cited.
CITED = 0.2
_OF_A_ROOT = 4  # gradients of "fisher" where the root of S counts


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
            leaves out how the logits curve. "fisher": that matrix, from the eigenvectors of the Fisher matrix at the
            state that enters the head, at the cost of a few gradients. "auto": the one of "exact" and "low_rank" that
            needs fewer products. "gradient" is no curvature but the control for it: the squared gradient,
            norm2(P_i grad)^2. With ``contrast`` the matrix of "gauss_newton" and "fisher" is that of the choice between
            the two tokens.
        n_samples: Rademacher probes that estimate S. The error falls with their square root. None: 10 in "exact" and
            "gauss_newton", where each costs a product a feature (400 at most with ``tolerance``); 100 in "low_rank",
            in "fisher" and in "gauss_newton" with ``contrast``, where they cost none.
        rank: products of "low_rank" in a window at most, gradients of "fisher" at most. None for 64 and 8; a product of
            terms, in which the root of S counts, takes 4 gradients.
        tolerance: how exact S is to be. In "exact" and "gauss_newton": draw probes until the standard error of each
            feature's S is at most this part of it, or ``n_samples`` are drawn; None draws them all, as is done where
            they cost nothing. In "low_rank": stop before ``rank`` when S has settled, that is when the last block of
            products changed it by at most this part (the sum of the changes over that of S), and hardly its order; None
            for 0.2, 0 to take them all.
        coverage: "fisher" takes eigenvectors until they cover this share of the Fisher matrix's trace.
        remainder: how many of the gradients of "fisher" are of random combinations of score vectors, which stand for
            what the eigenvectors leave out, so that the matrix is right in expectation. None: none where the
            eigenvectors cover ``coverage``, else half of them. 0 for eigenvectors alone.
        window: tokens that vary together in "low_rank"; None for all. The model always sees the whole prompt. The
            other modes look at one feature at a time, which no window cuts: any window gives the same.
        overlap: the share of a window that the next one covers too, in [0, 1); scores are averaged there.
        last_n_layers: S with respect to the hidden states that enter the last so many layers, not the embeddings:
            cheaper in memory and time for deep models (the paper takes 6 of a 70B model's). None for the embeddings.

    Raises:
        ValueError: naming the option that is outside its range.
    """

    curvature: str = "auto"
    n_samples: int | None = None
    rank: int | None = None
    tolerance: float | None = None
    coverage: float = 0.8
    remainder: int | None = None
    window: int | None = 512
    overlap: float = 0.5
    last_n_layers: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_among("curvature", self.curvature, CURVATURE_MODES)
        for name in ("n_samples", "rank", "window", "last_n_layers"):
            if getattr(self, name) is not None:
                check_count(name, getattr(self, name))
        if self.tolerance is not None:
            check_weight("tolerance", self.tolerance)
            if self.curvature in ("fisher", "gradient"):
                raise ValueError(
                    f"tolerance is of curvature 'exact', 'gauss_newton' and 'low_rank', got {self.tolerance!r} with "
                    f"{self.curvature!r}: leave it out, or choose coverage and rank."
                )
        check_part("coverage", self.coverage, "the trace", one=True)
        if self.remainder is not None:
            check_count("remainder", self.remainder, least=0)
        check_part("overlap", self.overlap, "a window", zero=True)

    def samples(self, mode: str, *, factored: bool = False) -> int:
        """Rademacher probes in a mode, at most; where its matrix is known by factors they cost nothing."""
        if self.n_samples is not None:
            return self.n_samples
        if self.tolerance is None or mode == "low_rank":
            return 100 if factored else 10
        return 400

    def products(self, mode: str) -> int:
        """Products or gradients of a mode that has a rank, at most."""
        return (8 if mode == "fisher" else 64) if self.rank is None else self.rank


@dataclass(frozen=True, kw_only=True)
class HETAOptions(ContrastOptions, CurvatureOptions, BatchOptions):
    """HETA's.

    Attributes:
        baselines: what replaces a masked token's embedding: None or "zero" for zeros, "vocabulary" for the mean of all
            tokens' embeddings, "mean" for the mean of the prompt's, or token ids (an int, or a tensor that broadcasts
            to ``inputs``) for theirs.
        flow: the gate. "attention": M, the paper's, which follows attention and is large for an attention sink.
            "contribution": G, which follows what attention really adds to the residual stream. "published": M as the
            code that the paper's authors published computes it, to compare with figures that were made with it: each
            head is followed by itself, and values are those of hidden states without the layer's norm.
        information: what is lost with a masked token. "kl": I, the paper's, the divergence of the whole prediction.
            "target": D, the fall of log P(target), or of the difference with ``contrast``, where it is above 0.
        fusion: "sum": gate (beta S + gamma information), Eq. 5. "product": gate sqrt(S) information, as shares, which
            are all 0 where nothing supports the target; D then has a soft corner at 0, which keeps an order among
            tokens that hardly change the target.
        beta: the weight of S in a sum, >= 0; None for 0.5. "balanced": S and the information each over its own sum,
            so that neither outweighs the other by its unit.
        gamma: the weight of the information in a sum, >= 0; None for 0.5.
        skip: in a product the masked passes, which cost most, are made in the order of what the other two terms leave
            possible, until the rest has at most this share of the score, if none of it tells more than the last 48 that
            were looked at; what is left is scored as what does not change the target, next to nothing, and has NaN as
            its information. None for 0.02; 0 for all of them.
    """

    baselines: "Baselines" = None
    flow: str = "attention"
    information: str = "kl"
    fusion: str = "sum"
    beta: float | str | None = None
    gamma: float | None = None
    skip: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_among("flow", self.flow, FLOWS)
        _check_among("information", self.information, INFORMATION)
        _check_among("fusion", self.fusion, FUSIONS)
        for name in ("beta", "gamma"):
            weight = getattr(self, name)
            if weight is not None and self.fusion == "product":
                raise ValueError(f"{name} weighs a sum, and fusion is 'product', got {weight!r}: leave it out.")
        if self.skip is not None:
            if self.fusion != "product":
                raise ValueError(
                    f"skip is of a product, and fusion is {self.fusion!r}, got {self.skip!r}: leave it out."
                )
            check_part("skip", self.skip, "the score", zero=True)
        if isinstance(self.beta, str):
            if self.beta != BALANCED:
                raise ValueError(f"beta must be a number or {BALANCED!r}, got {self.beta!r}.")
            if self.gamma is not None:
                raise ValueError(f"beta={BALANCED!r} weighs both terms: leave gamma out, got {self.gamma!r}.")
        elif self.beta is not None:
            check_weight("beta", self.beta)
        if self.gamma is not None:
            check_weight("gamma", self.gamma)

    def products(self, mode: str) -> int:
        """As of `CurvatureOptions`; the root of S in a product halves what an eigenvector that is left out changes."""
        if mode == "fisher" and self.rank is None and self.fusion == "product":
            return _OF_A_ROOT
        return super().products(mode)


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
