"""A prediction cut in two where the state enters the head."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from captum_heta.models.calls import Call, before


@dataclass
class Cut:
    """What entered the head, once for each of its calls.

    Attributes:
        states: as they were computed.
        leaves: what the head was given in their place: the same numbers, without what they were computed from.
    """

    states: list[Tensor] = field(default_factory=list)
    leaves: list[Tensor] = field(default_factory=list)

    def pair(self) -> tuple[Tensor, Tensor] | None:
        """The state and its leaf; None if the head was not called, or several times."""
        return (self.states[0], self.leaves[0]) if len(self.states) == 1 else None


@contextmanager
def cut_before(head: nn.Module | None) -> Iterator[Cut]:
    """Within this context what a head makes of its states does not know what these were computed from."""
    cut = Cut()
    if not _has_derivatives(head):
        yield cut
        return

    def give_leaf(arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
        if not arguments or not isinstance(arguments[0], Tensor):
            return None
        cut.states.append(arguments[0])
        cut.leaves.append(arguments[0].detach().requires_grad_())
        return Call((cut.leaves[-1], *arguments[1:]), named)

    assert head is not None
    with before(head, give_leaf):
        yield cut


def contiguous_before(head: nn.Module) -> Any:
    """Within this context a head is given whole tensors.

    The states of the last positions of several rows are a view with gaps, for which torch multiplies row by row: with
    GPT-2 and 24 rows, 0.1 s in the place of 0.015.
    """

    def give_whole(arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
        if not arguments or not isinstance(arguments[0], Tensor) or arguments[0].is_contiguous():
            return None
        return Call((arguments[0].contiguous(), *arguments[1:]), named)

    return before(head, give_whole)


def _has_derivatives(head: nn.Module | None) -> bool:
    """Whether derivatives of a head can be differentiated; kernels of quantized ones are written for inference."""
    return type(head) is nn.Linear and type(head.weight) is nn.Parameter
