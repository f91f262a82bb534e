"""Make a model ready for second derivatives, and give it back as it was."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn


@contextmanager
def ready_for_derivatives(model: Any) -> Iterator[None]:
    """Eval mode, parameters frozen, attention and experts with second derivatives; everything restored on exit.

    Eval mode because dropout changes Hessian products, frozen parameters because only the inputs are differentiated,
    eager attention because fused kernels have no second derivative and return no weights.
    """
    with ExitStack() as stack:
        # tensors made in a caller's inference mode could not be differentiated
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(evaluating(model))
        stack.enter_context(_frozen(model))
        stack.enter_context(_eager_attention(model))
        stack.enter_context(_eager_experts(model))
        yield


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Eval mode, restored on exit."""
    # flags of the modules, not of the model: a person may train one part and keep another in eval
    flags = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in flags:
            module.training = training


@contextmanager
def _frozen(model: nn.Module) -> Iterator[None]:
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in trainable:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trainable:
            parameter.requires_grad_(True)


@contextmanager
def _eager_attention(model: Any) -> Iterator[None]:
    before = _implementations(model.config, "_attn_implementation")
    if _all_eager(before):
        yield
        return
    _set_attention(model, "eager")
    try:
        yield
    finally:
        _set_attention(model, before)


def _set_attention(model: Any, implementation: str | dict[str, Any]) -> None:
    # The public setter refuses, with a warning, the classes that do not use transformers' attention interface.
    # One of them, Falcon, reads this attribute in its forward; the others are eager already.
    if model._can_set_attn_implementation():
        model.set_attn_implementation(implementation)
    else:
        model.config._attn_implementation = implementation


@contextmanager
def _eager_experts(model: Any) -> Iterator[None]:
    before = _implementations(model.config, "_experts_implementation")
    if _all_eager(before):
        yield
        return
    model.set_experts_implementation("eager")
    try:
        yield
    finally:
        model.set_experts_implementation(before)


def _implementations(config: Any, attribute: str) -> dict[str, Any]:
    # In the form that transformers' public setters take. It has no public reader for attention, and none for experts
    # before version 5.1: these attributes are the only way to restore.
    found: dict[str, Any] = {"": getattr(config, attribute)}
    for name in config.sub_configs:
        if getattr(config, name, None) is not None:
            found[name] = _implementations(getattr(config, name), attribute)
    return found


def _all_eager(found: dict[str, Any]) -> bool:
    return all(_all_eager(value) if isinstance(value, dict) else value in ("eager", None) for value in found.values())
