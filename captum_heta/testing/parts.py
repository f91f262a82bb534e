"""The parts c_ti of what a layer gathers, by interventions in the running model and by the names of its modules.

The slow reference for layers that carry tokens on by something else than plain attention. It shares no code with
`captum_heta.models`.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn


class Gatherer(NamedTuple):
    """A module of a layer that carries tokens on, by names.

    Attributes:
        name: of the module, in its layer.
        values: of the module that makes its values, in it; None where whole tokens are left out.
        projection: of the module that mixes its heads, in it.
        heads: how many.
        unused: how many of the first numbers of each head of ``values`` are no values.
        share: the factor of what it adds to the stream.
    """

    name: str
    values: str | None = None
    projection: str | None = None
    heads: int = 1
    unused: int = 0
    share: float = 1.0


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
        found = _left_out(module, call) if one.values is None else _of_values(module, call, one)
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
