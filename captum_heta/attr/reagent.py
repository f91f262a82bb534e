"""ReAGent, the recursive attribution generator (Zhao & Shan 2024, arXiv 2402.00794)."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from captum_heta.attr.base import OutputAttributions, Task, TokenAttribution
from captum_heta.checks import check_count, check_part
from captum_heta.models import Batch
from captum_heta.options import BatchOptions, DrawOptions

# Token ids (B, n), which of them to replace (B, n) bool, and a generator of draws; to token ids (B, n).
Replacer = Callable[[Tensor, Tensor, torch.Generator], Tensor]


@dataclass(frozen=True, kw_only=True)
class ReAGentOptions(DrawOptions, BatchOptions):
    """Those of `ReAGent`.

    Attributes:
        n_probes: runs that are averaged, side by side in a batch; as many for each of several trials.
        max_steps: a probe ends after so many steps, whether it stopped or not.
        replace_ratio: the part of the features that is replaced in a step, in (0, 1).
        keep_ratio: the part of the features that must do alone for a probe to stop, in (0, 1).
        top_k: among how many tokens the target must then be.
    """

    n_probes: int = 8
    max_steps: int = 100
    replace_ratio: float = 0.3
    keep_ratio: float = 0.3
    top_k: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        check_part("replace_ratio", self.replace_ratio, "the features")
        check_part("keep_ratio", self.keep_ratio, "the features")
        for name in ("n_probes", "max_steps", "top_k"):
            check_count(name, getattr(self, name))


class ReAGent(TokenAttribution[ReAGentOptions]):
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

    gives_shares = True

    def steps(self, task: Task, options: ReAGentOptions) -> int:
        """One for each output."""
        return max(1, len(task.outputs))

    def _scores(self, task: Task, options: ReAGentOptions) -> OutputAttributions:
        batch = self._batch(options, len(task.input_ids) + len(task.outputs), 1)
        rows, log_probs = [], []
        for k in range(len(task.outputs)):
            run = _Run(self, task, k, options, batch)
            rows.append(run.scores())
            log_probs.append(run.log_prob)
            task.advance(1)
        return OutputAttributions(torch.stack(rows), torch.stack(log_probs))

    def _from_vocabulary(self, ids: Tensor, replaced: Tensor, generator: torch.Generator) -> Tensor:
        drawn = torch.randint(self._lm.vocab_size, ids.shape, generator=generator, device="cpu").to(ids)
        return torch.where(replaced, drawn, ids)


class _Run:
    """All probes of one output token."""

    def __init__(self, method: ReAGent, task: Task, k: int, options: ReAGentOptions, batch: Batch) -> None:
        self.method, self.options, self.batch = method, options, batch
        self.probes = options.n_probes * task.num_trials
        self.input_ids, self.before, self.output = task.input_ids, task.outputs[:k], int(task.outputs[k])
        # each output has draws of its own seed: its scores do not depend on the other outputs
        self.generator = torch.Generator(device="cpu").manual_seed(options.seed)
        self.members = torch.zeros(
            len(task.features), len(task.input_ids), dtype=torch.bool, device=task.input_ids.device
        )
        for row, group in zip(self.members, task.features.groups, strict=True):
            row[torch.tensor(group, dtype=torch.long, device=row.device)] = True
        self.log_prob = self._log_probs(self.input_ids[None])[0, self.output]

    def scores(self) -> Tensor:
        """(F,)."""
        options, count, probes = self.options, len(self.members), self.probes
        dtype = self.log_prob.dtype
        logits = torch.rand(probes, count, generator=self.generator, dtype=dtype, device="cpu").to(self.members.device)
        running = torch.arange(probes, device=logits.device)
        kept = max(1, round(options.keep_ratio * count))
        for _ in range(options.max_steps):
            replaced = self._chosen(len(running), max(1, round(options.replace_ratio * count)))
            fall = self.log_prob.exp() - self._replaced(replaced)[:, self.output].exp()
            # short of 0 and 1, where the logit has no end
            step = torch.logit((fall + 1) / 2, eps=1e-6)[:, None]
            logits[running] += torch.where(replaced, step, -step)
            order = logits[running].argsort(-1, descending=True)
            others = torch.ones_like(replaced).scatter(1, order[:, :kept], False)
            alone = self._replaced(others)
            rank = (alone > alone[:, self.output : self.output + 1]).sum(-1)
            running = running[rank >= options.top_k]
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
