"""The parts c_ti of what a layer gathers, by interventions in the running model and by the names of its modules.

The slow reference for layers that carry tokens on by something else than plain attention. It shares no code with
`captum_heta.models`.
"""

import inspect
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn


class Gatherer(NamedTuple):
    """A module of a layer that carries tokens on, by names.

    Attributes:
        name: of the module, in its layer.
        values: of the module that makes its values, in it; None where it is no attention.
        projection: of the module that mixes its heads, in it; None where whole tokens are left out.
        heads: how many.
        unused: how many of the first numbers of each head of ``values`` are no values.
        share: the factor of what it adds to the stream.
        kernel: of the function of its modeling module that adds up values, and of the argument that they are; None
            where a short convolution does.
    """

    name: str
    values: str | None = None
    projection: str | None = None
    heads: int = 1
    unused: int = 0
    share: float = 1.0
    kernel: tuple[str, str] | None = None


class Gathered(NamedTuple):
    """What the gatherers of a layer do with a sequence.

    Attributes:
        stream: what enters the layer, (T, d).
        added: what they add to it, (T, d).
        parts: the part of each token in what each head, or module, adds, (H, T, T, d).
        weights: where each of them sends what arrives, (H, T, T); rows sum to 1.
    """

    stream: Tensor
    added: Tensor
    parts: Tensor
    weights: Tensor


@torch.no_grad()
def gathered_parts(model: Any, ids: Tensor, layer: nn.Module, gatherers: Sequence[Gatherer]) -> Gathered:
    """What a layer gathers of token ids (n,); the model in eager attention and without a cache."""
    modules = {one.name: layer.get_submodule(one.name) for one in gatherers}
    calls: dict[str, tuple[Any, Any]] = {}
    streams: list[Tensor] = []
    handles = [
        module.register_forward_pre_hook(
            lambda _, given, named, name=name: calls.update({name: (given, named)}), with_kwargs=True
        )
        for name, module in modules.items()
    ]
    handles.append(
        layer.register_forward_pre_hook(lambda _, given, named: streams.append(_states(given, named)), with_kwargs=True)
    )
    model(input_ids=ids[None], use_cache=False)
    for handle in handles:
        handle.remove()
    added, parts, weights = torch.zeros_like(streams[0][0]), [], []
    for one in gatherers:
        module, call = modules[one.name], calls[one.name]
        whole = module(*call[0], **call[1])
        added = added + one.share * _first(whole)[0]
        if one.values is not None:
            found = _of_values(module, call, one)
        elif one.projection is None or not has_convolution(module):
            found = _left_out(module, call)
        else:
            found = held_parts(module, call, one)
        parts += list(one.share * found)
        weights += list(_normed(found) if one.values is None else whole[1][0])
    return Gathered(streams[0][0], added, torch.stack(parts), torch.stack(weights))


def _left_out(module: nn.Module, call: tuple[Any, Any]) -> Tensor:
    """(1, T, T, d): what its output loses when a token's states are zeros, one call a token."""
    states = _states(*call)
    whole = _first(module(*call[0], **call[1]))[0]
    columns = []
    for i in range(states.shape[1]):
        without = states.clone()
        without[:, i] = 0
        given = ((without, *call[0][1:]), call[1]) if call[0] else ((), {**call[1], "hidden_states": without})
        columns.append(whole - _first(module(*given[0], **given[1]))[0])
    return torch.stack(columns, dim=1)[None]


_CONVOLUTION = "causal_conv1d_fn"


def has_convolution(module: nn.Module) -> bool:
    """Whether its modeling module has the function that short convolutions are called by, as in transformers 5.24."""
    return callable(getattr(sys.modules[type(module).__module__], _CONVOLUTION, None))


@torch.no_grad()
def held_parts(module: nn.Module, call: tuple[Any, Any], one: Gatherer) -> Tensor:
    """(1, T, T, d): its output for the values of one token at a time, without its bias, one call a token.

    What activates the values, adds them up and gates the sums is held as it is for the whole sequence.
    """
    assert one.projection is not None
    projection = module.get_submodule(one.projection)
    held: dict[str, Any] = {}

    def convolve(own: Callable[..., Tensor], states: Tensor, **named: Any) -> Tensor:
        plain = own(states, **(named | {"activation": None}))
        held["activation"] = own(states, **named) / plain
        held["made"] = held["activation"] * plain
        return held["made"]

    def add_up(own: Callable[..., Any], **named: Any) -> Any:
        output = own(**named)
        held["arguments"], held["made"] = named, _first(output)
        return output

    def given(_: Any, entering: Any) -> None:
        held["given"] = entering[0]

    handle = projection.register_forward_pre_hook(given)
    with _in_place_of(module, one, convolve, add_up):
        module(*call[0], **call[1])
    handle.remove()
    like = held["given"]
    gates = like / _as_given(held["made"], like)

    def made(token: int | None) -> Tensor:
        part: dict[str, Tensor] = {}

        def convolve_one(own: Callable[..., Tensor], states: Tensor, **named: Any) -> Tensor:
            alone = torch.zeros_like(states)
            bias = torch.zeros_like(states[:, :, :1])
            if token is not None:
                alone[:, :, token] = states[:, :, token]
            part["made"] = held["activation"] * own(alone, **(named | {"activation": None, "bias": None}))
            if token is not None and named.get("bias") is not None:
                bias = named["bias"][None, :, None]
                part["made"][:, :, token] += held["activation"][:, :, token] * bias[:, :, 0]
            return part["made"]

        def add_up_one(own: Callable[..., Any], **named: Any) -> Any:
            assert one.kernel is not None
            name = one.kernel[1]
            output = own(**(held["arguments"] | {name: named[name]}))
            part["made"] = _first(output)
            return output

        handle = projection.register_forward_pre_hook(lambda _, __: (gates * _as_given(part["made"], like),))
        with _in_place_of(module, one, convolve_one, add_up_one):
            output = _first(module(*call[0], **call[1]))[0]
        handle.remove()
        return output

    nothing = made(None)
    return torch.stack([made(i) - nothing for i in range(like.shape[1])], dim=1)[None]


def _as_given(made: Tensor, like: Tensor) -> Tensor:
    """What a convolution (1, channels, T) or a kernel (1, T, H, size) makes, in the shape of a projection's input."""
    return (made.transpose(1, 2) if made.ndim == 3 else made).reshape(like.shape)


@contextmanager
def _in_place_of(
    module: nn.Module, one: Gatherer, convolve: Callable[..., Any], add_up: Callable[..., Any]
) -> Iterator[None]:
    """Within this context the convolution and the kernel of a modeling module are told of their own ones first."""
    modeling = sys.modules[type(module).__module__]
    own_convolution = getattr(modeling, _CONVOLUTION)
    own_kernel = None if one.kernel is None else getattr(modeling, one.kernel[0])

    def convolution(states: Tensor, weight: Any, bias: Any = None, activation: Any = None, **_: Any) -> Any:
        return convolve(own_convolution, states, weight=weight, bias=bias, activation=activation)

    def kernel(*arguments: Any, **named: Any) -> Any:
        assert own_kernel is not None
        names = inspect.signature(own_kernel).parameters
        return add_up(own_kernel, **(dict(zip(names, arguments, strict=False)) | named))

    setattr(modeling, _CONVOLUTION, convolution)
    if one.kernel is not None:
        setattr(modeling, one.kernel[0], kernel)
    try:
        yield
    finally:
        setattr(modeling, _CONVOLUTION, own_convolution)
        if one.kernel is not None:
            setattr(modeling, one.kernel[0], own_kernel)


def _of_values(module: nn.Module, call: tuple[Any, Any], one: Gatherer) -> Tensor:
    """(H, T, T, d): its output when one token alone has values and one head alone is mixed, without its bias."""
    assert one.values is not None
    assert one.projection is not None
    values, projection = module.get_submodule(one.values), module.get_submodule(one.projection)
    length = _states(*call).shape[1]

    def made(keep: Callable[[Tensor], Tensor], head: int) -> Tensor:
        def only(_: Any, __: Any, output: Tensor) -> Tensor:
            heads = output.reshape(*output.shape[:-1], one.heads if one.unused else 1, -1).clone()
            heads[..., one.unused :] = keep(heads[..., one.unused :])
            return heads.reshape(output.shape)

        def one_head(_: Any, given: Any) -> Any:
            heads = given[0].reshape(*given[0].shape[:2], one.heads, -1)
            mask = torch.zeros_like(heads)
            mask[:, :, head] = 1
            return ((heads * mask).reshape(given[0].shape),)

        handles = [values.register_forward_hook(only), projection.register_forward_pre_hook(one_head)]
        output = _first(module(*call[0], **call[1]))[0]
        for handle in handles:
            handle.remove()
        return output

    def alone(position: int) -> Callable[[Tensor], Tensor]:
        def keep(found: Tensor) -> Tensor:
            kept = torch.zeros_like(found)
            kept[..., position, :, :] = found[..., position, :, :]
            return kept

        return keep

    return torch.stack(
        [
            torch.stack([made(alone(i), head) - made(torch.zeros_like, head) for i in range(length)], dim=1)
            for head in range(one.heads)
        ]
    )


def _normed(parts: Tensor) -> Tensor:
    norms = parts.abs().sum(-1)
    return norms / norms.sum(-1, keepdim=True)


def naive_flow_of_parts(layers: Sequence[Gathered], target: int) -> Tensor:
    """M from the parts of each layer, by a loop over layers, heads, queries and keys, (T,)."""
    length = len(layers[0].stream)
    rho = [1.0 if position == target else 0.0 for position in range(length)]
    flow = [0.0] * length
    for layer in reversed(layers):
        heads = len(layer.parts)
        sent = [0.0] * length
        for head in range(heads):
            for t in range(length):
                for i in range(length):
                    flow[i] += rho[t] * layer.parts[head, t, i].abs().sum().item()
                    sent[i] += rho[t] * layer.weights[head, t, i].item() / heads
        rho = [(kept + came) / 2 for kept, came in zip(rho, sent, strict=True)]
    return torch.tensor(flow, dtype=torch.float64) / sum(flow)


def _states(given: Any, named: Any) -> Tensor:
    return given[0] if given else named["hidden_states"]


def _first(output: Any) -> Any:
    return output[0] if isinstance(output, tuple) else output
