"""How a layer adds what its attention gathers to the residual stream, found out by a pass and not taken from its name.

Llama adds it as it is, Gemma and OLMo 2 add what a norm makes of it, Granite a part of it; GPT-J adds it beside its
MLP, and BLOOM may add it to what a norm made of the stream.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from captum_heta.models.calls import answered, before, first
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

    Where several modules gather, o is the sum of what they make, each times its share.

    Attributes:
        norm: the name in the layer of the module that o goes through; None for none.
        kept: the factor of x.
        scale: the factor of what attention adds.
        of_given: whether x is what the attention module is given; otherwise what the layer is given.
        shares: of the modules that gather, by their order.
    """

    norm: str | None
    kept: float
    scale: float
    of_given: bool
    shares: tuple[float, ...] = (1.0,)


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


class Gatherers(NamedTuple):
    """What gathers at one place.

    Attributes:
        layer: the number of its layer.
        modules: pairs of a module that carries tokens on and the one whose output is what it gathers.
    """

    layer: int
    modules: list[tuple[nn.Module, nn.Module]]


def residual_forms(lm: LanguageModel, gatherers: Sequence[Gatherers], ids: Tensor) -> list[Form]:
    """The form of each place where tokens are carried on; call within a pass of `captum_heta.models.selfcheck`.

    Args:
        lm: the model.
        gatherers: of each place.
        ids: (n,), the text that is passed.

    Raises:
        UnfitModelError: naming the layers whose stream after attention is no such sum.
    """
    layers = decoder_layers(lm.model, lm.n_layers)
    name = type(lm.model).__name__
    if layers is None:
        raise UnfitModelError(f"The layers of {name} are in no torch.nn.ModuleList. {ADVICE}")
    seen = _Seen(layers, gatherers)
    with seen:
        lm.log_probs(lm.embed(ids)[None], per_layer=lm.per_layer(ids))
    coarse = lm.is_quantized or torch.is_autocast_enabled(lm.device.type)
    tolerance = _TOLERANCES.get(torch.bfloat16 if coarse else lm.dtype, _TOLERANCES[torch.bfloat16])
    numbers = [one.layer for one in gatherers]
    found = [
        # what is added to after another step in the same layer is not looked for
        None if one.layer in numbers[:place] else _form(layers[one.layer], seen.of_place(place), tolerance)
        for place, one in enumerate(gatherers)
    ]
    unknown = [one.layer for one, form in zip(gatherers, found, strict=True) if form is None]
    if unknown:
        raise UnfitModelError(
            f"captum_heta does not see how {name} adds what attention gathers to its residual stream in layer(s) "
            f"{unknown}: the stream after it is not a x + b o, o through a norm or not. {ADVICE}"
        )
    return [form for form in found if form is not None]


ADVICE = "The contribution flow follows that stream: take flow='attention'."


class _Layer(NamedTuple):
    """What the layer of a place was given and made in a pass, each (n, d) in float64; by the names of its children."""

    entering: Tensor
    leaving: Tensor
    given: Tensor
    gathered: tuple[Tensor, ...]
    into: dict[str, Tensor]
    out_of: dict[str, Tensor]


class _Seen:
    """Records a pass of all layers and their children."""

    def __init__(self, layers: nn.ModuleList, gatherers: Sequence[Gatherers]) -> None:
        self.layers, self.gatherers = layers, gatherers
        self.inputs: dict[tuple[int, str], Tensor | None] = {}
        self.outputs: dict[tuple[int, str], Tensor | None] = {}
        self._stack = ExitStack()

    def __enter__(self) -> None:
        modules: dict[tuple[int, str], nn.Module] = {}
        for place, (number, gatherers) in enumerate(self.gatherers):
            layer = self.layers[number]
            modules |= {(place, f"child {name}"): child for name, child in layer.named_children()}
            modules[place, "layer"] = layer
            for i, (module, projection) in enumerate(gatherers):
                modules |= {(place, f"attention {i}"): module, (place, f"projection {i}"): projection}
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
            self.outputs.setdefault(key, _copied(first(output)))

        return keep

    def of_place(self, place: int) -> _Layer | None:
        """None if a state is not (1, n, d)."""
        own = {name: key for key in self.outputs if key[0] == place for name in [key[1]]}
        entering = self.inputs[own["layer"]]
        if entering is None or entering.ndim != 3:
            return None
        shape = entering.shape

        def flat(states: Tensor | None) -> Tensor | None:
            if not isinstance(states, Tensor) or states.numel() != entering.numel() or states.shape[-1] != shape[-1]:
                return None
            return states.reshape(-1, shape[-1]).double().to(entering.device)

        start, leaving = flat(self.inputs[own["layer"]]), flat(self.outputs[own["layer"]])
        given = flat(self.inputs[own["attention 0"]])
        count = len(self.gatherers[place].modules)
        gathered = [flat(self.outputs[own[f"projection {i}"]]) for i in range(count)]
        made = tuple(one for one in gathered if one is not None)
        if start is None or leaving is None or given is None or len(made) < count:
            return None
        children = {name.removeprefix("child "): key for name, key in own.items() if name.startswith("child ")}
        into = {name: flat(self.inputs[key]) for name, key in children.items()}
        out_of = {name: flat(self.outputs[key]) for name, key in children.items()}
        kept = [{name: part for name, part in some.items() if part is not None} for some in (into, out_of)]
        return _Layer(start, leaving, given, made, *kept)


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
                (kept, *scales), left = _fit(stream, added, after)
                least = min(abs(scale) * one.norm() for scale, one in zip(scales, added, strict=True))
                if left > tolerance * after.norm() or left > _MOST_LEFT * least:
                    continue
                if min(map(abs, (kept, *scales))) >= _LEAST_FACTOR:
                    kept, *scales = (_snapped(factor, tolerance) for factor in (kept, *scales))
                    scale, shares = (scales[0], (1.0,)) if len(scales) == 1 else (1.0, tuple(scales))
                    found.append((left, Form(norm, kept, scale, of_given, shares)))
    # without a norm before it, attention is given the stream itself: rounding alone tells the two apart
    least = min((left for left, _ in found), default=0.0)
    return next((form for left, form in found if left <= 2 * least), None)


def _added(layer: nn.Module, seen: _Layer, tolerance: float) -> Iterator[tuple[str | None, tuple[Tensor, ...]]]:
    """What attention may add: what it gathers, or what a child of the layer makes of that, if it is a norm."""
    yield None, seen.gathered
    if len(seen.gathered) > 1:
        return
    (gathered,) = seen.gathered
    for name, given in seen.into.items():
        made = seen.out_of.get(name)
        if made is None or (given - gathered).norm() > tolerance * gathered.norm():
            continue
        norm = layer.get_submodule(name)
        affine = Affine.of(norm, gathered.to(Affine.dtype_of(norm, gathered)))
        rows = gathered.to(affine.gain)
        again = affine.sizes(rows, norm) * affine.linear(rows) + affine.shift
        if (again - made).norm() <= 10 * tolerance * made.norm():
            yield name, (made,)


def _after(seen: _Layer) -> Iterator[Tensor]:
    """What may be the stream after attention: a child's input, or the layer's output without what a child made."""
    yield from seen.into.values()
    yield from (seen.leaving - made for made in seen.out_of.values())
    yield seen.leaving


def _fit(stream: Tensor, added: Sequence[Tensor], after: Tensor) -> tuple[list[float], float]:
    """The factors of the stream and of what is added whose sum is nearest to ``after``, and how far it is from it."""
    parts = torch.stack([part.flatten() for part in (stream, *added)], dim=1)
    weights = torch.linalg.lstsq(parts, after.flatten()[:, None]).solution
    left = (parts @ weights)[:, 0] - after.flatten()
    return weights[:, 0].tolist(), float(left.norm())


def _snapped(factor: float, tolerance: float) -> float:
    return 1.0 if abs(factor - 1) <= max(tolerance, 1e-6) else factor
