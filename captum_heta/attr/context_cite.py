"""ContextCite (Cohen-Wang et al., NeurIPS 2024, arXiv 2409.00729)."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from captum_heta.attr.base import OutputAttributions, Task, TokenAttribution
from captum_heta.checks import check_count, check_weight
from captum_heta.models import LanguageModel
from captum_heta.options import BatchOptions, DrawOptions


@dataclass(frozen=True, kw_only=True)
class ContextCiteOptions(DrawOptions, BatchOptions):
    """Those of `ContextCite`.

    Attributes:
        n_samples: prompts with sources left out (64 in the paper); as many for each of several trials.
        alpha: the Lasso's, for standardised sources and the outcome per token of the answer, as in the paper.
    """

    n_samples: int = 64
    alpha: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("n_samples", self.n_samples)
        check_weight("alpha", self.alpha)


class ContextCite(TokenAttribution[ContextCiteOptions]):
    """Weights of a sparse linear model of the answer's log-odds, fitted to prompts from which sources are left out.

    Each source of the context is kept or left out with probability 1/2; the outcome is the logit of the probability of
    the whole answer, log p - log(1 - p), and the model scikit-learn's Lasso. Explains the answer as a whole, so a
    result has no `token_attr`. Sources are sentences unless a ``feature_mask`` or a template says otherwise; each token
    of a source carries its weight; tokens of no source are always kept. Where nothing of a prompt is kept, its last
    token is.

    Args:
        forward_func: a causal language model of Hugging Face transformers.
        sources: "sentence", or "token" for a source of each token.

    Raises:
        ImportError: when it attributes without scikit-learn.
    """

    explains_each_token: ClassVar[bool] = False

    def __init__(self, forward_func: object, sources: str = "sentence") -> None:
        super().__init__(forward_func)
        if sources not in ("sentence", "token"):
            raise ValueError(f"sources must be 'sentence' or 'token', got {sources!r}.")
        self.sources = sources

    def steps(self, task: Task, options: ContextCiteOptions) -> int:
        """One for each prompt with sources left out."""
        return options.n_samples * task.num_trials

    def _scores(self, task: Task, options: ContextCiteOptions) -> OutputAttributions:
        count = len(task.outputs)
        batch = self._batch(options, len(task.input_ids) + count, count)
        generator = torch.Generator(device="cpu").manual_seed(options.seed)
        shape = (self.steps(task, options), len(task.features))
        samples = torch.randint(2, shape, generator=generator, device="cpu").bool()

        def log_probs(rows: Tensor) -> Tensor:
            found = log_probs_without(self._lm, rows, task)
            task.advance(len(rows))
            return found

        log_odds = logit(torch.cat(batch.run(samples, log_probs)).sum(-1).double())
        whole = log_probs_without(self._lm, torch.ones_like(samples[:1]), task)[0]
        weights = _lasso(samples, log_odds, options.alpha, count)
        return OutputAttributions(weights[None].to(task.input_ids.device), whole)


def log_probs_without(lm: LanguageModel, kept: Tensor, task: Task) -> Tensor:
    """The outputs' log-probabilities after prompts that only some sources are kept of.

    Args:
        lm: the model.
        kept: (B, F) bool, of the task's features; tokens of no feature stay.
        task: prompt and outputs.

    Returns:
        (B, K).
    """
    prompts = []
    for row in kept.tolist():
        left_out = [i for group, keep in zip(task.features.groups, row, strict=True) if not keep for i in group]
        stays = torch.ones_like(task.input_ids, dtype=torch.bool)
        stays[torch.tensor(left_out, dtype=torch.long, device=stays.device)] = False
        stays[-1] |= not stays.any()  # a model predicts after something
        prompts.append(task.input_ids[stays])
    return lm.log_probs_of(task.outputs, prompts)


def _lasso(samples: Tensor, log_odds: Tensor, alpha: float, length: int) -> Tensor:
    """Weights (F,) of sources in the log-odds (R,) of an answer of ``length`` tokens, for samples (R, F) bool."""
    try:
        from sklearn.linear_model import Lasso
    except ImportError as error:
        raise ImportError(
            "ContextCite's Lasso needs scikit-learn: pip install 'captum-heta[compare]', or scikit-learn alone."
        ) from error
    # the paper standardises the sources, which are 0 or 1 with a deviation of 1/2, and divides the outcome by the
    # length of the answer: the same problem with another penalty
    lasso = Lasso(alpha=alpha * length / 2).fit(samples.double().numpy(), log_odds.cpu().numpy())
    return torch.tensor(lasso.coef_, dtype=torch.float32, device="cpu")


def logit(log_p: Tensor) -> Tensor:
    """The logit of a probability, log p - log(1 - p)."""
    # a probability that rounds to 1 has odds of 1 in the smallest step from it, and not infinite ones
    log_p = log_p.clamp(max=-torch.finfo(log_p.dtype).eps)
    return log_p - torch.log(-torch.expm1(log_p))
