"""The terms of HETA for outputs that the model reads in one sequence."""

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from captum_heta.attr.heta_terms import Terms, terms_of
from captum_heta.attr.sequences import TaskSequence
from captum_heta.attr.sink import sink_of
from captum_heta.features import Features
from captum_heta.models import Batch, Layer
from captum_heta.options import CurvatureOptions, HETAOptions
from captum_heta.terms.contribution_flow import contribution_flow
from captum_heta.terms.curvature import Curvature, Sensitivity
from captum_heta.terms.information import MaskedCopies, divergence, fall
from captum_heta.terms.lazy import lazily
from captum_heta.terms.published_flow import published_flow
from captum_heta.terms.semantic_flow import semantic_flow

_FLOWS: dict[str, Callable[[Sequence[Layer], Tensor, Tensor | None], Tensor]] = {
    "attention": semantic_flow,
    "contribution": contribution_flow,
    "published": published_flow,
}
SKIP = 0.02
# Masked passes that read as many tokens as so many whole prompts are made in any case, about a gradient's work each: of
# 64 tokens all of them. What holds a hundredth of the score may still have its place in the order.
_READINGS = 33


class Found(NamedTuple):
    """What `SequenceTerms` says of some features.

    Attributes:
        terms: each (K, F) or (1, F), float32.
        errors: the standard errors of the curvature, of the same shape.
        about: how it was found.
    """

    terms: Terms
    errors: Tensor
    about: dict[str, Any]


class _Curved(NamedTuple):
    """The mean of S over several draws, its standard errors, and how it was found."""

    mean: Tensor
    errors: Tensor
    about: dict[str, Any]

    def part(self, names: slice) -> "_Curved":
        return self._replace(mean=self.mean[:, names], errors=self.errors[:, names])


class SequenceTerms:
    """The three terms of one sequence, for any features; what serves several sets of features is computed once.

    Args:
        sequence: neighbouring outputs of a task.
        options: of HETA.
        copies: masked copies at a time.
        products: Hessian products at a time.
    """

    def __init__(self, sequence: TaskSequence, options: HETAOptions, copies: Batch, products: Batch) -> None:
        self.sequence, self.options, self.products = sequence, options, products
        # checked before anything is run
        masking = sequence.masking(options.baselines, copies, sequence.task.advance)
        self.trace = sequence.traced(options.flow == "contribution", options.flow == "published")
        measure = fall(sequence.outputs, sequence.others) if options.information == "target" else divergence
        self.copies = MaskedCopies(self.trace, masking, [measure])
        self._flows: list[Tensor] | None = None
        self._weigh(sequence.task.together)

    def _weigh(self, together: Tensor | None) -> None:
        self.together = together
        sequence = self.sequence
        others = None if sequence.others is None else sequence.others.tolist()
        self.curvatures = [
            Curvature(self.trace, sequence.outputs.tolist(), draws, self.products, together, others)
            for draws in _fresh_draws(self.options, sequence.task.num_trials)
        ]
        self._flow: Tensor | None = None
        self.sink = 0.0  # of the attention flow, once it is known

    def weighing(self, weights: Tensor) -> "SequenceTerms":
        """Those of the outputs together with other weights (K,), which share passes and contributions with these."""
        if self._flows is None:
            self._flows = []
        others = copy(self)
        others._weigh(weights)
        return others

    @property
    def log_probs(self) -> Tensor:
        """(K,), of the outputs."""
        return self.trace.log_probs.gather(1, self.sequence.outputs[:, None])[:, 0]

    def of(self, features: Features) -> Found:
        """The terms of some features."""
        return self._found(features, self._curved(features, self.sequence.task.advance))

    def with_outputs(self, features: Features) -> tuple[Found, Found]:
        """The terms of some features of the prompt, as alone, and those of the outputs, 0 in each that comes before."""
        outputs = self.sequence.task.output_features.before(len(self.trace.embeds))
        together = Features(features.groups + outputs.groups)
        advance, count = self.sequence.task.advance, len(features)
        if all(each.is_apart(features, together) for each in self.curvatures):
            whole = self._curved(together, advance)
            prompt = whole.part(slice(0, count))
        else:
            prompt, whole = self._curved(features, advance), self._curved(together, advance)
        return self._found(features, prompt), self._found(outputs, whole.part(slice(count, None)))

    def _curved(self, features: Features, progress: Callable[[int], object] = lambda done: None) -> "_Curved":
        curved = [each.of(features, progress) for each in self.curvatures]
        mean = torch.stack([one.scores for one in curved]).mean(0)
        errors = torch.stack([one.errors for one in curved]).square().sum(0).sqrt() / len(curved)
        return _Curved(mean, errors, _of_curvature(curved, mean, errors))

    def _found(self, features: Features, curved: "_Curved") -> Found:
        flow = features.sum(self._token_flow())
        lost, about = self._lost(features, flow * curved.mean.sqrt())
        terms = terms_of(self.options)(*(part.float() for part in (flow, curved.mean, lost)))
        about |= {"attention_sink": round(self.sink, 4)} if self.options.flow == "attention" else {}
        return Found(terms, curved.errors.float(), curved.about | about)

    def cheaply(self, features: Features) -> Found:
        """The terms as far as they need no pass and no product for each feature; NaN where they do."""
        flow = features.sum(self._token_flow())
        unknown = torch.full_like(flow, torch.nan)
        mean = errors = unknown
        if all(each.is_factored(features) for each in self.curvatures):
            mean, errors, _ = self._curved(features)
        terms = terms_of(self.options)(*(part.float() for part in (flow, mean, unknown)))
        return Found(terms, errors.float(), {})

    def _token_flow(self) -> Tensor:
        """M or G of all tokens."""
        if self._flow is None:
            self._flow = self._followed()
            if self.options.flow == "attention":
                self.sink = sink_of(self.sequence.lm, self._flow, self.sequence.task)
        return self._flow

    def _followed(self) -> Tensor:
        flow, layers, positions = _FLOWS[self.options.flow], self.trace.layers, self.trace.output_positions
        if self._flows is None or self.together is None or self.options.flow != "contribution":
            return flow(layers, positions, self.together)
        if not self._flows:  # what most of it costs, who hands on to whom, is the same for all weights
            self._flows.append(flow(layers, positions, None))
        weights = (self.together / self.together.sum()).to(self._flows[0])
        return (weights @ self._flows[0])[None]

    def _lost(self, features: Features, others: Tensor) -> tuple[Tensor, dict[str, Any]]:
        """I or D, (K, F) or (1, F); in a product only where the other terms leave something possible."""
        if self.options.fusion != "product":
            lost = self._masked(features, None)
            return lost, {"passes": self.copies.passes}
        skip = SKIP if self.options.skip is None else self.options.skip
        length = len(self.trace.embeds)
        costs = [length - group[0] if group else 0 for group in features.groups]
        found = lazily(others, lambda some: self._masked(features, some), skip, costs, _READINGS * length)
        return found.values, {
            "passes": self.copies.passes,
            "skipped": int(found.values.isnan().all(0).sum()),
            "skipped_share": round(found.bound.max().item(), 4) if len(found.bound) else 0.0,
        }

    def _masked(self, features: Features, names: Sequence[int] | None) -> Tensor:
        names = range(len(features)) if names is None else names
        lost = self.copies.of(features, names)[0]
        # what comes after a prediction makes no difference to it but of rounding
        first = torch.tensor([min(features.groups[name], default=0) for name in names], device=lost.device)
        lost = torch.where(first <= self.trace.output_positions[:, None].to(lost.device), lost, 0)
        # log-probabilities of several outputs add up, and so do divergences by the chain rule, on the given outputs
        return lost if self.together is None else self.together.to(lost)[None] @ lost


def joined(parts: list[Found]) -> Found:
    """What several sequences found, one after the other; of how, sums of counts and the largest of shares."""
    kind = type(parts[0].terms)
    terms = kind(*(torch.cat(columns) for columns in zip(*(part.terms for part in parts), strict=True)))
    whole = dict(parts[0].about)
    for name, value in whole.items():
        values = [part.about[name] for part in parts]
        if isinstance(value, int):
            whole[name] = sum(values)
        elif isinstance(value, float):
            whole[name] = None if None in values else max(values)
    return Found(terms, torch.cat([part.errors for part in parts]), whole)


def _of_curvature(curved: list[Sensitivity], mean: Tensor, errors: Tensor) -> dict[str, Any]:
    total = mean.sum()
    known = total > 0 and not errors.isnan().any()
    return {
        "curvature": curved[0].mode,
        "products": sum(one.products for one in curved),
        "omitted": round(max(one.omitted for one in curved), 4),
        "curvature_error": float(f"{(errors.sum() / total).item():.3g}") if known else None,
    }


def _fresh_draws(options: HETAOptions, count: int) -> list[CurvatureOptions]:
    """``options`` themselves and ``count`` - 1 others with seeds that follow from their own."""
    seeds = np.random.SeedSequence(options.seed).generate_state(count - 1).tolist()
    return [options, *(replace(options, seed=seed) for seed in seeds)]
