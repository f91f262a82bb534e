"""Where each layer of a model carries tokens on: attention that can be read, or other modules.

Passes decide, not names.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from captum_heta.models.attention_reading import ALIKE, AttentionPass, Candidate, what_is_between
from captum_heta.models.calls import Call, after, answered, before, first, recorded, with_first
from captum_heta.models.language_model import LanguageModel
from captum_heta.models.layers import Mixer
from captum_heta.models.linear_form import is_linear
from captum_heta.models.selfcheck import UnfitModelError

# Far more than rounding of rows that are computed side by side, far less than what a token does to those after it.
_MIXED = 1e-4


class Attention(NamedTuple):
    """An attention module that can be read, by names in the model.

    Attributes:
        layer: the number of its layer; one may have several, one after the other.
        module: it.
        projection: what mixes its heads.
        at_interface: whether its values are read at the interface; otherwise in the cache.
        between: `what_is_between` A V and the projection.
    """

    layer: int
    module: str
    projection: str
    at_interface: bool
    between: str


class Others(NamedTuple):
    """Modules of any kind that carry tokens on in a layer beside each other, by names in the model.

    A layer may have several such steps.

    Attributes:
        layer: its number.
        modules: their names.
        linear: of each whether it `is_linear` in its values.
    """

    layer: int
    modules: tuple[str, ...]
    linear: tuple[bool, ...]


Place = Attention | Others


def places(lm: LanguageModel, layers: Sequence[nn.Module], ids: Tensor) -> list[Place]:
    """Where tokens are carried on, in their order; call within a pass of `captum_heta.models.selfcheck`.

    Args:
        lm: the model, in eager attention.
        layers: of the text.
        ids: (n,), the text that is passed.

    Raises:
        UnfitModelError: if tokens are carried on by anything that is not found.
    """
    return _Search(lm, layers, ids).found()


class _Child:
    """What a child of a layer was called with, given and made."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.given: Tensor | None = None
        self.made: Tensor | None = None

    def note(self, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        self.calls.append(Call(arguments, named))
        states = arguments[0] if arguments else named.get("hidden_states")
        self.given = states.clone() if isinstance(states, Tensor) else None  # a layer may add to it in its place

    def keep(self, arguments: tuple[Any, ...], output: Any) -> None:
        made = first(output)
        self.made = made.clone() if isinstance(made, Tensor) else None


class _Search:
    def __init__(self, lm: LanguageModel, layers: Sequence[nn.Module], ids: Tensor) -> None:
        self.lm, self.layers, self.ids = lm, layers, ids
        self.name = type(lm.model).__name__
        self.names = {id(module): name for name, module in lm.model.named_modules()}
        self.texts = torch.stack([ids, ids])
        self.texts[1, 0] = ids[1]  # another one
        self.linear: set[int] = set()  # the ids of mixers that are
        self.per_layer = lm.per_layer(ids)  # before there are hooks, as this may take passes of its own

    def found(self) -> list[Place]:
        candidates = self._candidates()
        mixing = self._mixing([one.projection for some in candidates.values() for one in some])
        readable = {number: some for number, some in candidates.items() if number not in mixing}
        others = self._all_others(readable)
        found: list[Place] = []
        for number in range(len(self.layers)):
            if number in readable:
                found += [self._attention(number, one) for one in readable[number]]
            else:
                found += [self._others(number, step) for step in others[number]]
        return found

    def _others(self, number: int, step: Sequence[nn.Module]) -> Others:
        names, linear = [self.names[id(one)] for one in step], [id(one) in self.linear for one in step]
        return Others(number, tuple(names), tuple(linear))

    def _all_others(self, readable: Mapping[int, Sequence[Candidate]]) -> dict[int, list[list[nn.Module]]]:
        """By layer, the modules that carry tokens on in those that cannot be read: beside each other, in steps."""
        unread = [number for number in range(len(self.layers)) if number not in readable]
        found: dict[int, list[list[nn.Module]]] = {number: [] for number in unread}
        left = set(unread)
        while left:
            known = {number: [module for step in found[number] for module in step] for number in left}
            for number, step in self._steps(known).items():
                if step:
                    found[number].append(step)
                else:
                    unread.remove(number)
            silenced = [one.projection for some in readable.values() for one in some]
            silenced += [module for steps in found.values() for step in steps for module in step]
            left = self._mixing(silenced)
            lost = sorted(left - set(unread))
            if lost:
                raise UnfitModelError(
                    f"{self.name} carries tokens on in layer(s) {lost} by something else than modules of these "
                    f"layers: captum_heta cannot follow it. {WITHOUT_ATTENTION}"
                )
        return found

    def _pass(self, ids: Tensor) -> Tensor:
        return self.lm.log_probs(self.lm.embed(ids), keep=len(self.ids), per_layer=self.per_layer)

    def _candidates(self) -> dict[int, list[Candidate]]:
        """By layer, its attention modules, if all that it calls can be read."""
        seen = AttentionPass(self.lm.model)
        with seen.watched():
            self._pass(self.ids[None])
        found = {}
        for number, layer in enumerate(self.layers):
            called = seen.called(layer)
            candidates = [one for one in map(seen.candidate, called) if one is not None]
            if called and len(candidates) == len(called) and self._one_after_the_other(number, called):
                found[number] = candidates
        return found

    def _one_after_the_other(self, number: int, modules: Sequence[nn.Module]) -> bool:
        """Whether each of several modules is given what the ones before it carried on, in the order of their names."""
        if len(modules) == 1:
            return True
        with before(self.layers[number], self._alike_again(None)), recorded(dict(enumerate(modules))) as calls:
            self._pass(self.texts)
        given = [self._differ(calls[i][0].hidden_states) for i in range(len(modules))]
        return given == [False] + [True] * (len(modules) - 1)

    def _attention(self, number: int, candidate: Candidate) -> Attention:
        return Attention(
            number,
            self.names[id(candidate.module)],
            self.names[id(candidate.projection)],
            candidate.at_interface,
            what_is_between(candidate),
        )

    def _mixing(self, silenced: Sequence[nn.Module]) -> set[int]:
        """The layers that carry a text's first token on to the others, while some modules say nothing.

        Two texts that differ in their first token go through the model. Each layer is given them alike after it.
        """
        mixing: set[int] = set()
        outside: list[Tensor] = []

        def entering(states: Tensor) -> None:
            if self._differ(states):
                outside.append(states)

        def seen(number: int, states: Tensor) -> None:
            if self._differ(states):
                mixing.add(number)

        with ExitStack() as stack:
            for module in silenced:
                stack.enter_context(after(module, _nothing))
            for number, layer in enumerate(self.layers):
                stack.enter_context(before(layer, self._alike_again(None if number else entering)))
                stack.enter_context(after(layer, self._seen(partial(seen, number))))
            log_probs = self._pass(self.texts)
        if outside or (self._differ(log_probs) and not mixing):
            raise UnfitModelError(
                f"{self.name} carries tokens on outside its layers, which captum_heta cannot follow. "
                f"{WITHOUT_ATTENTION}"
            )
        return mixing

    def _alike_again(self, look: Callable[[Tensor], Any] | None) -> Callable[[tuple[Any, ...], dict[str, Any]], Any]:
        """A layer's second text is given the first one's states after the first token: each layer speaks for itself."""

        def change(arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
            call = Call(arguments, named)
            states = call.hidden_states
            if not self._by_token(states):
                return None
            if look is not None:
                look(states)
            return call.having(torch.stack([states[0], torch.cat([states[1, :1], states[0, 1:]])]))

        return change

    def _seen(self, look: Callable[[Tensor], None]) -> Callable[[Any], None]:
        def see(output: Any) -> None:
            states = first(output)
            if self._by_token(states):
                look(states)

        return see

    def _by_token(self, states: Any) -> bool:
        """Whether these are states of each token of both texts, of one stream (2, n, d) or several (2, n, streams, d).

        Where streams come first, what is mixed is seen at the end.
        """
        return isinstance(states, Tensor) and states.shape[:2] == self.texts.shape

    def _differ(self, states: Tensor) -> bool:
        scale = states[0, 1:].float().std() + torch.finfo(torch.float32).tiny
        return bool((states[0, 1:] - states[1, 1:]).float().abs().max() > _MIXED * scale)

    def _steps(self, silenced: Mapping[int, Sequence[nn.Module]]) -> dict[int, list[nn.Module]]:
        """The children of some layers that carry tokens on.

        Given texts that differ in their first token alone, they make others after it. Those that are given what others
        carried on are found when these are silenced.
        """
        children = {
            (number, name): child
            for number, some in silenced.items()
            for name, child in self.layers[number].named_children()
            if child not in some
        }
        seen = {key: _Child() for key in children}
        with ExitStack() as stack:
            for number, some in silenced.items():
                stack.enter_context(before(self.layers[number], self._alike_again(None)))
                for module in some:
                    stack.enter_context(after(module, _nothing))
            for key, child in children.items():
                stack.enter_context(before(child, seen[key].note))
                stack.enter_context(answered(child, seen[key].keep))
            self._pass(self.texts)
        found: dict[int, list[nn.Module]] = {number: [] for number in silenced}
        for (number, name), one in seen.items():
            states, made = one.given, one.made
            if states is None or made is None or states.shape != made.shape or states.shape[:-1] != self.texts.shape:
                continue
            if self._differ(states) or not self._differ(made):
                continue
            module = children[number, name]
            if len(one.calls) > 1:
                raise UnfitModelError(
                    f"{self.name} runs {type(module).__name__} several times in layer {number}: captum_heta cannot "
                    f"follow a loop. {WITHOUT_ATTENTION}"
                )
            self._check_again(number, module, one.calls[0], made)
            found[number].append(module)
        return found

    def _check_again(self, number: int, module: nn.Module, call: Call, made: Tensor) -> None:
        """A module that is called again by itself, with one text of two, must make the same of it."""
        mixer = Mixer(module, call.mapped(_first_row))
        again = mixer.of(call.hidden_states)
        if again.shape != made.shape or not torch.allclose(
            again.float(), made.float(), rtol=ALIKE, atol=ALIKE * made.std().item()
        ):
            raise UnfitModelError(
                f"{type(module).__name__} in layer {number} of {self.name} makes something else when it is called "
                f"again with the same states: captum_heta cannot leave tokens out of it. {WITHOUT_ATTENTION}"
            )
        if is_linear(module, mixer.of, mixer.call.hidden_states, self.lm.is_quantized):
            self.linear.add(id(module))


WITHOUT_ATTENTION = "NormXLogit, ReAGent, TDD and Captum's perturbation methods need no attention."


def _nothing(output: Any) -> Any:
    return with_first(output, torch.zeros_like(first(output)))


def _first_row(given: Any) -> Any:
    """An argument for two rows as that for the first of them."""
    return given[:1] if isinstance(given, Tensor) and given.ndim > 1 and len(given) == 2 else given
