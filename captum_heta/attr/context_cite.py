"""ContextCite (Cohen-Wang et al., NeurIPS 2024, arXiv 2409.00729)."""

import torch
from torch import Tensor

from captum_heta.attr._captum import NullProgress, progress
from captum_heta.attr.base import OutputAttributions, PromptAttribution
from captum_heta.checks import check_batch_size, check_count, check_seed, check_weight
from captum_heta.features import Features
from captum_heta.models import Batch


class ContextCite(PromptAttribution):
    """Weights of a sparse linear model of the answer's log-odds, fitted to prompts from which sources are left out.

    Each source of the context is kept or left out with probability 1/2; the outcome is the logit of the probability of
    the whole answer, log p - log(1 - p), and the model scikit-learn's Lasso. Explains the answer as a whole, so a
    result has no `token_attr`. Sources are sentences unless a ``feature_mask`` or a template says otherwise; each token
    of a source carries its weight. Where nothing of a prompt is kept, its last token is.

    Args:
        forward_func: a causal language model of Hugging Face transformers.
        sources: "sentence", or "token" for a source of each token.

    Raises:
        ImportError: when it attributes without scikit-learn.
    """

    explains_each_token = False

    def __init__(self, forward_func: object, sources: str = "sentence") -> None:
        super().__init__(forward_func)
        if sources not in ("sentence", "token"):
            raise ValueError(f"sources must be 'sentence' or 'token', got {sources!r}.")
        self.sources = sources

    def attribute_outputs(
        self,
        input_ids: Tensor,
        outputs: Tensor,
        features: Features,
        *,
        num_trials: int = 1,
        per_token: bool = True,
        n_samples: int = 64,
        alpha: float = 0.01,
        seed: int = 0,
        perturbations_per_eval: int | None = None,
        show_progress: bool = False,
    ) -> OutputAttributions:
        """As `TokenAttribution.attribute_outputs`.

        Args:
            input_ids: (n,).
            outputs: (K,), the answer.
            features: the sources; other tokens are always kept.
            num_trials: so many times ``n_samples``.
            per_token: of no effect; the answer is explained as a whole.
            n_samples: prompts with sources left out (64 in the paper).
            alpha: the Lasso's, for standardised sources and the outcome per token of the answer, as in the paper.
            seed: of the samples; torch's global random state is not touched.
            perturbations_per_eval: prompts in one pass; None fits them to a memory budget.
            show_progress: show Captum's progress bar.
        """
        self._checked(input_ids, outputs, read=len(outputs) - 1)
        check_count("num_trials", num_trials)
        check_count("n_samples", n_samples)
        check_weight("alpha", alpha)
        check_seed(seed)
        check_batch_size(perturbations_per_eval)
        size = perturbations_per_eval or self._lm.batch_size(len(input_ids) + len(outputs), len(outputs))
        batch = Batch(size, chosen=perturbations_per_eval is not None)
        generator = torch.Generator(device="cpu").manual_seed(seed)
        samples = torch.randint(2, (n_samples * num_trials, len(features)), generator=generator, device="cpu").bool()
        bar = progress(desc="ContextCite attribution", total=len(samples)) if show_progress else NullProgress()
        with bar, self._lm.lock, self._lm.restored(), self._lm.evaluating():

            def log_probs(rows: Tensor) -> Tensor:
                found = self._log_probs(rows, input_ids, outputs, features)
                bar.update(len(rows))
                return found

            log_odds = _logit(torch.cat(batch.run(samples, log_probs)).sum(-1).double())
            whole = self._log_probs(torch.ones_like(samples[:1]), input_ids, outputs, features)[0]
        weights = _lasso(samples, log_odds, alpha, len(outputs))
        return OutputAttributions(weights[None].to(input_ids.device), whole.float())

    def _log_probs(self, kept: Tensor, input_ids: Tensor, outputs: Tensor, features: Features) -> Tensor:
        """(B, K): the outputs' log-probabilities after prompts with the sources that are ``kept`` (B, F)."""
        texts = []
        for row in kept.tolist():
            left_out = [i for group, keep in zip(features.groups, row, strict=True) if not keep for i in group]
            stays = torch.ones_like(input_ids, dtype=torch.bool)
            stays[torch.tensor(left_out, dtype=torch.long, device=stays.device)] = False
            stays[-1] |= not stays.any()  # a model predicts after something
            texts.append(torch.cat([input_ids[stays], outputs[:-1]]))
        log_probs = self._lm.log_probs_after(texts, len(outputs))
        return log_probs.gather(-1, outputs.expand(len(kept), -1)[..., None])[..., 0]


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


def _logit(log_p: Tensor) -> Tensor:
    """The logit of a probability, log p - log(1 - p)."""
    # a probability that rounds to 1 has odds of 1 in the smallest step from it, and not infinite ones
    log_p = log_p.clamp(max=-torch.finfo(log_p.dtype).eps)
    return log_p - torch.log(-torch.expm1(log_p))
