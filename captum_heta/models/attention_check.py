"""What HETA needs to know of how a model carries tokens on: by which modules, and what a cached prefix is good for.

As in `captum_heta.models.selfcheck`, passes of the model decide, not names.
"""

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from captum_heta.models.attention_reading import is_product
from captum_heta.models.cache import prefix_cache
from captum_heta.models.calls import Call, recorded
from captum_heta.models.families import decoder_layers
from captum_heta.models.interface import attention_weights, product
from captum_heta.models.language_model import LanguageModel
from captum_heta.models.mixing import WITHOUT_ATTENTION, Attention, Others, Place, places
from captum_heta.models.published import WAY_OUT, PublishedWeights, published_weights
from captum_heta.models.residual import Form, Gatherers, residual_forms
from captum_heta.models.selfcheck import UnfitModelError, in_a_pass
from captum_heta.models.state import own_implementations, runs_eagerly

# What a pass may raise that is given something it cannot use.
_FAILS = (ValueError, TypeError, RuntimeError, AttributeError, IndexError, KeyError, NotImplementedError)
# What a plain cache of keys and values is good for.
_PREFIX, _VALUES, _NOTHING = "prefix", "values", "nothing"
# How far the gradients of two kernels may be apart, as a part of their size: rounding, times ten and more.
_GRADIENTS = {torch.float64: 1e-6, torch.float32: 1e-3, torch.float16: 3e-2, torch.bfloat16: 1e-1}


class AttentionFindings:
    """What is known of how a model carries tokens on.

    Args:
        lm: a view of the model.
    """

    def __init__(self, lm: LanguageModel) -> None:
        self.lm = lm
        self.name = type(lm.model).__name__

    def check(self) -> None:
        """Find out everything, before there are hooks for something else; raise TypeError as the properties do."""
        self.lm.findings.per_layer(self.ids)
        assert self.places
        assert self.reuses_prefix in (True, False)
        if not runs_eagerly(self.lm.model):
            assert self.fast_says_the_same in (True, False)

    @property
    def ids(self) -> Tensor:
        """Those of the text that is passed."""
        return self.lm.findings.ids

    @property
    def places(self) -> list[Place]:
        """Where tokens are carried on, in their order.

        Raises:
            TypeError: if something carries them on that is not found.
        """
        return self.lm.findings.answer("attention", self._places)

    @property
    def leaves_out(self) -> bool:
        """Whether tokens must be left out of modules to see what these carry on."""
        return any(isinstance(place, Others) for place in self.places)

    def module(self, name: str) -> nn.Module:
        """A module of `places`."""
        return self.lm.model.get_submodule(name)

    def slot(self, place: Attention) -> int:
        """Which part of a cache belongs to an attention module."""
        return getattr(self.module(place.module), "layer_idx", place.layer)

    @property
    def reuses_prefix(self) -> bool:
        """Whether what precedes a changed token may be read from the cache.

        Raises:
            TypeError: if values must be read from a cache, and cannot be.
        """
        return self.lm.findings.answer("prefix", self._cache) == _PREFIX

    @property
    def takes_cache(self) -> bool:
        """Whether a pass is given a plain cache of keys and values: to reuse a prefix, or to read values."""
        return self.lm.findings.answer("prefix", self._cache) != _NOTHING

    @property
    def fast_says_the_same(self) -> bool:
        """Whether the model as it was loaded, with its own attention, reads a cached prefix as it reads a text."""
        return self.lm.findings.answer("fast", self._fast_says_the_same)

    @in_a_pass
    def _fast_says_the_same(self) -> bool:
        lm, length = self.lm, len(self.ids)
        cut = length // 2 if self.reuses_prefix else 0
        embeds, per_layer = lm.embed(self.ids)[None], lm.findings.per_layer(self.ids)
        past: list[tuple[Tensor, Tensor]] = []
        if cut:
            cache = DynamicCache()
            lm.log_probs(embeds, keep=1, cache=cache, per_layer=per_layer)
            past = [(keys, values) for keys, values, *_ in cache]
        with own_implementations(lm.model):
            try:
                # two rows, as masked copies are: each behind the one cached prefix
                rest = lm.log_probs(
                    embeds[:, cut:].expand(2, -1, -1),
                    keep=length - cut,
                    start=cut,
                    cache=prefix_cache(past, cut) if cut else None,
                    per_layer=None if per_layer is None else per_layer[cut:],
                )
            except _FAILS:
                return False  # right without it, and slower
        return all(lm.findings.agree(lm.findings.by_ids[cut:], row) for row in rest)

    @property
    def fast_differentiates(self) -> bool:
        """Whether the model as it was loaded has the gradients too that it has with eager attention."""
        return self.lm.findings.answer("fast gradients", self._fast_differentiates)

    @in_a_pass
    def _fast_differentiates(self) -> bool:
        if not self.fast_says_the_same:
            return False
        try:
            eager = self._gradient()
            with own_implementations(self.lm.model):
                fast = self._gradient()
        except _FAILS:
            return False
        return bool((fast - eager).norm() <= _GRADIENTS.get(eager.dtype, 0.0) * eager.norm())

    @torch.enable_grad()
    def _gradient(self) -> Tensor:
        """That of the probability of the text that is passed, in its embeddings."""
        embeds = self.lm.embed(self.ids).detach().requires_grad_()
        keep = len(self.ids)
        log_probs = self.lm.log_probs(embeds[None], keep=keep, per_layer=self.lm.findings.per_layer(self.ids))[0]
        said = log_probs[:-1].gather(1, self.ids[1:, None]).sum()
        return torch.autograd.grad(said, embeds, materialize_grads=True)[0]

    @property
    def residual_forms(self) -> list[Form]:
        """How what is gathered at each of the `places` is added to the residual stream.

        Raises:
            TypeError: naming the layers that add it in a way that is not known.
        """
        return self.lm.findings.answer("residual", self._residual_forms)

    @in_a_pass
    def _residual_forms(self) -> list[Form]:
        return residual_forms(self.lm, [self._gatherers(place) for place in self.places], self.ids)

    @property
    def published_weights(self) -> list[PublishedWeights | None]:
        """Where the code that HETA's authors published finds W_V and W_O of each layer.

        Raises:
            TypeError: for a model with a layer that has not one attention module that can be read, and as
                `captum_heta.models.published.published_weights` does.
        """
        layers = [place.layer for place in self.places if isinstance(place, Attention)]
        if len(layers) < len(self.places) or layers != list(range(self.lm.n_layers)):
            raise UnfitModelError(
                f"flow='published' follows each head through all layers, and of the {self.lm.n_layers} of {self.name} "
                f"those with one attention module that can be read are {sorted(set(layers))}. {WAY_OUT}"
            )
        return published_weights(self.lm, [place.module for place in self.places if isinstance(place, Attention)])

    def _gatherers(self, place: Place) -> Gatherers:
        if isinstance(place, Others):
            pairs = [(name, name) for name in place.modules]
        else:
            pairs = [(place.module, place.projection)]
        return Gatherers(place.layer, [(self.module(module), self.module(made)) for module, made in pairs])

    @in_a_pass
    def _places(self) -> list[Place]:
        layers = decoder_layers(self.lm.model, self.lm.n_layers)
        if layers is None:
            raise UnfitModelError(
                f"The layers of {self.name} are in no torch.nn.ModuleList of {self.lm.n_layers}: captum_heta cannot "
                f"follow what carries tokens on. {WITHOUT_ATTENTION}"
            )
        found = places(self.lm, list(layers), self.ids)
        if not found:
            raise UnfitModelError(f"Nothing in the layers of {self.name} carries a token on to the next.")
        if any(isinstance(place, Attention) and place.between == "unknown" for place in found):
            self._warn_of_gate()
        return found

    def _warn_of_gate(self) -> None:
        warnings.warn(
            f"{self.name} does something to what attention gathers before its output projection (a norm that takes off "
            "the mean, a difference of heads): HETA's gate M leaves it out and is an approximation. Curvature and "
            "information are exact.",
            stacklevel=2,
        )

    @in_a_pass
    def _cache(self) -> str:
        lm, length = self.lm, len(self.ids)
        cached = [place for place in self.places if isinstance(place, Attention) and not place.at_interface]
        try:
            past = self._filled(cached)
        except UnfitModelError:
            if cached:
                raise
            return _NOTHING
        cut = length // 2  # the prefix, which is read from the cache, and the rest
        without_prefix = _VALUES if cached else _NOTHING
        if any(values is None or values.ndim != 4 or values.shape[-2] != length for pair in past for values in pair):
            return without_prefix
        per_layer = lm.findings.per_layer(self.ids)
        try:
            rest = lm.log_probs(
                lm.embed(self.ids)[None, cut:],
                keep=length - cut,
                start=cut,
                cache=prefix_cache(past, cut),
                per_layer=None if per_layer is None else per_layer[cut:],
            )[0]
        except _FAILS:
            return without_prefix  # right without it, and slower
        return _PREFIX if lm.findings.agree(lm.findings.by_ids[cut:], rest) else without_prefix

    def _filled(self, cached: Sequence[Attention]) -> list[tuple[Any, Any]]:
        """The keys and values of each layer that a pass leaves in a plain cache.

        Raises:
            UnfitModelError: if it leaves others than those of each token, or says something else with a cache.
        """
        lm, length = self.lm, len(self.ids)
        if not lm.names.takes_cache:
            raise UnfitModelError(
                f"The forward of {self.name} takes no cache of keys and values, which HETA reads the values from. "
                f"{WITHOUT_ATTENTION}"
            )
        cache = DynamicCache()
        modules = {place: self.module(place.module) for place in cached}
        projections = {place: self.module(place.projection) for place in cached}
        with recorded(modules) as calls, recorded(projections) as mixed:
            try:
                whole = lm.log_probs(
                    lm.embed(self.ids)[None],
                    keep=length,
                    cache=cache,
                    per_layer=lm.findings.per_layer(self.ids),
                )[0]
            except _FAILS as error:
                raise UnfitModelError(
                    f"{self.name} cannot be given a plain cache of keys and values, which HETA reads the values from "
                    f"({type(error).__name__}: {error}): it keeps a state of another kind. {WITHOUT_ATTENTION}"
                ) from error
        past = [(keys, values) for keys, values, *_ in cache]
        for place in cached:
            slot = self.slot(place)
            values = past[slot][1] if slot < len(past) else None
            if values is None or values.ndim != 4 or values.shape[-2] != length:
                raise UnfitModelError(
                    f"{self.name} does not leave the keys and values of {length} tokens in the cache of transformers "
                    "that it is given: its values cannot be read. It keeps them in a way of its own, shares them "
                    "between layers, or takes the cache by another name than captum_heta knows."
                )
        if not lm.findings.agree(lm.findings.by_ids, whole):
            raise UnfitModelError(f"{self.name} predicts something else when it is given an empty cache.")
        for place, module in modules.items():
            weights = attention_weights(module, calls[place][0], past, 0)
            if weights is not None and not _makes(weights, past[self.slot(place)][1], mixed[place]):
                self._warn_of_gate()
                break
        return past


def _makes(weights: Tensor, values: Tensor, calls: Sequence[Call]) -> bool:
    """Whether the output projection is given A V: weights (H, T, T) times values (1, key-value heads, T, size)."""
    if len(calls) != 1:
        return False
    given = calls[0].arguments[0] if calls[0].arguments else next(iter(calls[0].named.values()))
    made = product(weights.float(), values[0].float())
    # all heads side by side, as one row of the projection
    return made is not None and given.shape[-1] == made[0].numel() and is_product(made, given)
