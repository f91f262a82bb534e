"""What each function of torch does to relevance: the rules of AttnLRP, and those of plain linear algebra.

A rule gives what the function gives, to the bit, and another gradient where the function is not linear. What is in no
table has no rule, and is refused where it reaches the output.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from captum_heta.terms.relevance.gradients import normed, scaled, secant

Rule = Callable[[str, Callable[..., Any], Sequence[Any], Mapping[str, Any]], Any]


class UncoveredError(Exception):
    """There is no rule for something. No TypeError, which Python takes as a sign to try an operator the other way."""


def tensors(given: Any) -> Iterator[Tensor]:
    """Those in tuples, lists and dictionaries."""
    if isinstance(given, Tensor):
        yield given
    elif isinstance(given, list | tuple):
        for one in given:
            yield from tensors(one)
    elif isinstance(given, dict):
        yield from tensors(list(given.values()))


def depends(given: Any) -> bool:
    """Whether something depends on the embeddings: parameters need no gradient where rules are applied."""
    return any(one.requires_grad for one in tensors(given))


def rule_of(function: Callable[..., Any]) -> tuple[str, Rule | None]:
    """The name of a function of torch, and its rule; the operator, the method and the one in place have the same."""
    name = getattr(function, "__name__", str(function))
    return name, RULES.get(rule_name(name))


def _linear(name: str, function: Callable[..., Any], given: Sequence[Any], named: Mapping[str, Any]) -> Any:
    return function(*given, **named)


def _product(name: str, function: Callable[..., Any], given: Sequence[Any], named: Mapping[str, Any]) -> Any:
    """The uniform rule: of a product of two that both depend on the prompt each has half."""
    places = _FACTORS[rule_name(name)]
    factors = [given[place] if place < len(given) else named.get(key) for place, key in places]
    if not all(depends(factor) for factor in factors):
        return function(*given, **named)
    if _in_place(name) and places[0][0] == 0:
        raise UncoveredError(f"a product in place ({name})")
    halves = {place: scaled(given[place], 0.5) for place, _ in places if place < len(given)}
    others = {key: scaled(named[key], 0.5) for place, key in places if place >= len(given)}
    return function(*(halves.get(i, one) for i, one in enumerate(given)), **{**named, **others})


def _sum_of_products(name: str, function: Callable[..., Any], given: Sequence[Any], named: Mapping[str, Any]) -> Any:
    count = sum(one.requires_grad for one in tensors(given))

    def part(one: Any) -> Any:
        if isinstance(one, list | tuple):
            return [part(inner) for inner in one]
        return scaled(one, 1 / count) if isinstance(one, Tensor) and one.requires_grad and count > 1 else one

    return function(*map(part, given), **named)


def _elementwise(name: str, function: Callable[..., Any], given: Sequence[Any], named: Mapping[str, Any]) -> Any:
    """The identity rule: f(x) = (f(x) / x) x, the factor held."""
    if not given or depends([*given[1:], named]):
        raise UncoveredError(f"{name} of several tensors that depend on the prompt")
    x = given[0]
    value = function(x.detach(), *given[1:], **named)
    if value.data_ptr() == x.data_ptr() and x.numel():
        raise UncoveredError(f"{name} in place")
    return secant(x, value)


def _clamped(name: str, function: Callable[..., Any], given: Sequence[Any], named: Mapping[str, Any]) -> Any:
    if given and function(torch.zeros_like(given[0].detach()), *given[1:], **named).any():
        raise UncoveredError(f"{name} to a range without 0")
    return _elementwise(name, function, given, named)


def _power(name: str, function: Callable[..., Any], given: Sequence[Any], named: Mapping[str, Any]) -> Any:
    exponent = given[1] if len(given) > 1 else named.get("exponent")
    if not isinstance(exponent, int | float):
        raise UncoveredError(f"{name} with an exponent that is no number")
    return (_elementwise if exponent >= 1 else _held)(name, function, given, named)


def _held(name: str, function: Callable[..., Any], given: Sequence[Any], named: Mapping[str, Any]) -> Any:
    """The size of a vector, or one over it, does not vary."""
    if not given or depends([*given[1:], named]):
        raise UncoveredError(f"{name} of several tensors that depend on the prompt")
    return function(given[0].detach(), *given[1:], **named)


def _quotient(name: str, function: Callable[..., Any], given: Sequence[Any], named: Mapping[str, Any]) -> Any:
    """What is divided by does not vary."""
    if name in ("__rtruediv__", "__rdiv__"):
        return _held(name, function, given, named)
    below = given[1] if len(given) > 1 else named.get("other")
    if not isinstance(below, Tensor):
        return function(*given, **named)
    if len(given) > 1:
        return function(given[0], below.detach(), *given[2:], **named)
    return function(*given, **{**named, "other": below.detach()})


def _norm(name: str, function: Callable[..., Any], given: Sequence[Any], named: Mapping[str, Any]) -> Any:
    """LayerNorm and RMSNorm: the identity rule, with what is divided by held."""
    arguments = dict(zip(_OF_NORMS[rule_name(name)], given, strict=False)) | dict(named)
    x, weight, eps = arguments["input"], arguments.get("weight"), arguments.get("eps")
    if depends([weight, arguments.get("bias")]):
        raise UncoveredError(f"{name} with weights that depend on the prompt")
    value = function(x.detach(), *given[1:], **named) if given else function(**{**named, "input": x.detach()})
    shape = arguments["normalized_shape"]
    centred = len(shape) if rule_name(name) == "layer_norm" else 0
    dims = tuple(range(-len(shape), 0))
    row = x.detach().to(torch.promote_types(x.dtype, torch.float32))
    if centred:
        row = row - row.mean(dims, keepdim=True)
    if eps is None:
        eps = 1e-5 if centred else torch.finfo(x.dtype).eps
    factors = (row.square().mean(dims, keepdim=True) + eps).rsqrt()
    return normed(x, value, factors if weight is None else factors * weight, centred)


def rule_name(name: str) -> str:
    """The name in `RULES` of a function's."""
    short = name[2:-2] if name.startswith("__") and name.endswith("__") else name.rstrip("_")
    return _OPERATORS.get(short, short)


def _in_place(name: str) -> bool:
    return name.startswith("__i") if name.endswith("__") else name.endswith("_")


# What operators are called as functions; those in place, and with the operands the other way round.
_OPERATORS = {
    **dict.fromkeys(("iadd", "radd", "isub", "rsub"), "add"),
    **dict.fromkeys(("imul", "rmul", "multiply"), "mul"),
    **dict.fromkeys(("imatmul", "rmatmul"), "matmul"),
    **dict.fromkeys(("truediv", "itruediv", "rtruediv", "rdiv", "idiv", "true_divide", "divide"), "div"),
    "ipow": "pow",
}
# The factors of a product: their places among what a function is given, and their names.
_FACTORS = {
    "mul": ((0, "input"), (1, "other")),
    "matmul": ((0, "input"), (1, "other")),
    "bmm": ((0, "input"), (1, "mat2")),
    "mm": ((0, "input"), (1, "mat2")),
    "mv": ((0, "input"), (1, "vec")),
    "outer": ((0, "input"), (1, "vec2")),
    "linear": ((0, "input"), (1, "weight")),
    "conv1d": ((0, "input"), (1, "weight")),
    "addmm": ((1, "mat1"), (2, "mat2")),
    "baddbmm": ((1, "batch1"), (2, "batch2")),
}
_OF_NORMS = {
    "layer_norm": ("input", "normalized_shape", "weight", "bias", "eps"),
    "rms_norm": ("input", "normalized_shape", "weight", "eps"),
}
# Gradient times input of these is the output, or for a softmax the first term of its Taylor series, with the rest as a
# bias. The largest of some is one of them.
_LINEAR = (
    "add sub subtract neg negative sum mean cumsum softmax log_softmax max min amax amin maximum minimum topk sort "
    "cat concat concatenate stack hstack vstack split split_with_sizes chunk tensor_split unbind getitem setitem "
    "view view_as view_as_real view_as_complex real reshape reshape_as flatten unflatten transpose swapaxes swapdims "
    "permute movedim moveaxis t squeeze unsqueeze expand expand_as broadcast_to repeat repeat_interleave tile "
    "contiguous clone to float double half bfloat16 type type_as cpu cuda get select narrow diagonal unfold roll flip "
    "tril triu index_select index_add index_copy index_put gather take_along_dim scatter scatter_add where masked_fill "
    "masked_select masked_scatter pad copy dropout"
)
_ELEMENTWISE = (
    "relu relu6 leaky_relu prelu elu selu celu gelu silu mish hardswish hardtanh tanh softsign tanhshrink square"
)
_HELD = "rsqrt sqrt reciprocal norm vector_norm var std"
RULES: dict[str, Rule] = {
    **dict.fromkeys(_LINEAR.split(), _linear),
    **dict.fromkeys(_FACTORS, _product),
    **dict.fromkeys(_ELEMENTWISE.split(), _elementwise),
    **dict.fromkeys(_HELD.split(), _held),
    **dict.fromkeys(("clamp", "clip", "clamp_min", "clamp_max"), _clamped),
    **dict.fromkeys(_OF_NORMS, _norm),
    "div": _quotient,
    "pow": _power,
    "einsum": _sum_of_products,
}
