"""A prediction cut in two at the head."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from captum_heta.models.calls import Call, answered, before
from captum_heta.models.families import is_plain


@dataclass
class Cut:
    """What entered the head and what came out of it, once for each of its calls.

    Attributes:
        states: (..., d), what entered.
        leaves: (..., V), what is read in the place of what came out: the same numbers, without what they were computed
            from.
        weight: (V, d), what the head multiplies by; None where the head is not one that can be cut off.
    """

    states: list[Tensor] = field(default_factory=list)
    leaves: list[Tensor] = field(default_factory=list)
    weight: Tensor | None = None

    def only(self) -> tuple[Tensor, Tensor, Tensor] | None:
        """The state, the leaf and the weight; None if the head was not called, or several times."""
        if self.weight is None or len(self.states) != 1:
            return None
        return self.states[0], self.leaves[0], self.weight


@contextmanager
def cut_after(head: nn.Module | None) -> Iterator[Cut]:
    """Within this context what is made of a head's output does not know what that was computed from."""
    cut = Cut()
    if not is_plain(head):  # quantized ones and adapters do something else
        yield cut
        return
    cut.weight = head.weight.detach()

    def give_leaf(arguments: tuple[Any, ...], output: Any) -> Any:
        if not arguments:
            return None
        cut.states.append(arguments[0])
        cut.leaves.append(output.detach().requires_grad_())
        return cut.leaves[-1].clone()  # Chameleon writes into its logits

    with answered(head, give_leaf):
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
