"""The attention of single heads, and weights of heads by which it says what leaving sources out does."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from captum_heta.models import AttentionLayer


class Ablated(NamedTuple):
    """What leaving sources out does to one answer.

    Attributes:
        attention: (F, N), what the answer's tokens pay to each source, in all, by each of N heads.
        kept: (R, F) bool, the sources that were kept.
        outcomes: (R,), what the answer's log-odds were then.
    """

    attention: Tensor
    kept: Tensor
    outcomes: Tensor

    def design(self) -> tuple[Tensor, Tensor]:
        """The attention to what is kept (R, N), without its mean; and the outcomes, of mean 0 and deviation 1.

        All 0 where the outcome is always the same.
        """
        paid = self.kept.double() @ self.attention.double()
        outcomes = self.outcomes.double()
        deviation = outcomes.std(correction=0)
        outcomes = (outcomes - outcomes.mean()) / torch.where(deviation > 0, deviation, 1)
        return paid - paid.mean(0), outcomes * (deviation > 0)


def attention_of_heads(layer: AttentionLayer, positions: Tensor) -> Tensor:
    """Rows ``positions`` (K,), ascending, of a layer's attention: (H, K, T), float32 or better."""
    found = []
    for start, weights in layer.weights():
        inside = positions[(positions >= start) & (positions < start + weights.shape[1])] - start
        rows = weights[:, inside.to(weights.device)].to(torch.promote_types(weights.dtype, torch.float32))
        found.append(torch.nn.functional.pad(rows, (0, layer.length - rows.shape[-1])))
    return torch.cat(found, dim=1)


def head_weights(examples: Sequence[Ablated], penalty: float) -> Tensor:
    """(N,) float64: the ridge regression of all outcomes on the attention to what is kept.

    Args:
        examples: each counts the same.
        penalty: of the squared weights, as a part of the mean square of what a head pays.
    """
    count = examples[0].attention.shape[1]
    gram, moment = torch.zeros(count, count, dtype=torch.float64), torch.zeros(count, dtype=torch.float64)
    for example in examples:
        paid, outcomes = (one.cpu() for one in example.design())
        gram += paid.T @ paid / len(paid)
        moment += paid.T @ outcomes / len(paid)
    gram += penalty * gram.diagonal().mean() * torch.eye(count, dtype=torch.float64)
    return torch.linalg.lstsq(gram, moment[:, None], driver="gelsd").solution[:, 0]


def correlation(examples: Sequence[Ablated], weights: Tensor) -> float:
    """The mean over examples of Pearson's correlation of what weights (N,) predict with the outcomes."""
    found = []
    for example in examples:
        paid, outcomes = (one.cpu() for one in example.design())
        predicted = paid @ weights.double().cpu()
        size = predicted.norm() * outcomes.norm()
        found.append(0.0 if size == 0 else float(predicted @ outcomes / size))
    return sum(found) / len(found)
