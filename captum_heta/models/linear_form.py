"""Mixers that are linear in their values once their gates are held: delta nets, Mamba 2, short convolutions.

Such a mixer is attention with other weights: values, which a short convolution may gather from a few tokens, a kernel
that adds them up over positions, gates, and a projection. The classes of transformers call the convolution and the
kernel as functions of their modeling module; there they are found, by the names of their parameters.
"""

import inspect
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from captum_heta.models.calls import before, first, with_first
from captum_heta.models.families import head_weights

# What transformers calls the convolution in every modeling module, after the package that has a kernel for it.
_CONVOLUTION = "causal_conv1d_fn"
# A kernel adds up its "value" by queries and keys, or its "hidden_states" by A, B and C.
_KERNELS = {"value": {"query", "key", "value"}, "hidden_states": {"hidden_states", "A", "B", "C"}}
# How far the sum of the parts may be from the output, as a part of its size; kernels compute in float32.
_TOLERANCES = {torch.float64: 1e-5, torch.float32: 1e-5}
_COARSE = 3e-2
# Functions of transformers are replaced by one thread at a time.
_REPLACING = threading.RLock()


@dataclass(frozen=True, eq=False)
class LinearForm:
    """What a mixer made of a sequence, as a sum over its tokens; all in float32 or better.

    Attributes:
        weights: of each position's value in what the kernel gives another, (H, T, T).
        values: what token s - j gives to the value at s, (lags j, T, H, size).
        gates: by what the kernel's sums are multiplied on their way to the projection, (T, H, size).
        projection: the weight that mixes the heads, (H x size, d).
    """

    weights: Tensor
    values: Tensor
    gates: Tensor
    projection: Tensor

    def parts(self, sources: Tensor) -> Tensor:
        """What some tokens (B,) give to each position, (B, T, d)."""
        length = self.values.shape[1]
        sources = sources.to(self.values.device)
        found = self.values.new_zeros(len(sources), *self.values.shape[1:])
        for lag, values in enumerate(self.values):
            inside = sources + lag < length
            at = sources[inside] + lag
            found[inside] += torch.einsum("htb,bhc->bthc", self.weights[:, :, at], values[at])
        return (self.gates * found).flatten(-2) @ self.projection

    def whole(self) -> Tensor:
        """The sum of all parts, (T, d): the output without the bias of the projection."""
        found = torch.einsum("hts,shc->thc", self.weights, self.values.sum(0))
        return (self.gates * found).flatten(-2) @ self.projection


@torch.no_grad()
def linear_form(module: nn.Module, run: Callable[[Tensor], Tensor], states: Tensor) -> LinearForm | None:
    """That of a mixer which `is_linear`.

    Args:
        module: it.
        run: calls it with other hidden states (B, T, d).
        states: (1, T, d).

    Returns:
        None if its kernel, or what mixes its heads, is not found.
    """
    seen = _pass(module, run, states)
    if seen is None or seen.projection is None:
        return None
    values = _by_token(module, run, states, seen)
    precise = torch.promote_types(seen.made.dtype, torch.float32)
    mixers = head_weights(seen.projection, seen.made.shape[-1], like=seen.given).flatten(0, 1)
    made, given = seen.made[0].to(precise), seen.given[0].reshape(seen.made.shape[1:]).to(precise)
    gates = torch.where(made == 0, 0, given / torch.where(made == 0, 1, made))
    weights, values, gates = (one.to(mixers.device, mixers.dtype) for one in (seen.weights, values, gates))
    return LinearForm(weights, values, gates, mixers)


@torch.no_grad()
def is_linear(module: nn.Module, run: Callable[[Tensor], Tensor], states: Tensor, coarse: bool = False) -> bool:
    """Whether a mixer has a `linear_form` whose parts are those of its tokens.

    They must sum to its output; what is multiplied after the kernel must come out multiplied, but for norms; and what a
    token has no part in must not change without it.

    Args:
        module: it.
        run: calls it with other hidden states (B, T, d).
        states: (1, T, d), of more tokens than a short convolution reaches.
        coarse: whether its weights are quantized, so that it is linear only nearly.
    """
    form, seen = linear_form(module, run, states), _pass(module, run, states)
    if form is None or seen is None or seen.projection is None:
        return False
    tolerance = _COARSE if coarse else _TOLERANCES.get(states.dtype, _COARSE)
    bias = seen.projection(torch.zeros_like(seen.given[:, :1]))[0]
    if not _near(form.whole() + bias, seen.output[0], tolerance):
        return False
    generator = torch.Generator(device="cpu").manual_seed(0)
    factors = (torch.rand(seen.made.shape, generator=generator) + 0.5).to(seen.made)
    changed = _pass(module, run, states, change=lambda made: made * factors)
    without = states.clone()
    without[:, 0] = 0
    reached = len(form.values)
    other = _pass(module, run, without)
    if changed is None or other is None or reached >= states.shape[1]:
        return False
    shape = seen.made.shape
    expected, given = (seen.given.reshape(shape) * factors).float(), changed.given.reshape(shape).float()
    sizes = (given * expected).sum(-1, keepdim=True) / expected.square().sum(-1, keepdim=True).clamp(min=1e-30)
    values = form.values.sum(0)[reached:]
    return _near(sizes * expected, given, tolerance) and _near(other.value[0, reached:], values, tolerance)


def _near(found: Tensor, expected: Tensor, tolerance: float) -> bool:
    found, expected = found.double(), expected.to(found.device).double()
    return bool((found - expected).norm() <= tolerance * expected.norm())


@dataclass
class _Seen:
    """What was seen in a pass of a mixer.

    Attributes:
        value: what the kernel adds up, (rows, T, H, size).
        made: what it makes of that, as large.
        weights: by which it does, (H, T, T).
        reach: how many tokens are in a value.
        given: what the projection is given, (rows, T, ...).
        projection: the module that mixes the heads.
        output: what the mixer makes, (rows, T, d).
    """

    value: Tensor = field(init=False)
    made: Tensor = field(init=False)
    weights: Tensor = field(init=False)
    given: Tensor = field(init=False)
    output: Tensor = field(init=False)
    projection: nn.Module | None = None
    reach: int = 1
    times: int = 0


def _pass(
    module: nn.Module,
    run: Callable[[Tensor], Tensor],
    states: Tensor,
    by_lag: bool = False,
    change: Callable[[Tensor], Tensor] | None = None,
) -> _Seen | None:
    """What is seen in a pass; None where a kernel is not found once.

    Args:
        module: the mixer.
        run: calls it.
        states: (rows, T, d).
        by_lag: whether row j of a convolution is to be what it makes of the tokens j before each position.
        change: of what the kernel makes, if it is to make something else.
    """
    functions = _functions(module)
    kernels = {name: values for name, values in functions.items() if values is not None}
    seen, thread = _Seen(), threading.get_ident()

    def note(value: Tensor, made: Tensor, weights: Callable[[], Tensor]) -> Tensor:
        seen.times += 1
        if value.ndim == 4 and value.shape == made.shape and value.shape[1] == states.shape[1]:
            seen.value, seen.made, seen.weights = value, made, weights()
        else:
            seen.times = 2  # of another layout
        return made if change is None else change(made)

    def convolve(own: Callable[..., Tensor], *arguments: Any, **named: Any) -> Tensor:
        given = inspect.signature(own).bind(*arguments, **named)
        seen.reach = max(seen.reach, given.arguments["weight"].shape[-1])
        made = _lags(own, given, len(states)) if by_lag else own(*arguments, **named)
        if kernels:
            return made
        values = made.transpose(1, 2)[:, :, None]
        return note(values, values, lambda: torch.eye(states.shape[1]).to(values)[None])[:, :, 0].transpose(1, 2)

    def add_up(values: str, own: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        output = own(*arguments, **named)
        given = inspect.signature(own).bind(*arguments, **named)
        made = note(given.arguments[values], first(output), lambda: _weights(own, given, values))
        return with_first(output, made)

    def heard(stands: Callable[..., Any], own: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        if threading.get_ident() != thread:
            return own(*arguments, **named)
        return stands(own, *arguments, **named)

    stands = {name: convolve if values is None else partial(add_up, values) for name, values in functions.items()}
    projections: list[tuple[nn.Module, Tensor]] = []

    def enter(matrix: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        entering = arguments[0] if arguments else next(iter(named.values()), None)
        if seen.times == 1 and isinstance(entering, Tensor) and entering.numel() == seen.made.numel():
            projections.append((matrix, entering))

    with ExitStack() as stack:
        for matrix in module.modules():
            if isinstance(getattr(matrix, "in_features", None), int):
                stack.enter_context(before(matrix, partial(enter, matrix)))
        stack.enter_context(_replaced(module, {name: partial(heard, stand) for name, stand in stands.items()}))
        seen.output = run(states)
    if seen.times != 1:
        return None
    if projections:
        inner = projections[-1][0]  # of matrices inside of one another, as those of an adapter are, the outermost
        seen.projection, seen.given = next(one for one in projections if inner in one[0].modules())
    return seen


def _functions(module: nn.Module) -> dict[str, str | None]:
    """The convolution and the kernels that a mixer's code names: the parameter that is added up, None for none."""
    forward = inspect.unwrap(type(module).forward)
    found: dict[str, str | None] = {}
    for name in forward.__code__.co_names:
        function = forward.__globals__.get(name)
        if name == _CONVOLUTION and callable(function):
            found[name] = None
        elif inspect.isfunction(function):
            parameters = set(inspect.signature(function).parameters)
            found.update((name, values) for values, needed in _KERNELS.items() if needed <= parameters)
    return found


@contextmanager
def _replaced(module: nn.Module, others: dict[str, Callable[..., Any]]) -> Iterator[None]:
    """Within this context functions of a module's modeling module are others, which are told of their own first."""
    namespace = inspect.unwrap(type(module).forward).__globals__
    with _REPLACING:
        own = {name: namespace[name] for name in others}
        # twice, the second time for an interruption of the first
        try:
            try:
                namespace.update({name: partial(other, own[name]) for name, other in others.items()})
                yield
            finally:
                namespace.update(own)
        finally:
            namespace.update(own)


def _by_token(module: nn.Module, run: Callable[[Tensor], Tensor], states: Tensor, seen: _Seen) -> Tensor:
    """What the tokens before each position give to its value, (lags, T, H, size)."""
    found = _pass(module, run, states.repeat(seen.reach, 1, 1), by_lag=True)
    assert found is not None  # as the same code was run before
    return found.value


def _lags(own: Callable[..., Tensor], given: inspect.BoundArguments, rows: int) -> Tensor:
    """What a convolution makes of the tokens j before each position, (rows j, channels, T), its activation held.

    A bias is of the token at the position, as that of values is.
    """

    def made(**other: Any) -> Tensor:
        again = inspect.signature(own).bind(*given.args, **given.kwargs)
        again.arguments.update(hidden_states=given.arguments["hidden_states"][:1], **other)
        return own(*again.args, **again.kwargs)

    weight = given.arguments["weight"]
    whole, plain = made(), made(activation=None)
    held = torch.where(plain == 0, 0, whole / torch.where(plain == 0, 1, plain))
    found = []
    for lag in range(rows):
        one = torch.zeros_like(weight)
        if lag < weight.shape[-1]:
            one[..., -1 - lag] = weight[..., -1 - lag]
        bias = given.arguments.get("bias") if lag == 0 else None
        found.append(held * made(weight=one, bias=bias, activation=None))
    return torch.cat(found)


def _weights(own: Callable[..., Any], given: inspect.BoundArguments, values: str) -> Tensor:
    """What a kernel gives each position of each other's value, (H, T, T), from values that are 1 at one position.

    As many positions at once as there are numbers in a head: kernels are made for such sizes.
    """
    like = given.arguments[values][:1]
    _, length, heads, size = like.shape
    rows = -(-length // size)
    ones = torch.eye(length, rows * size, device=like.device, dtype=torch.promote_types(like.dtype, torch.float32))
    ones = ones.unflatten(-1, (rows, size)).transpose(0, 1)[:, :, None].expand(-1, -1, heads, -1)

    def repeated(one: Any) -> Any:
        if not isinstance(one, Tensor) or one.ndim < 2:
            return one
        one = one[:1].expand(rows, *one.shape[1:])
        return one.to(torch.promote_types(one.dtype, torch.float32)) if one.is_floating_point() else one

    again = inspect.signature(own).bind(*map(repeated, given.args), **{k: repeated(v) for k, v in given.kwargs.items()})
    again.arguments[values] = ones.contiguous()
    made = first(own(*again.args, **again.kwargs))  # (rows, T, H, size)
    return made.permute(2, 1, 0, 3).flatten(2)[..., :length]
