"""A pass in which each function of torch follows its rule."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from captum_heta.models import Call, answered, before
from captum_heta.terms.relevance.gradients import secant
from captum_heta.terms.relevance.rules import UncoveredError, depends, rule_of, tensors


class Nodes:
    """The nodes of a graph of derivatives that come from functions with a rule."""

    def __init__(self) -> None:
        self.known: set[Any] = set()

    def add(self, made: Any, given: set[Any]) -> None:
        """Note what a function added to the graph between what it made and the nodes that it was given."""
        self.known.update(_above(made, self.known | given))

    def other(self, output: Tensor) -> str | None:
        """The name of a node behind an output that none of the functions made; None if there is none."""
        return next((node.name() for node in _above([output], set()) if node not in self.known), None)


def _above(made: Any, end: set[Any]) -> list[Any]:
    """The nodes from those of some tensors up to, and without, those of an end and the leaves."""
    ahead, found, seen = list(nodes(made)), [], set(end)
    while ahead:
        node = ahead.pop()
        if node not in seen and not hasattr(node, "variable"):  # which the leaves have
            seen.add(node)
            found.append(node)
            ahead += [inner for inner, _ in node.next_functions if inner is not None]
    return found


def nodes(given: Any) -> set[Any]:
    """Where tensors are in the graph."""
    return {one.grad_fn for one in tensors(given) if one.grad_fn is not None}


class _Rules(TorchFunctionMode):
    def __init__(self, noted: Nodes | None) -> None:
        super().__init__()
        self.noted = noted
        self.ended = False

    def end(self) -> None:
        """Let functions be what they are."""
        self.ended = True

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if self.ended or not depends([args, kwargs]):
            return function(*args, **kwargs)
        name, rule = rule_of(function)
        given = nodes([args, kwargs]) if self.noted or rule is None else set()
        if rule is None:
            made = function(*args, **kwargs)
            if depends(made) or nodes([args, kwargs]) - given:
                raise UncoveredError(name)
            return made
        made = rule(name, function, args, kwargs)
        if self.noted:
            self.noted.add([made, args, kwargs], given)  # what is changed in place is among what was given
        return made


@contextmanager
def ruled(activations: Sequence[nn.Module], noted: Nodes | None = None) -> Iterator[None]:
    """Within this context gradients are those of the rules; what is computed is what it was.

    Args:
        activations: modules that are functions of one number, 0 at 0: each is one, whatever it computes it with.
        noted: where to note which nodes of the graph the rules have made.
    """
    rules = _Rules(noted)
    with ExitStack() as stack:
        # an interruption may leave torch with a mode on its stack, which then does nothing
        stack.callback(rules.end)
        for module in activations:
            entered: list[Tensor] = []
            stack.enter_context(before(module, _without_graph(entered)))
            stack.enter_context(answered(module, _as_secant(entered, noted)))
        stack.enter_context(rules)
        try:
            yield
        finally:
            rules.end()


def _without_graph(entered: list[Tensor]) -> Callable[[tuple[Any, ...], dict[str, Any]], Any]:
    def enter(arguments: tuple[Any, ...], named: dict[str, Any]) -> Call:
        entered.append(arguments[0])
        return Call((arguments[0].detach(),), {})

    return enter


def _as_secant(entered: list[Tensor], noted: Nodes | None) -> Callable[[tuple[Any, ...], Any], Any]:
    def leave(arguments: tuple[Any, ...], output: Any) -> Tensor:
        x = entered.pop()
        made = secant(x, output)
        if noted:
            noted.add([made], nodes([x]))
        return made

    return leave
