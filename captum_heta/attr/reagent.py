"""ReAGent, the recursive attribution generator (Zhao & Shan 2024, arXiv 2402.00794)."""

from collections.abc import Callable

import torch
from torch import Tensor

from captum_heta.attr._captum import NullProgress, progress
from captum_heta.attr.base import OutputAttributions, PromptAttribution
from captum_heta.checks import check_batch_size, check_count, check_part, check_seed
from captum_heta.features import Features
from captum_heta.models import Batch

# Token ids (B, n), which of them to replace (B, n) bool, and a generator of draws; to token ids (B, n).
Replacer = Callable[[Tensor, Tensor, torch.Generator], Tensor]


class ReAGent(PromptAttribution):
    """How the target's probability falls when tokens are replaced, gathered over random replacements.

    Starts from random importances. In each step a random part of the features is replaced, the target's probability
    falls by D, and logit((D + 1) / 2) is added to the replaced features' scores and taken from the others'. A probe
    stops when the most important features alone, all others replaced, leave the target among the likeliest tokens.
    Scores are the softmax over features, mean over probes; they sum to 1.

    Args:
        forward_func: a causal language model of Hugging Face transformers.
        replacer: what stands in for replaced tokens. None draws from the whole vocabulary, so that nothing is
            downloaded; the paper asks RoBERTa, as `captum_heta.attr.replacers.MaskedLMReplacer` does.
    """

    def __init__(self, forward_func: object, replacer: Replacer | None = None) -> None:
        super().__init__(forward_func)
        self.replacer = self._from_vocabulary if replacer is None else replacer

    def attribute_outputs(
        self,
        input_ids: Tensor,
        outputs: Tensor,
        features: Features,
        *,
        num_trials: int = 1,
        per_token: bool = True,
        n_probes: int = 8,
        max_steps: int = 100,
        replace_ratio: float = 0.3,
        keep_ratio: float = 0.3,
        top_k: int = 3,
        seed: int = 0,
        perturbations_per_eval: int | None = None,
        show_progress: bool = False,
    ) -> OutputAttributions:
        """As `TokenAttribution.attribute_outputs`.

        Args:
            input_ids: (n,).
            outputs: (K,).
            features: groups of prompt tokens, replaced together; other tokens are never replaced.
            num_trials: so many times ``n_probes``.
            per_token: scores of each output, or their sum.
            n_probes: runs that are averaged, side by side in a batch.
            max_steps: a probe ends after so many steps, whether it stopped or not.
            replace_ratio: the part of the features that is replaced in a step, in (0, 1).
            keep_ratio: the part of the features that must do alone for a probe to stop, in (0, 1).
            top_k: among how many tokens the target must then be.
            seed: of all draws; torch's global random state is not touched.
            perturbations_per_eval: texts in one pass; None fits them to a memory budget.
            show_progress: show Captum's progress bar.
        """
        self._checked(input_ids, outputs, read=len(outputs) - 1)
        check_part("replace_ratio", replace_ratio, "the features")
        check_part("keep_ratio", keep_ratio, "the features")
        counts = {"num_trials": num_trials, "n_probes": n_probes, "max_steps": max_steps, "top_k": top_k}
        for name, count in counts.items():
            check_count(name, count)
        check_seed(seed)
        check_batch_size(perturbations_per_eval)
        size = perturbations_per_eval or self._lm.batch_size(len(input_ids) + len(outputs), 1)
        batch = Batch(size, chosen=perturbations_per_eval is not None)
        rows, log_probs = [], []
        bar = progress(desc="ReAGent attribution", total=len(outputs)) if show_progress else NullProgress()
        with bar, self._lm.lock, self._lm.restored(), self._lm.evaluating():
            for k, output in enumerate(outputs.tolist()):
                run = _Run(self, input_ids, outputs[:k], output, features, batch, top_k, seed)
                rows.append(run.scores(n_probes * num_trials, max_steps, replace_ratio, keep_ratio))
                log_probs.append(run.log_prob)
                bar.update(1)
        scores = torch.stack(rows).float()
        return OutputAttributions(scores if per_token else scores.sum(0, keepdim=True), torch.stack(log_probs).float())

    def _from_vocabulary(self, ids: Tensor, replaced: Tensor, generator: torch.Generator) -> Tensor:
        drawn = torch.randint(self._lm.vocab_size, ids.shape, generator=generator, device="cpu").to(ids)
        return torch.where(replaced, drawn, ids)


class _Run:
    """All probes of one output token."""

    def __init__(
        self,
        method: ReAGent,
        input_ids: Tensor,
        before: Tensor,
        output: int,
        features: Features,
        batch: Batch,
        top_k: int,
        seed: int,
    ) -> None:
        self.method, self.input_ids, self.before, self.output = method, input_ids, before, output
        self.batch, self.top_k = batch, top_k
        # each output has draws of its own seed: its scores do not depend on the other outputs
        self.generator = torch.Generator(device="cpu").manual_seed(seed)
        self.members = torch.zeros(len(features), len(input_ids), dtype=torch.bool, device=input_ids.device)
        for row, group in zip(self.members, features.groups, strict=True):
            row[torch.tensor(group, dtype=torch.long, device=row.device)] = True
        self.log_prob = self._log_probs(input_ids[None])[0, output]

    def scores(self, probes: int, max_steps: int, replace_ratio: float, keep_ratio: float) -> Tensor:
        """(F,)."""
        count = len(self.members)
        dtype = self.log_prob.dtype
        logits = torch.rand(probes, count, generator=self.generator, dtype=dtype, device="cpu").to(self.members.device)
        running = torch.arange(probes, device=logits.device)
        kept = max(1, round(keep_ratio * count))
        for _ in range(max_steps):
            replaced = self._chosen(len(running), max(1, round(replace_ratio * count)))
            fall = self.log_prob.exp() - self._replaced(replaced)[:, self.output].exp()
            # short of 0 and 1, where the logit has no end
            step = torch.logit((fall + 1) / 2, eps=1e-6)[:, None]
            logits[running] += torch.where(replaced, step, -step)
            order = logits[running].argsort(-1, descending=True)
            others = torch.ones_like(replaced).scatter(1, order[:, :kept], False)
            alone = self._replaced(others)
            rank = (alone > alone[:, self.output : self.output + 1]).sum(-1)
            running = running[rank >= self.top_k]
            if len(running) == 0:
                break
        return logits.softmax(-1).mean(0)

    def _chosen(self, rows: int, count: int) -> Tensor:
        """``count`` random features a row, (rows, F) bool."""
        drawn = torch.rand(rows, len(self.members), generator=self.generator, dtype=torch.float32, device="cpu")
        order = drawn.argsort(-1)
        return (order < count).to(self.members.device)

    def _replaced(self, features: Tensor) -> Tensor:
        """Log-probabilities (P, V) with the tokens of some features (P, F) replaced."""
        tokens = (features.float() @ self.members.float()) > 0
        ids = self.input_ids.expand(len(features), -1)
        return self._log_probs(self.method.replacer(ids, tokens, self.generator))

    def _log_probs(self, ids: Tensor) -> Tensor:
        """(P, V)."""

        def predicted(rows: Tensor) -> Tensor:
            after = self.before.expand(len(rows), -1)
            return self.method._lm.log_probs_after(list(torch.cat([rows, after], dim=1)), 1)[:, 0]

        return torch.cat(self.batch.run(ids, predicted))
