"""How a layer adds what its attention gathers to the residual stream, found out by a pass and not taken from its name.

Llama adds it as it is, Gemma and OLMo 2 add what a norm makes of it, Granite a part of it; GPT-J adds it beside its
MLP, and BLOOM may add it to what a norm made of the stream.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from captum_heta.models.calls import answered, before
from captum_heta.models.families import decoder_layers
from captum_heta.models.language_model import LanguageModel
from captum_heta.models.selfcheck import UnfitModelError

# How far a sum may be from its parts, as a part of its size: rounding, times ten.
_TOLERANCES = {torch.float64: 1e-8, torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 3e-2}
# A fit that leaves more than this part of what attention adds has not found it; neither has one without both parts.
_MOST_LEFT = 0.3
_LEAST_FACTOR = 1e-3


class Form(NamedTuple):
    """What is known of a layer: the stream after attention is ``kept`` x + ``scale`` norm(o).

    Attributes:
        norm: the name in the layer of the module that o goes through; None for none.
        kept: the factor of x.
        scale: the factor of what attention adds.
        of_given: whether x is what the attention module is given; otherwise what the layer is given.
    """

    norm: str | None
    kept: float
    scale: float
    of_given: bool


@dataclass(frozen=True, eq=False)
class Residual:
    """One layer's residual stream around its attention: y = ``kept`` x + ``scale`` norm(o), o what attention gathers.

    Attributes:
        stream: x, (T, d).
        kept: the factor of x.
        scale: the factor of what attention adds.
        norm: what o goes through; None for nothing.
    """

    stream: Tensor
    kept: float
    scale: float
    norm: nn.Module | None

    @cached_property
    def _affine(self) -> "Affine | None":
        return None if self.norm is None else Affine.of(self.norm, self.stream)

    def written(self, gathered: Tensor) -> tuple[Tensor, Tensor]:
        """What is added for o at some positions, (Q, d), and the factor (Q, 1) of each `part` of it there."""
        if self._affine is None:
            return self.scale * gathered, torch.full_like(gathered[:, :1], self.scale)
        assert self.norm is not None
        sizes = self._affine.sizes(gathered, self.norm)
        return self.scale * (sizes * self._affine.linear(gathered) + self._affine.shift), self.scale * sizes

    def part(self, vectors: Tensor) -> Tensor:
        """What parts (..., d) of o become, up to the factors of `written`: a norm scales each as it does their sum."""
        return vectors if self._affine is None else self._affine.linear(vectors)


class Affine(NamedTuple):
    """A norm as a linear map for each row, up to a factor: norm(o) = size(o) gain (o - mean(o)) + shift.

    Attributes:
        gain: (d,).
        shift: (d,), 0 for a norm without a bias.
        centred: whether it takes off the mean.
    """

    gain: Tensor
    shift: Tensor
    centred: bool

    @classmethod
    def of(cls, norm: nn.Module, like: Tensor) -> "Affine":
        """That of a norm, for rows of the dtype, width and device of ``like`` (T, d)."""
        width = like.shape[-1]
        # of mean 0 and of size 1: up to its bias, a norm gives its gain, with the signs of the row
        signs = (1 - 2 * (torch.arange(width) % 2)).to(like)
        probes = 1000 * torch.stack([signs, -signs, signs + 1])  # far above what is added before the root
        ahead, behind, moved = norm(probes[None])[0].to(torch.promote_types(like.dtype, torch.float32))
        gain = (ahead - behind) / 2 * signs
        # a norm that takes off the mean does not see that the third is moved
        centred = bool((moved - ahead).norm() < 0.1 * (ahead - behind).norm())
        return cls(gain, (ahead + behind) / 2, centred)

    def linear(self, vectors: Tensor) -> Tensor:
        """What the norm does to vectors (..., d), but for the size of their sum and its shift."""
        return self.gain * (vectors - vectors.mean(-1, keepdim=True) if self.centred else vectors)

    def sizes(self, gathered: Tensor, norm: nn.Module) -> Tensor:
        """By how much the norm scales rows (Q, d), (Q, 1)."""
        linear = self.linear(gathered)
        made = norm(gathered[None].to(self.dtype_of(norm, gathered)))[0].to(linear) - self.shift
        return (made * linear).sum(-1, keepdim=True) / linear.square().sum(-1, keepdim=True).clamp(min=1e-30)

    @staticmethod
    def dtype_of(norm: nn.Module, otherwise: Tensor) -> torch.dtype:
        """That of a norm's parameters."""
        return next((parameter.dtype for parameter in norm.parameters()), otherwise.dtype)


def residual_forms(lm: LanguageModel, attention: Mapping[int, tuple[nn.Module, nn.Module]], ids: Tensor) -> list[Form]:
    """The form of each layer; call within a pass of `captum_heta.models.selfcheck`.

    Args:
        lm: the model.
        attention: by layer, its attention module and the output projection.
        ids: (n,), the text that is passed.

    Raises:
        UnfitModelError: naming the layers whose stream after attention is no such sum.
    """
    layers = decoder_layers(lm.model, lm.n_layers)
    name = type(lm.model).__name__
    if layers is None:
        raise UnfitModelError(f"The layers of {name} are in no torch.nn.ModuleList. {ADVICE}")
    seen = _Seen(layers, attention)
    with seen:
        lm.log_probs(lm.embed(ids)[None], per_layer=lm.per_layer(ids))
    coarse = lm.is_quantized or torch.is_autocast_enabled(lm.device.type)
    tolerance = _TOLERANCES.get(torch.bfloat16 if coarse else lm.dtype, _TOLERANCES[torch.bfloat16])
    found = [_form(layer, seen.of_layer(number), tolerance) for number, layer in enumerate(layers)]
    unknown = [number for number, form in enumerate(found) if form is None]
    if unknown:
        raise UnfitModelError(
            f"captum_heta does not see how {name} adds what attention gathers to its residual stream in layer(s) "
            f"{unknown}: the stream after it is not a x + b o, o through a norm or not. {ADVICE}"
        )
    return [form for form in found if form is not None]


ADVICE = "The contribution flow follows that stream: take flow='attention'."


class _Layer(NamedTuple):
    """What one layer was given and made in a pass, each (n, d) in float64; by the names of its children."""

    entering: Tensor
    leaving: Tensor
    given: Tensor
    gathered: Tensor
    into: dict[str, Tensor]
    out_of: dict[str, Tensor]


class _Seen:
    """Records a pass of all layers and their children."""

    def __init__(self, layers: nn.ModuleList, attention: Mapping[int, tuple[nn.Module, nn.Module]]) -> None:
        self.layers, self.attention = layers, attention
        self.inputs: dict[tuple[int, str], Tensor | None] = {}
        self.outputs: dict[tuple[int, str], Tensor | None] = {}
        self._stack = ExitStack()

    def __enter__(self) -> None:
        modules: dict[tuple[int, str], nn.Module] = {}
        for number, layer in enumerate(self.layers):
            module, projection = self.attention[number]
            modules |= {(number, f"child {name}"): child for name, child in layer.named_children()}
            modules |= {(number, "layer"): layer, (number, "attention"): module, (number, "projection"): projection}
        for key, module in modules.items():
            self._stack.enter_context(before(module, self._keeping_input(key)))
            self._stack.enter_context(answered(module, self._keeping_output(key)))

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def _keeping_input(self, key: tuple[int, str]) -> Any:
        def keep(arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
            given = arguments[0] if arguments else named.get("hidden_states")
            self.inputs.setdefault(key, _copied(given))

        return keep

    def _keeping_output(self, key: tuple[int, str]) -> Any:
        def keep(arguments: tuple[Any, ...], output: Any) -> None:
            self.outputs.setdefault(key, _copied(output[0] if isinstance(output, tuple) else output))

        return keep

    def of_layer(self, number: int) -> _Layer | None:
        """None if a state is not (1, n, d)."""
        own = {name: key for key in self.outputs if key[0] == number for name in [key[1]]}
        entering = self.inputs[own["layer"]]
        if entering is None or entering.ndim != 3:
            return None
        shape = entering.shape

        def flat(states: Tensor | None) -> Tensor | None:
            if not isinstance(states, Tensor) or states.numel() != entering.numel() or states.shape[-1] != shape[-1]:
                return None
            return states.reshape(-1, shape[-1]).double().to(entering.device)

        leaving, gathered = (flat(self.outputs[own[name]]) for name in ("layer", "projection"))
        start, given = (flat(self.inputs[own[name]]) for name in ("layer", "attention"))
        if start is None or leaving is None or given is None or gathered is None:
            return None
        children = {name.removeprefix("child "): key for name, key in own.items() if name.startswith("child ")}
        into = {name: flat(self.inputs[key]) for name, key in children.items()}
        out_of = {name: flat(self.outputs[key]) for name, key in children.items()}
        kept = [{name: part for name, part in some.items() if part is not None} for some in (into, out_of)]
        return _Layer(start, leaving, given, gathered, *kept)


def _copied(states: Any) -> Tensor | None:
    """A layer may add to what a child made in its place."""
    return states.detach().clone() if isinstance(states, Tensor) else None


def _form(layer: nn.Module, seen: _Layer | None, tolerance: float) -> Form | None:
    """The sum that leaves least of any stream after attention that is there; of several as good, the simplest."""
    if seen is None:
        return None
    found: list[tuple[float, Form]] = []
    for norm, added in _added(layer, seen, tolerance):
        for of_given, stream in ((False, seen.entering), (True, seen.given)):
            for after in _after(seen):
                kept, scale, left = _fit(stream, added, after)
                if left > tolerance * after.norm() or left > _MOST_LEFT * abs(scale) * added.norm():
                    continue
                if min(abs(kept), abs(scale)) >= _LEAST_FACTOR:
                    found.append((left, Form(norm, _snapped(kept, tolerance), _snapped(scale, tolerance), of_given)))
    # without a norm before it, attention is given the stream itself: rounding alone tells the two apart
    least = min((left for left, _ in found), default=0.0)
    return next((form for left, form in found if left <= 2 * least), None)


def _added(layer: nn.Module, seen: _Layer, tolerance: float) -> Iterator[tuple[str | None, Tensor]]:
    """What attention may add: what it gathers, or what a child of the layer makes of that, if it is a norm."""
    yield None, seen.gathered
    for name, given in seen.into.items():
        made = seen.out_of.get(name)
        if made is None or (given - seen.gathered).norm() > tolerance * seen.gathered.norm():
            continue
        norm = layer.get_submodule(name)
        affine = Affine.of(norm, seen.gathered.to(Affine.dtype_of(norm, seen.gathered)))
        rows = seen.gathered.to(affine.gain)
        again = affine.sizes(rows, norm) * affine.linear(rows) + affine.shift
        if (again - made).norm() <= 10 * tolerance * made.norm():
            yield name, made


def _after(seen: _Layer) -> Iterator[Tensor]:
    """What may be the stream after attention: a child's input, or the layer's output without what a child made."""
    yield from seen.into.values()
    yield from (seen.leaving - made for made in seen.out_of.values())
    yield seen.leaving


def _fit(stream: Tensor, added: Tensor, after: Tensor) -> tuple[float, float, float]:
    """The factors a and b of the sum a stream + b added nearest to ``after``, and how far it is from it."""
    parts = torch.stack([stream.flatten(), added.flatten()], dim=1)
    weights = torch.linalg.lstsq(parts, after.flatten()[:, None]).solution
    left = (parts @ weights)[:, 0] - after.flatten()
    return float(weights[0]), float(weights[1]), float(left.norm())


def _snapped(factor: float, tolerance: float) -> float:
    return 1.0 if abs(factor - 1) <= max(tolerance, 1e-6) else factor
