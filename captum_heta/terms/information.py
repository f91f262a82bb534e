"""What is lost with a token when its embedding is masked: of the whole prediction, I, or of the target's, D."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from captum_heta.features import Features
from captum_heta.models import Batch, Trace

# What is lost between predictions (K, V) and those of masked copies (B, K, V), (B, K).
Measure = Callable[[Tensor, Tensor], Tensor]

# Copies of one batch all start where the first of them does: up to this part of its length is run in vain, or more
# where so few tokens together would leave the device idle.
_IN_VAIN = 1 / 16
_TOKENS = {"cpu": 128, "cuda": 8192}


@dataclass(frozen=True, eq=False)
class Masking:
    """What replaces tokens, and how many masked copies of the sequence run at once.

    Attributes:
        masked: (T, d), the embedding that replaces each token's.
        batch: masked copies of the whole sequence in one pass; of a shorter part, more.
        per_layer: (T, ...), what replaces each token's per-layer inputs, for models that have some.
        progress: called with the number of features done.
    """

    masked: Tensor
    batch: Batch
    per_layer: Tensor | None = None
    progress: Callable[[int], object] = lambda done: None


def information(trace: Trace, features: Features, masking: Masking) -> Tensor:
    """I[i] = KL(P_orig || P_masked(i)) in nats over the whole vocabulary (Pramanik et al. 2026, arXiv 2604.13258).

    Args:
        trace: the sequence.
        features: what is masked together.
        masking: by what.

    Returns:
        (K, F), float32 or better, non-negative.

    Raises:
        RuntimeError: if a divergence is not finite.
    """
    return MaskedCopies(trace, masking, [divergence]).of(features)[0]


def target_information(
    trace: Trace, features: Features, masking: Masking, outputs: Tensor, contrast: Tensor | None = None
) -> Tensor:
    """f(X) - f(X with feature i masked), in nats, for f = log P(output), or log P(output) - log P(contrast).

    Negative where the feature speaks against the output.

    Args:
        trace: the sequence.
        features: what is masked together.
        masking: by what.
        outputs: (K,) token ids.
        contrast: (K,) token ids, or None.

    Returns:
        (K, F), float32 or better.

    Raises:
        RuntimeError: if a fall is not finite.
    """
    return MaskedCopies(trace, masking, [fall(outputs, contrast)]).of(features)[0]


def divergence(original: Tensor, changed: Tensor) -> Tensor:
    """KL(original || changed) of log-probabilities (..., V), in nats, (...,); a token of probability 0 adds nothing."""
    terms = original.exp() * (original - changed)
    # rounding may put a sum of zeros just below 0
    return torch.where(original == -torch.inf, 0, terms).sum(-1).clamp(min=0)


def fall(outputs: Tensor, contrast: Tensor | None = None) -> Measure:
    """By how much log P of each output (K,) falls, or its difference to that of the contrast (K,)."""

    def explained(log_probs: Tensor) -> Tensor:  # (..., K, V) to (..., K)
        found = _of_tokens(log_probs, outputs)
        return found if contrast is None else found - _of_tokens(log_probs, contrast)

    return lambda original, changed: explained(original) - explained(changed)


@dataclass
class MaskedCopies:
    """Passes over copies of a sequence in which a feature is masked; any number of measures reads each of them.

    One pass over prompt and outputs serves every output; copies masked at neighbouring tokens share a batch and the
    cache of what precedes them.

    Attributes:
        trace: the sequence.
        masking: what replaces tokens.
        measures: what is looked at.
        passes: how many copies there were so far.
    """

    trace: Trace
    masking: Masking
    measures: Sequence[Measure]
    passes: int = 0
    _known: dict[tuple[int, ...], Tensor] = field(default_factory=dict)

    def of(self, features: Features, names: Sequence[int] | None = None) -> Tensor:
        """What the measures say of some features, or of all, (measures, K, F); 0 for a feature without tokens.

        A feature that was asked for before is not run again.

        Raises:
            RuntimeError: if it is not finite.
        """
        names = range(len(features)) if names is None else names
        groups = [features.groups[name] for name in names]
        new = sorted({group for group in groups if group and group not in self._known})
        if new:
            self._run(new)
        like = self.trace.log_probs
        nothing = like.new_zeros(len(self.measures), self.trace.n_outputs)
        columns = [self._known[group] if group else nothing for group in groups]
        return torch.stack(columns, -1) if columns else nothing[..., None][..., :0]

    @torch.no_grad()
    def _run(self, groups: list[tuple[int, ...]]) -> None:
        """The groups, longest suffix first, so that memory that does not suffice shows at once."""
        with self.trace.lm.fastest() as faster:
            original = self._by_faster_kernel if faster else self.trace.log_probs
            for bucket in self._buckets(groups):
                scale = len(self.trace.embeds) / (len(self.trace.embeds) - self._start(bucket[0]))
                lost = torch.cat(
                    self.masking.batch.run(bucket, lambda some: self._lost(some, original), scale=scale), 1
                )
                if not torch.isfinite(lost).all():
                    raise RuntimeError(
                        f"The information of {type(self.trace.lm.model).__name__} is not finite: with a token masked "
                        "it gives no number, or probability 0 to a token that was possible. Check its weights for "
                        "NaN, or load it in float32."
                    )
                self._known.update(zip(bucket, lost.unbind(1), strict=True))

    @cached_property
    def _by_faster_kernel(self) -> Tensor:
        """(K, V), what nothing masked predicts there: what differs between two kernels is not what a token does."""
        return self.trace.rerun(self.trace.embeds[None], 0, self.trace.n_outputs)[0]

    def _buckets(self, groups: list[tuple[int, ...]]) -> Iterator[list[tuple[int, ...]]]:
        """Groups that start near to each other."""
        few = _TOKENS.get(self.trace.embeds.device.type, _TOKENS["cpu"])
        bucket: list[tuple[int, ...]] = []
        for group in groups:
            if bucket:
                start = self._start(bucket[0])
                length = len(self.trace.embeds) - start
                if self._start(group) - start > _IN_VAIN * length and len(bucket) * length >= few:
                    yield bucket
                    bucket = []
            bucket.append(group)
        yield bucket

    def _start(self, group: tuple[int, ...]) -> int:
        """Where a pass starts: at the first masked token, or where the first output is predicted."""
        return self.trace.first_run(min(group[0], int(self.trace.output_positions[0])))

    def _lost(self, groups: Sequence[tuple[int, ...]], original: Tensor) -> Tensor:
        """(measures, B, K)."""
        start = self._start(groups[0])

        def copies(rows: Tensor, replacing: Tensor) -> Tensor:
            found = rows[start:].expand(len(groups), *rows[start:].shape).clone()
            for row, group in zip(found, groups, strict=True):
                tokens = torch.tensor(group, device=rows.device)
                row[tokens - start] = replacing[tokens]
            return found

        trace, masking, per_layer = self.trace, self.masking, None
        if trace.per_layer is not None:
            if masking.per_layer is None:
                raise ValueError("The sequence has per-layer inputs: pass what replaces those of a masked token.")
            per_layer = copies(trace.per_layer, masking.per_layer)
        log_probs = trace.rerun(copies(trace.embeds, masking.masked), start, trace.n_outputs, per_layer)
        self.passes += len(groups)
        masking.progress(len(groups))
        return torch.stack([measure(original, log_probs) for measure in self.measures])


def _of_tokens(log_probs: Tensor, ids: Tensor) -> Tensor:
    """The log-probability of one token at each of K places, (..., K, V) and (K,) to (..., K)."""
    return log_probs.gather(-1, ids.to(log_probs.device)[:, None].expand(*log_probs.shape[:-1], 1))[..., 0]
