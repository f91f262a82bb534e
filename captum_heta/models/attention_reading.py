"""Which modules of a model are attention that can be read, as one pass shows: A, V, and what mixes the heads."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from captum_heta.models.calls import Call, after, before, first, recorded
from captum_heta.models.families import attention_candidates
from captum_heta.models.interface import Attended, attention_weights, listening, uses_interface

ALIKE = 0.02  # of what an output projection is given; rounding in bfloat16 is half of it


class Candidate(NamedTuple):
    """An attention module that was called once, in a pass without a cache.

    Attributes:
        module: it.
        projection: what mixes its heads.
        at_interface: whether its values are read at the interface; otherwise in the cache.
        plain: whether the projection is given A V as it is, as far as that is known.
        call: what it was called with.
    """

    module: nn.Module
    projection: nn.Module
    at_interface: bool
    plain: bool
    call: Call


class _Event(NamedTuple):
    """What happened to a module, by its id: it "attended" and gathered states, "returned", or was given as many."""

    what: str
    key: int
    states: Tensor


class AttentionPass:
    """Watches one pass over a text, (1, n), without a cache.

    Args:
        model: in eager attention.
    """

    def __init__(self, model: nn.Module) -> None:
        self._known = {
            id(module): projection for some in attention_candidates(model).values() for module, projection in some
        }
        self._modules = {
            id(module): module for module in model.modules() if uses_interface(module) or id(module) in self._known
        }
        self._matrices = {
            id(module): module
            for module in model.modules()
            if isinstance(getattr(module, "in_features", None) or getattr(module, "nx", None), int)
        }
        self._heard: dict[int, list[Attended]] = {key: [] for key in self._modules}
        self._events: list[_Event] = []
        self._calls: Mapping[int, list[Call]] = {}

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Within this context the pass is made."""
        attending = [
            (module, partial(self._hear, key)) for key, module in self._modules.items() if uses_interface(module)
        ]
        with ExitStack() as stack:
            stack.enter_context(listening(attending))
            self._calls = stack.enter_context(recorded(self._modules))
            for key, module in self._matrices.items():
                stack.enter_context(before(module, partial(self._given, key)))
            for key, module in self._modules.items():
                stack.enter_context(after(module, partial(self._returned, key)))
            yield

    def called(self, layer: nn.Module) -> list[nn.Module]:
        """The modules in a layer that look like attention and were called."""
        return [module for module in layer.modules() if self._calls.get(id(module))]

    def candidate(self, module: nn.Module) -> Candidate | None:
        """What is known of one of them; None if it cannot be read."""
        calls, heard = self._calls[id(module)], self._heard[id(module)]
        if len(calls) != 1 or len(heard) > 1:
            return None
        projection, plain = self._known.get(id(module)), True
        if heard:
            given = self._mixing(module)
            if given is None:
                return None
            projection, plain = self._matrices[given.key], is_product(heard[0].product(), given.states)
        weights, length = attention_weights(module, calls[0], [], 0), calls[0].hidden_states.shape[1]
        if projection is None or weights is None or weights.shape[1:] != (length, length):
            return None
        return Candidate(module, projection, bool(heard), plain, calls[0])

    def _hear(self, key: int, found: Attended) -> None:
        self._heard[key].append(found)
        self._events.append(_Event("attended", key, found.gathered))

    def _given(self, key: int, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        states = arguments[0] if arguments else next(iter(named.values()), None)
        gathered = next((event.states for event in reversed(self._events) if event.what == "attended"), None)
        if isinstance(states, Tensor) and gathered is not None and states.numel() == gathered.numel():
            self._events.append(_Event("given", key, states))

    def _returned(self, key: int, output: Any) -> None:
        self._events.append(_Event("returned", key, first(output)))

    def _mixing(self, module: nn.Module) -> _Event | None:
        """What mixes the heads: the last matrix within the module that is given as many numbers, or the next one.

        Of matrices inside of one another, as those of an adapter are, it is the outermost.
        """
        events = self._events
        own = [i for i, event in enumerate(events) if event.key == id(module)]
        begin = next(i for i in own if events[i].what == "attended")
        end = next((i for i in own if i > begin and events[i].what == "returned"), begin)
        given = [event for event in events[begin:end] if event.what == "given"]
        given = given or [event for event in events[end + 1 : end + 2] if event.what == "given"]
        known = self._known.get(id(module))
        given = [event for event in given if event.key == id(known)] or given
        if not given:
            return None
        inner = self._matrices[given[-1].key]
        return next(event for event in given if inner in self._matrices[event.key].modules())


def is_product(made: Tensor | None, given: Tensor) -> bool:
    """Whether A V is what the projection is given."""
    if made is None or made.numel() != given.numel():
        return False
    made = made.float().flatten()
    return bool((given.float().flatten().to(made.device) - made).norm() <= ALIKE * made.norm())


def what_is_between(candidate: Candidate) -> str:
    """What is done to A V on its way to the projection: "nothing", "gates" that multiply each number, or "unknown".

    Two calls show it: one as it was, and one in which A V is multiplied by numbers.
    """
    # what is read from a cache is compared when there is one
    if candidate.plain or not candidate.at_interface:
        return "nothing"
    factors: list[Tensor] = []
    heard: list[Attended] = []

    def change(found: Attended) -> Tensor:
        heard.append(found)
        generator = torch.Generator(device="cpu").manual_seed(0)
        factors.append((torch.rand(found.gathered.shape, generator=generator) + 0.5).to(found.gathered))
        return found.gathered * factors[0]

    given = []
    for listener in (None, change):
        listeners = [(candidate.module, listener)] if listener else []
        with recorded({0: candidate.projection}) as calls, listening(listeners):
            candidate.module(*candidate.call.arguments, **candidate.call.named)
        if len(calls[0]) != 1:
            return "unknown"
        given.append(calls[0][0].hidden_states)
    gathered, product = heard[0].gathered[0].float(), heard[0].product()
    if (
        product is None
        or product.shape != gathered.shape
        or any(states.numel() != gathered.numel() for states in given)
    ):
        return "unknown"
    if not _alike_up_to_sizes(gathered, product.float()):
        return "unknown"
    shape = gathered.shape  # (T, H, size)
    plain, changed = (states.reshape(shape).float() for states in given)
    multiplied = factors[0][0].float()
    return "gates" if _alike_up_to_sizes(changed, plain * multiplied) else "unknown"


def _alike_up_to_sizes(found: Tensor, expected: Tensor) -> bool:
    """Whether rows (T, H, size) are multiples of others: norms, and sinks, scale each row of a head, or of all."""
    sizes = (found * expected).sum(-1, keepdim=True) / expected.square().sum(-1, keepdim=True).clamp(min=1e-30)
    return bool((found - sizes * expected).norm() <= ALIKE * found.norm())
