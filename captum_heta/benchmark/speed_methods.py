"""What whole methods take: HETA's forms, the gradient's norm, and three of Captum's methods."""

import warnings
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from captum.attr import FeatureAblation, LayerIntegratedGradients, ShapleyValueSampling
from torch import Tensor

from captum_heta.attr import HETA, GradientNorm, TargetedHETA
from captum_heta.benchmark.speed_clock import line
from captum_heta.benchmark.speed_parts import Parts
from captum_heta.benchmark.speed_peers import PEERS, peer_cost
from captum_heta.benchmark.speed_prompt import Subject
from captum_heta.benchmark.speed_table import Cost
from captum_heta.features import Features

IG_STEPS = 50
SHAPLEY_SAMPLES = 25
REFINE = 0.9
_WARM = 8

TITLES = {
    "ig": f"Integrated Gradients ({IG_STEPS})",
    "targeted": "Targeted HETA",
    "targeted_all": "Targeted HETA, skip=0",
    "targeted_refined": f"Targeted HETA, refine={REFINE}",
    "heta_fisher": "HETA (fisher)",
    "heta_auto": "HETA (auto)",
    "gradient_norm": "Gradient Norm",
    "ablation": "Feature Ablation",
    "shapley": f"Shapley Value Sampling ({SHAPLEY_SAMPLES})",
} | PEERS

# the methods that are HETA, what they are called with, and the parts that each has beside its masked passes
_HETAS: dict[str, tuple[type[HETA], dict[str, Any], tuple[str, ...]]] = {
    "targeted": (TargetedHETA, {}, ("trace", "flow", "fisher")),
    "targeted_all": (TargetedHETA, {"skip": 0.0}, ("trace", "flow", "fisher")),
    "targeted_refined": (TargetedHETA, {"refine": REFINE}, ("trace", "flow", "fisher")),
    "heta_fisher": (HETA, {"curvature": "fisher"}, ("trace", "fisher")),
    "heta_auto": (HETA, {"curvature": "auto"}, ("trace", "low_rank")),
}
_EVERY_PASS = ("targeted_all", "heta_fisher", "heta_auto")


class Methods:
    """The costs of whole methods on one prompt.

    Args:
        parts: the prompt, and what parts of a method take where a prompt is long.
    """

    def __init__(self, parts: Parts) -> None:
        self.parts, self.subject = parts, parts.subject

    def cost(self, name: str) -> Cost | None:
        """What one of `TITLES` takes; None for what cannot be run on this prompt, or is not installed."""
        if name in PEERS:
            return peer_cost(name, self.subject, self.parts.time, warm=not self.parts.long)
        if name in _HETAS:
            return self._heta(name)
        known: dict[str, Callable[[], Cost]] = {
            "ig": self._integrated,
            "gradient_norm": self._gradient_norm,
            "ablation": self._ablation,
            "shapley": self._shapley,
        }
        return known[name]()

    def targets(self, count: int, together: bool) -> Cost:
        """HETA in the mode fisher on so many output tokens."""
        outputs = torch.arange(count, device=self.subject.ids.device) % self.parts.lm.vocab_size
        return self._attributed(HETA, self.subject, {"curvature": "fisher", "per_token": not together}, outputs)

    def _heta(self, name: str) -> Cost | None:
        kind, options, parts = _HETAS[name]
        if "refine" in options and self.subject.parts is None:
            return None
        # text asks something, and where its answer is is soon found; random tokens may need every pass
        if not self.parts.long or (self.subject.text is not None and name not in _EVERY_PASS):
            return self._attributed(kind, self.subject, options)
        needed = [found for found in map(self.parts.cost, parts) if found is not None]
        passes = self.parts.cost("information")
        assert passes is not None
        count, skipped = len(self.subject.features), None
        if name not in _EVERY_PASS:
            count, skipped = self._looked_at(kind, options)
        spent = sum(found.seconds for found in needed) + passes.seconds * count / len(self.subject.features)
        return Cost(spent, False, sum(found.products or 0 for found in needed), count, skipped)

    def _looked_at(self, kind: type[HETA], options: Mapping[str, Any]) -> tuple[int, int]:
        """Passes and skipped features, in the proportion to the features that they have in the prompt's beginning."""
        whole, base = self.subject, min(self.parts.base, len(self.subject.features))
        short = whole.beginning(base)
        found = self._attributed(kind, short, options)
        scale = len(whole.features) / len(short.features)
        return round((found.passes or 0) * scale), round((found.skipped or 0) * scale)

    def _attributed(
        self, kind: type[Any], subject: Subject, options: Mapping[str, Any], outputs: Tensor | None = None
    ) -> Cost:
        method, found = kind(subject.model), []
        given = dict(options)
        if "refine" in given:
            given["parts"] = subject.parts
        if outputs is None:
            outputs = torch.tensor([subject.target], device=subject.ids.device)
        with warnings.catch_warnings():  # that nothing supports a random target is no news
            warnings.simplefilter("ignore", UserWarning)
            self._warm(method, options)
            spent = self.parts.time(
                lambda: found.append(method.attribute_outputs(subject.ids, outputs, subject.features, **given))
            )
        about = found[0].about
        return Cost(spent, True, about.get("products"), about.get("passes"), about.get("skipped"))

    def _warm(self, method: Any, options: Mapping[str, Any]) -> None:
        """A call on few tokens, in which a model is tested once for all."""
        ids = self.subject.ids[:_WARM]
        given = {name: value for name, value in options.items() if name != "refine"}
        method.attribute_outputs(ids, ids[:1], Features.of_tokens(range(len(ids))), **given)

    def _gradient_norm(self) -> Cost:
        return self._attributed(GradientNorm, self.subject, {})

    def _forward(self, ids: Tensor) -> Tensor:
        return self.subject.model(ids).logits[:, -1].log_softmax(-1)

    @property
    def _rows(self) -> int:
        """How many prompts Captum's methods put through the model at once."""
        return max(1, 1024 // self.parts.tokens)

    def _integrated(self) -> Cost:
        method = LayerIntegratedGradients(self._forward, self.subject.model.get_input_embeddings())
        ids = self.subject.ids[None]

        def timed(steps: int) -> float:
            return self.parts.time(
                lambda: method.attribute(
                    ids, torch.zeros_like(ids), self.subject.target, n_steps=steps, internal_batch_size=self._rows
                )
            )

        timed(1)  # caches and thread pools warm up
        if self.parts.long:
            return Cost(line(timed, 1, IG_STEPS), False)
        return Cost(timed(IG_STEPS))

    def _ablation(self) -> Cost:
        count = len(self.subject.ids)
        if self.parts.long:
            return Cost(self._passes(count + 1), False, passes=count)
        method = FeatureAblation(self._forward)
        return Cost(self._perturbed(method), passes=count)

    def _shapley(self) -> Cost:
        count = len(self.subject.ids) * SHAPLEY_SAMPLES
        if self.parts.long:
            return Cost(self._passes(count), False, passes=count)
        method = ShapleyValueSampling(self._forward)
        return Cost(self._perturbed(method, n_samples=1) * SHAPLEY_SAMPLES, False, passes=count)

    def _perturbed(self, method: Any, **options: int) -> float:
        ids = self.subject.ids[None]
        run = partial(
            method.attribute,
            ids,
            torch.zeros_like(ids),
            self.subject.target,
            perturbations_per_eval=self._rows,
            **options,
        )
        return self.parts.time(run)

    def _passes(self, count: int) -> float:
        """Seconds of so many passes over the whole prompt, from two batches."""
        ids = self.subject.ids.expand(self._rows, -1)
        with torch.no_grad():
            return self.parts.time(lambda: self._forward(ids), warm=True) * count / self._rows
