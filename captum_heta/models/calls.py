"""What modules are given in a pass: recorded, replaced, and given again.

Hooks of a person's own stay in force: what is recorded is what a module was given before them, what is given in its
place goes through them, and what stands for an output is what comes out of them.
"""

import itertools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

_NUMBERS = itertools.count(1)


class _Hook:
    """A hook of this package, so that it can be told from others; numbered in the order in which they are made."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function, self.number = function, next(_NUMBERS)

    def __call__(self, *arguments: Any) -> Any:
        return self.function(*arguments)


def latest_hook() -> int:
    """A number above those of all hooks so far, and below those of all to come."""
    return next(_NUMBERS)


def remove_hooks(model: nn.Module, after: int) -> None:
    """Remove the hooks of this package that were made after a number, wherever they are in a model."""
    # torch has no public list of a module's hooks, and an interrupted registration returns no handle
    for module in model.modules():
        for hooks in (module._forward_pre_hooks, module._forward_hooks):
            for key, hook in list(hooks.items()):
                if isinstance(hook, _Hook) and hook.number > after:
                    del hooks[key]


def before(module: nn.Module, function: Callable[[tuple[Any, ...], dict[str, Any]], Any]) -> AbstractContextManager:
    """Within this context ``function`` is called with what a module is given, and may return other arguments."""
    hook = _Hook(lambda _, arguments, named: function(arguments, named))
    return _registered(lambda: module.register_forward_pre_hook(hook, prepend=True, with_kwargs=True))


def after(module: nn.Module, function: Callable[[Any], Any]) -> AbstractContextManager:
    """Within this context ``function`` is called with what a module returns, and may return something else."""
    return answered(module, lambda arguments, output: function(output))


def answered(module: nn.Module, function: Callable[[tuple[Any, ...], Any], Any]) -> AbstractContextManager:
    """As `after`; ``function`` is called with what the module was given too."""
    hook = _Hook(lambda _, arguments, output: function(arguments, output))
    return _registered(lambda: module.register_forward_hook(hook))


@contextmanager
def _registered(*registrations: Callable[[], RemovableHandle]) -> Iterator[None]:
    handles: list[RemovableHandle] = []

    def remove() -> None:
        for handle in handles:
            handle.remove()

    # twice, the second time for an interruption of the first
    try:
        try:
            for register in registrations:
                handles.append(register())
            yield
        finally:
            remove()
    finally:
        remove()


class Call(NamedTuple):
    """What a module was called with."""

    arguments: tuple[Any, ...]
    named: dict[str, Any]

    @property
    def hidden_states(self) -> Tensor:
        """(B, S, d), the first argument of every layer of transformers."""
        return self.arguments[0] if self.arguments else self.named["hidden_states"]

    def having(self, states: Tensor) -> "Call":
        """The same with other hidden states."""
        states = states.to(self.hidden_states.device)
        if self.arguments:
            return Call((states, *self.arguments[1:]), self.named)
        return Call((), self.named | {"hidden_states": states})

    def mapped(self, change: Callable[[Any], Any]) -> "Call":
        """The same with ``change`` of each argument, and of each inside of tuples, lists and dictionaries."""

        def inside(given: Any) -> Any:
            if isinstance(given, dict):
                return {name: inside(value) for name, value in given.items()}
            if type(given) in (tuple, list):
                return type(given)(inside(value) for value in given)
            return change(given)

        return Call(inside(self.arguments), inside(self.named))


def first(output: Any) -> Any:
    """The hidden states among what a module returns: alone, or before others."""
    return output[0] if isinstance(output, tuple | list) else output


def with_first(output: Any, states: Tensor) -> Any:
    """What a module returns, with other hidden states."""
    return type(output)([states, *output[1:]]) if isinstance(output, tuple | list) else states


@contextmanager
def recorded(modules: dict[Any, nn.Module]) -> Iterator[dict[Any, list[Call]]]:
    """Within this context the calls of modules are collected under their keys."""
    # Hooks of our own: `output_attentions=True` would leave transformers' capturing hooks on the model for good.
    calls: dict[Any, list[Call]] = {key: [] for key in modules}

    def registration(key: Any, module: nn.Module) -> Callable[[], RemovableHandle]:
        hook = _Hook(lambda _, arguments, named: calls[key].append(Call(arguments, named)))
        return lambda: module.register_forward_pre_hook(hook, prepend=True, with_kwargs=True)

    with _registered(*(registration(key, module) for key, module in modules.items())):
        yield calls


def replaced_input(module: nn.Module, states: Tensor) -> AbstractContextManager:
    """Within this context a layer is given ``states`` in place of its own hidden states."""
    return before(module, lambda arguments, named: Call(arguments, named).having(states))


def replaced_output(module: nn.Module, states: Tensor) -> AbstractContextManager:
    """Within this context a layer gives ``states`` in place of its own hidden states."""
    return after(module, lambda output: with_first(output, states))
