"""Make a model ready for second derivatives, and give it back as it was."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn

from captum_heta.models.records import Changes, record_of
from captum_heta.models.rope import keep_frequencies


@contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """Eval mode, in which dropout does not change what is computed, and nothing compiled; restored on exit."""
    changes = record_of(model).changes
    with changes.undone(), uncompiled(model):
        _evaluate(model, changes)
        keep_frequencies(model, changes)
        yield


@contextmanager
def differentiable(model: Any) -> Iterator[None]:
    """Parameters frozen, attention and experts with second derivatives; restored on exit. Enter it within `evaluating`.

    Frozen parameters because only the inputs are differentiated, eager attention because fused kernels have no second
    derivative and return no weights.

    Raises:
        TypeError: if the model was made in inference mode, whose weights have no derivatives.
    """
    made = next((name for name, parameter in model.named_parameters() if parameter.is_inference()), None)
    if made is not None:
        raise TypeError(
            f"{type(model).__name__} was made or loaded under torch.inference_mode: its weights (such as {made}) have "
            "no derivatives. Load it outside of that context; calls under it are no problem."
        )
    changes = record_of(model).changes
    with changes.undone(), ExitStack() as stack:
        # tensors made in a caller's inference mode could not be differentiated
        stack.enter_context(torch.inference_mode(False))
        # torch cannot batch products while it looks for anomalies
        stack.enter_context(torch.autograd.set_detect_anomaly(False))
        _freeze(model, changes)
        _take_eager(model, changes)
        yield


def uncompiled(model: nn.Module) -> AbstractContextManager:
    """Within this context what torch.compile has made of a model, or of its parts, runs as it was written.

    Raises:
        TypeError: if something is compiled and torch is too old to run it otherwise.
    """
    compiled = any(
        # what Module.compile() leaves, what torch.compile(module) makes, and a forward that was compiled: torch has no
        # public question for it
        module._compiled_call_impl is not None
        or hasattr(module, "_orig_mod")
        or hasattr(vars(module).get("forward"), "_torchdynamo_orig_callable")
        for module in model.modules()
    )
    if not compiled:
        return nullcontext()
    if not hasattr(torch.compiler, "set_stance"):  # before torch 2.6
        raise TypeError(
            f"{type(model).__name__} is compiled, at least in part, and compiled code has no second derivatives: pass "
            "the model without torch.compile, or install torch 2.6 or newer."
        )
    return torch.compiler.set_stance("force_eager")


def _evaluate(model: nn.Module, changes: Changes) -> None:
    # flags of the modules, not of the model: a person may train one part and keep another in eval
    flags = [(module, module.training) for module in model.modules()]

    def undo() -> None:
        for module, training in flags:
            module.training = training

    changes.note(undo)
    model.eval()


def _freeze(model: nn.Module, changes: Changes) -> None:
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]

    def undo() -> None:
        for parameter in trainable:
            parameter.requires_grad_(True)

    changes.note(undo)
    for parameter in trainable:
        parameter.requires_grad_(False)


# Where configurations keep what transformers' setters set. The setters themselves do not undo what they do: they
# refuse a None, and a nested answer of their own (`get_experts_implementation`), which they look up by its text.
_IMPLEMENTATIONS = ("_attn_implementation_internal", "_experts_implementation_internal")


def _take_eager(model: Any, changes: Changes) -> None:
    """Switch attention and experts to transformers' eager code, which has second derivatives."""
    before = _kept_implementations(model, changes)
    record_of(model).own_implementations = before
    if any(value not in ("eager", None) for _, name, value in before if name == _IMPLEMENTATIONS[0]):
        # The public setter refuses, with a warning, the classes that do not use transformers' attention interface.
        # One of them, Falcon, reads this attribute in its forward; the others are eager already.
        if model._can_set_attn_implementation():
            model.set_attn_implementation("eager")
        else:
            model.config._attn_implementation = "eager"
    if any(value not in ("eager", None) for _, name, value in before if name == _IMPLEMENTATIONS[1]):
        model.set_experts_implementation("eager")


@contextmanager
def own_implementations(model: nn.Module) -> Iterator[None]:
    """Within `differentiable`, attention and experts run as the model was loaded; without derivatives, and faster."""
    record = record_of(model)
    with record.changes.undone():
        _kept_implementations(model, record.changes)
        for config, name, value in record.own_implementations:
            setattr(config, name, value)
        yield


def _kept_implementations(model: nn.Module, changes: Changes) -> list[tuple[Any, str, Any]]:
    """Those of now, which undoing the changes brings back."""
    before = _implementations(model)

    def undo() -> None:
        for config, name, value in before:
            setattr(config, name, value)

    changes.note(undo)
    return before


def runs_eagerly(model: nn.Module) -> bool:
    """Whether the model was loaded with eager attention and experts; call within `differentiable`."""
    return all(value in ("eager", None) for _, _, value in record_of(model).own_implementations)


def implementations(model: nn.Module) -> tuple[Any, ...]:
    """Which code attention and experts of a model and its parts run, to tell whether it is still the same."""
    return tuple(value for _, _, value in _implementations(model))


def _implementations(model: nn.Module) -> list[tuple[Any, str, Any]]:
    """Configuration, attribute and value."""
    return [
        (config, name, getattr(config, name))
        for config in _configurations(model)
        for name in _IMPLEMENTATIONS
        if hasattr(config, name)
    ]


def _configurations(model: nn.Module) -> list[Any]:
    """The configurations of a model, of its parts, and those inside of these; each once."""
    found: dict[int, Any] = {}

    def add(config: Any) -> None:
        if id(config) not in found and hasattr(config, "sub_configs"):
            found[id(config)] = config
            for name in config.sub_configs:
                add(getattr(config, name, None))

    for module in model.modules():
        add(getattr(module, "config", None))
    return list(found.values())
