"""Insertion and deletion: how an answer comes and goes with the most important features.

RISE (Petsiuk et al., BMVC 2018, arXiv 1806.07421) masks pixels in the order of their importance, or reveals them, and
takes the area under the curve of the class's probability. Here the features are those of a prompt, and the curve is of
the log-probability of a whole answer, as for context attributions in CAGE (Walker and Ewetz, 2025, arXiv 2512.15663).
Log-probabilities have no end at 0, so the curve is put between that of the prompt and that of a prompt all masked.

An order is the same for scores that differ wildly in size. Magnitude aligned scoring (MAS; Walker et al., Attribution
Quality Metrics with Magnitude Alignment, IJCAI 2024) also asks that the curve goes along with the attribution that is
masked or revealed; it is here as in its authors' code.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from captum_heta.checks import check_count
from captum_heta.metrics.answers import Answers
from captum_heta.metrics.inputs import ScoredPrompt, over_rows
from captum_heta.models import Batch, LanguageModel
from captum_heta.prompts import Baselines
from captum_heta.signatures import taking_those_of

_OF_CURVES = ("target", "baselines", "steps", "magnitude_aligned")


def insertion(
    model: Any,
    inputs: Tensor,
    attributions: Tensor,
    *,
    target: int | Tensor | Sequence[int] | Sequence[Tensor] | Sequence[Sequence[int]] | None = None,
    baselines: Baselines = None,
    steps: int | None = None,
    magnitude_aligned: bool = False,
    feature_mask: Tensor | None = None,
    additional_forward_args: Any = None,
    fixed: Tensor | None = None,
    perturbations_per_eval: int | None = None,
) -> Tensor:
    """Area under the curve of the answer's log-probability as features are revealed; larger is better.

    All features are masked at first and appear in the order of falling attribution. With l the log-probability of the
    answer, the sum over its tokens, and X_k the prompt with its k most important features, of F:

        c(k) = (l(X_k) - l(X_0)) / (l(X_F) - l(X_0))

    The area is over k / F in [0, 1], by the trapezoid rule. It is mostly in [0, 1], and beyond where some features are
    worse than none or better than all; 1/2 in any order where each feature adds as much.

    Args:
        model: a causal language model of Hugging Face transformers.
        inputs: (B, n) token ids.
        attributions: (B, n). Signed ones count by magnitude; of equal ones the earlier feature comes first. The tokens
            of one feature have its score, or count by their mean.
        target: the answer's token ids, one or (K,), for all prompts; or a list of such, or (B, K), one a prompt. None
            reads the model's own most likely next token.
        baselines: what replaces a masked token's embedding: None or "zero" for zeros, "mean" for the mean of the
            prompt's embeddings, or token ids (an int, or a tensor that broadcasts to ``inputs``) for theirs.
        steps: in how many steps of about as many features the curve is measured; None takes a feature at a time.
        magnitude_aligned: take the area of max(0, m(k) - abs(m(k) - a(k))) instead (MAS), with m(k) the largest of c(0)
            to c(k), clipped to [0, 1], and a(k) the share of the attribution that is revealed.
        feature_mask: integers that broadcast to ``inputs``, equal for the tokens of one feature; None has each token by
            itself.
        additional_forward_args: the attention mask (B, n) for padded prompts, or a tuple of it and position ids, or a
            dictionary with these names. What padding is attributed is not read.
        fixed: bool that broadcasts to (B, n), True for tokens that are never masked.
        perturbations_per_eval: masked copies in one pass; None fits them to a memory budget.

    Returns:
        (B,), float64. NaN where the prompt makes its answer no likelier than the masked one does, up to rounding in the
        model's precision: there is nothing to come or go. With ``magnitude_aligned`` in [0, 1], and NaN also where all
        attributions are 0.

    Raises:
        RuntimeError: if the model predicts NaN after a prompt.
        TypeError: if the model does not predict the next token.
        ValueError: for arguments that do not fit; the message says what would.
    """
    curve = _Curve(True, Answers(inputs, target, baselines), steps, magnitude_aligned)
    rest = (additional_forward_args, fixed, perturbations_per_eval, feature_mask)
    return over_rows(curve.of_row, model, inputs, attributions, *rest)


@taking_those_of(insertion)
def deletion(model: Any, inputs: Tensor, attributions: Tensor, **options: Any) -> Tensor:
    """Area under the curve of the answer's log-probability as features are masked; smaller is better.

    As `insertion`, but X_k is the prompt without its k most important features, and

        c(k) = (l(X_k) - l(X_F)) / (l(X_0) - l(X_F))

    With ``magnitude_aligned`` it is the area of min(1, m(k) + abs(m(k) - a(k))), with m(k) the smallest of c(0) to
    c(k), clipped to [0, 1], and a(k) the share of the attribution that is not masked yet.

    Args:
        model: a causal language model of Hugging Face transformers.
        inputs: (B, n) token ids.
        attributions: (B, n).
        **options: as there.

    Returns:
        (B,), NaN where `insertion` is.

    Raises:
        RuntimeError: if the model predicts NaN after a prompt.
        TypeError: if the model does not predict the next token.
        ValueError: for arguments that do not fit; the message says what would.
    """
    target, baselines, steps, aligned = (options.pop(name) for name in _OF_CURVES)
    curve = _Curve(False, Answers(inputs, target, baselines), steps, aligned)
    return over_rows(curve.of_row, model, inputs, attributions, **options)


class _Curve:
    """The area under a curve of masks.

    Args:
        inserts: whether features are revealed, or masked.
        answers: whose log-probability.
        steps: S; None for one for each feature.
        aligned: whether the curve must go along with the attribution.
    """

    def __init__(self, inserts: bool, answers: Answers, steps: int | None, aligned: bool) -> None:
        self.inserts, self.answers, self.aligned = inserts, answers, aligned
        self.steps = None if steps is None else check_count("steps", steps)

    def of_row(self, lm: LanguageModel, number: int, row: ScoredPrompt, batch: Batch) -> Tensor:
        """The area of one prompt."""
        answer = self.answers.of_row(lm, number, row, batch)
        scores = row.of_features(row.scores)
        n = len(scores)
        if n == 0:
            return row.scores.new_full((), math.nan)
        steps = n if self.steps is None else min(self.steps, n)
        counts = torch.linspace(0, n, steps + 1, dtype=torch.float64, device=scores.device).round().long()
        rank = scores.argsort(descending=True, stable=True).argsort()
        first = rank[row.owners] < counts[:, None]
        values = answer.log_probs((~first if self.inserts else first) & row.free)
        whole, empty = (values[-1], values[0]) if self.inserts else (values[0], values[-1])
        if whole - empty <= 10 * torch.finfo(row.embeds.dtype).eps * whole.abs().clamp(min=1):
            return values.new_full((), math.nan)
        curve = (values - empty) / (whole - empty)
        if self.aligned:
            curve = self._along(curve, scores, counts)
        return torch.trapezoid(curve, counts / n)

    def _along(self, curve: Tensor, scores: Tensor, counts: Tensor) -> Tensor:
        """The curve (S + 1,) with the penalty of MAS; features have scores (F,), of which counts (S + 1,) are taken."""
        sums = torch.nn.functional.pad(scores.sort(descending=True).values.cumsum(0), (1, 0))
        taken = sums[counts] / sums[-1]
        curve = curve.clamp(0, 1)
        # both have their ends at 0 and 1, and so has the result: the authors' last step, to stretch it there, is not
        # needed
        if self.inserts:
            curve = curve.cummax(0).values
            return (curve - (curve - taken).abs()).clamp(min=0)
        curve = curve.cummin(0).values
        return (curve + (curve - (1 - taken)).abs()).clamp(max=1)
