"""Whether attention is all that mixes a model's tokens, and where its weights, values and cached prefixes can be read.

As in `captum_heta.models.selfcheck`, passes of the model decide, not names.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from captum_heta.models.cache import prefix_cache
from captum_heta.models.calls import Call, after, attention_weights, before, recorded
from captum_heta.models.families import decoder_layers
from captum_heta.models.language_model import LanguageModel
from captum_heta.models.residual import Form, residual_forms
from captum_heta.models.selfcheck import UnfitModelError, in_a_pass
from captum_heta.models.state import own_implementations, runs_eagerly

# Called with the states of two texts and where they are.
Look = Callable[[Tensor, str], None]
# An attention module and the one that mixes its heads.
Attention = tuple[nn.Module, nn.Module]

# Far more than rounding of rows that are computed side by side, far less than what a token does to those after it.
_MIXED = 1e-4
_GATE = 0.02  # of the input of the output projection; rounding in bfloat16 is half of it


class AttentionFindings:
    """What is known of the attention of a model.

    Args:
        lm: a view of the model.
        candidates: by layer, the modules that have the parts of an attention module.
    """

    def __init__(self, lm: LanguageModel, candidates: Mapping[int, Sequence[Attention]]) -> None:
        self.lm, self.candidates = lm, candidates
        self.name = type(lm.model).__name__

    def check(self) -> None:
        """Find out everything, before there are hooks for something else; raise TypeError as the properties do."""
        self.lm.findings.per_layer(self.ids)
        assert self.modules
        assert self.reuses_prefix in (True, False)
        if not runs_eagerly(self.lm.model):
            assert self.fast_says_the_same in (True, False)

    @property
    def ids(self) -> Tensor:
        """Those of the text that is passed."""
        return self.lm.findings.ids

    @property
    def modules(self) -> dict[int, Attention]:
        """The attention module of each layer and its output projection; others are not called.

        Raises:
            TypeError: if a layer calls none or several, or mixes its tokens by something else too.
        """
        chosen = self.lm.findings.answer("attention", self._chosen)
        return {layer: self.candidates[layer][i] for layer, i in chosen.items()}

    @property
    def reuses_prefix(self) -> bool:
        """Whether what precedes a changed token may be read from the cache.

        Raises:
            TypeError: if the model's values cannot be read from a cache either.
        """
        return self.lm.findings.answer("prefix", self._reuses_prefix)

    @property
    def fast_says_the_same(self) -> bool:
        """Whether the model as it was loaded, with its own attention, reads a cached prefix as it reads a text."""
        return self.lm.findings.answer("fast", self._fast_says_the_same)

    @in_a_pass
    def _fast_says_the_same(self) -> bool:
        lm, length = self.lm, len(self.ids)
        cut = length // 2 if self.reuses_prefix else 0
        embeds, per_layer = lm.embed(self.ids)[None], lm.findings.per_layer(self.ids)
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
            except (ValueError, TypeError, RuntimeError, AttributeError, IndexError, NotImplementedError):
                return False  # right without it, and slower
        return all(lm.findings.agree(lm.findings.by_ids[cut:], row) for row in rest)

    @property
    def residual_forms(self) -> list[Form]:
        """How each layer adds what its attention gathers to the residual stream.

        Raises:
            TypeError: naming the layers that add it in a way that is not known.
        """
        return self.lm.findings.answer("residual", self._residual_forms)

    @in_a_pass
    def _residual_forms(self) -> list[Form]:
        return residual_forms(self.lm, self.modules, self.ids)

    @in_a_pass
    def _chosen(self) -> dict[int, int]:
        """The number of the candidate of each layer that is called.

        Two texts that differ in their first token go through the model while all attention modules say nothing. If
        anything of the one then differs from the other after that token, something else has carried it there.
        """
        findings, layers = self.lm.findings, list(decoder_layers(self.lm.model, self.lm.n_layers) or [])
        ids = torch.stack([self.ids, self.ids])
        ids[1, 0] = self.ids[1]  # another one
        per_layer = findings.per_layer(self.ids)  # before there are hooks, as this may take passes of its own
        modules = {(layer, i): pair for layer, some in self.candidates.items() for i, pair in enumerate(some)}
        mixing: list[str] = []

        def compared(states: Tensor, place: str) -> None:
            scale = states[0, 1:].float().std() + torch.finfo(torch.float32).tiny
            if (states[0, 1:] - states[1, 1:]).float().abs().max() > _MIXED * scale:
                mixing.append(place)

        with ExitStack() as stack:
            for _, projection in modules.values():
                stack.enter_context(after(projection, torch.zeros_like))
            for number, layer in enumerate(layers):
                stack.enter_context(before(layer, _alike_again(compared if number == 0 else None)))
                stack.enter_context(after(layer, _seen(compared, str(number))))
            calls = stack.enter_context(recorded({key: module for key, (module, _) in modules.items()}))
            log_probs = self.lm.log_probs(self.lm.embed(ids), keep=len(self.ids), per_layer=per_layer)
        compared(log_probs, "")
        if mixing:
            numbers = ", ".join(place for place in dict.fromkeys(mixing) if place.isdecimal())
            where = f"in layer(s) {numbers}" if numbers else "outside its attention modules"
            raise UnfitModelError(
                f"{self.name} carries tokens on by more than the attention that HETA can read, {where}: convolutions, "
                "state spaces and linear attention have no attention weights for the semantic flow to follow. "
                f"{_WITHOUT_ATTENTION}"
            )
        chosen = self._called({key: len(some) for key, some in calls.items()})
        self._check_weights({layer: (modules[layer, i][0], calls[layer, i][0]) for layer, i in chosen.items()})
        return chosen

    def _check_weights(self, called: Mapping[int, tuple[nn.Module, Call]]) -> None:
        """Refuse modules that look like attention and weigh nothing, as linear attention does."""
        without, length = [], len(self.ids)
        for layer, (module, call) in called.items():
            weights = attention_weights(module, call, [], 0)
            if weights is None or weights.ndim != 3 or weights.shape[1:] != (length, length):
                without.append(layer)
        if without:
            raise UnfitModelError(
                f"{self.name} returned no attention weights in layer(s) {without} (attention implementation: "
                f"{self.lm.model.config._attn_implementation}). Linear attention and state spaces have none: "
                f"{_WITHOUT_ATTENTION} Other models have them when they are loaded with attn_implementation='eager'."
            )

    def _called(self, counts: Mapping[tuple[int, int], int]) -> dict[int, int]:
        chosen = {}
        for layer, some in self.candidates.items():
            called = [i for i in range(len(some)) if counts[layer, i]]
            if len(called) != 1 or counts[layer, called[0]] > 1:
                what = (
                    "no" if not called else "more than one" if len(called) > 1 else "the same attention several times"
                )
                raise UnfitModelError(
                    f"{self.name} runs {what + ' attention' if len(called) != 1 else what} for text alone in layer "
                    f"{layer}: the semantic flow needs one in every layer. {_WITHOUT_ATTENTION}"
                )
            chosen[layer] = called[0]
        return chosen

    @in_a_pass
    def _reuses_prefix(self) -> bool:
        lm, findings = self.lm, self.lm.findings
        if not lm.names.takes_cache:
            raise UnfitModelError(
                f"The forward of {self.name} takes no cache of keys and values, which HETA reads the values from. "
                f"{_WITHOUT_ATTENTION}"
            )
        length = len(self.ids)
        cut = length // 2  # the prefix, which is read from the cache, and the rest
        embeds, per_layer = lm.embed(self.ids)[None], findings.per_layer(self.ids)
        modules = self.modules
        cache = DynamicCache()
        projections = {layer: projection for layer, (_, projection) in modules.items()}
        with (
            recorded({layer: module for layer, (module, _) in modules.items()}) as calls,
            recorded(projections) as mixed,
        ):
            try:
                whole = lm.log_probs(embeds, keep=length, cache=cache, per_layer=per_layer)[0]
            except (ValueError, TypeError, AttributeError, IndexError, NotImplementedError) as error:
                raise UnfitModelError(
                    f"{self.name} cannot be given a plain cache of keys and values, which HETA reads the values from "
                    f"({type(error).__name__}: {error}): it keeps a state of another kind. {_WITHOUT_ATTENTION}"
                ) from error
        past = [(keys, values) for keys, values, *_ in cache]
        if len(past) < len(modules) or any(
            values is None or values.ndim != 4 or values.shape[-2] != length for _, values in past
        ):
            raise UnfitModelError(
                f"{self.name} does not leave the keys and values of {length} tokens in the cache of transformers that "
                "it is given: its values cannot be read. It keeps them in a way of its own, shares them between "
                "layers, or takes the cache by another name than captum_heta knows."
            )
        if not findings.agree(findings.by_ids, whole):
            raise UnfitModelError(f"{self.name} predicts something else when it is given an empty cache.")
        for layer, (module, _) in modules.items():
            weights = attention_weights(module, calls[layer][0], past, 0)
            if weights is not None and not _makes(weights, past[layer][1], mixed[layer]):
                warnings.warn(
                    f"{self.name} does something to what attention gathers before its output projection (a norm, an "
                    "output gate, a difference of heads): HETA's gate M leaves it out and is an approximation. "
                    "Curvature and information are exact.",
                    stacklevel=2,
                )
                break
        try:
            rest = lm.log_probs(
                embeds[:, cut:],
                keep=length - cut,
                start=cut,
                cache=prefix_cache(past, cut),
                per_layer=None if per_layer is None else per_layer[cut:],
            )[0]
        except (ValueError, TypeError, RuntimeError, AttributeError, IndexError, KeyError, NotImplementedError):
            return False  # right without it, and slower
        return findings.agree(findings.by_ids[cut:], rest)


_WITHOUT_ATTENTION = "NormXLogit, ReAGent, TDD and Captum's perturbation methods need no attention."


def _alike_again(look: Look | None) -> Callable[[tuple[Any, ...], dict[str, Any]], Any]:
    """A layer's second text is given the first one's states after the first token: each layer speaks for itself."""

    def change(arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
        call = Call(arguments, named)
        states = call.hidden_states
        if states.ndim != 3:  # several streams: what is mixed is seen at the end
            return None
        if look is not None:
            look(states, "before")
        return call.having(torch.stack([states[0], torch.cat([states[1, :1], states[0, 1:]])]))

    return change


def _seen(look: Look, place: str) -> Callable[[Any], None]:
    def see(output: Any) -> None:
        states = output[0] if isinstance(output, tuple) else output
        if isinstance(states, Tensor) and states.ndim == 3:
            look(states, place)

    return see


def _makes(weights: Tensor, values: Tensor, calls: Sequence[Call]) -> bool:
    """Whether the output projection is given A V: weights (H, T, T) times values (1, key-value heads, T, size)."""
    if len(calls) != 1:
        return False
    given = calls[0].arguments[0] if calls[0].arguments else next(iter(calls[0].named.values()))
    mixed = given.reshape(-1, given.shape[-1])
    heads, (groups, size) = len(weights), (values.shape[1], values.shape[-1])
    if heads % groups or mixed.shape != (weights.shape[1], heads * size):
        return False
    values = values[0].to(weights.device).repeat_interleave(heads // groups, dim=0)
    made = (weights.float() @ values.float()).transpose(0, 1).flatten(1)
    return bool((made - mixed.float().to(made.device)).norm() <= _GATE * made.norm())
