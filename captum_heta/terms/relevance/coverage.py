"""Whether the rules cover what a model does, found out by a pass and not taken from its name."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from captum_heta.models import Call, CausalLM, UnfitModelError, answered, before, in_a_pass, recorded
from captum_heta.terms.relevance.ruled import Nodes, ruled
from captum_heta.terms.relevance.rules import UncoveredError


class Coverage:
    """What is known of a model and the rules; its answers are kept with the model's findings.

    Args:
        lm: a view of the model.
    """

    def __init__(self, lm: CausalLM) -> None:
        self.lm = lm
        self.name = type(lm.model).__name__

    @property
    def ids(self) -> Tensor:
        """Those of the text that is passed."""
        return self.lm.findings.ids

    @contextmanager
    def ruled(self) -> Iterator[None]:
        """Within this context, inside of `CausalLM.ready`, gradients are those of the rules.

        Raises:
            TypeError: on entry, naming the module and what it does that no rule covers.
        """
        names = self.lm.findings.answer("relevance", self._activations)
        with torch.enable_grad(), ruled([self.lm.model.get_submodule(name) for name in names]):
            try:
                yield
            except UncoveredError as error:  # of what a short text does not lead to
                raise self._refusal(f"it computes {error}") from error

    def _refusal(self, what: str) -> UnfitModelError:
        return UnfitModelError(
            f"AttnLRP has no rule for what {self.name} does: {what}. It has rules for linear layers, norms, softmax, "
            "products, and functions of one number that are 0 at 0. GradientNorm, HETA and Captum's methods need none."
        )

    @in_a_pass
    def _activations(self) -> list[str]:
        """The names of the modules that are functions of one number, 0 at 0."""
        lm = self.lm
        small = {name: module for name, module in lm.model.named_modules() if _is_small(module)}
        embeds, per_layer = lm.embed(self.ids), lm.per_layer(self.ids)
        with recorded(small) as calls:
            lm.log_probs(embeds[None], per_layer=per_layer)
        found = [name for name, some in calls.items() if some and _is_elementwise(small[name], some[0])]
        noted, inside = Nodes(), [""]
        with torch.enable_grad(), _where(lm.model, inside):
            x = embeds.detach().clone().requires_grad_()
            try:
                with ruled([small[name] for name in found], noted):
                    log_probs = lm.log_probs(x[None], keep=len(x), per_layer=per_layer)
            except UncoveredError as error:
                place = f"{inside[-1]} ({type(lm.model.get_submodule(inside[-1])).__name__})" if inside[-1] else "it"
                raise self._refusal(f"{place} computes {error}") from error
        other = noted.other(log_probs)
        if other is not None:
            raise self._refusal(f"it computes {other} in a way that torch does not show")
        if not lm.findings.agree(lm.findings.by_ids, log_probs[0].detach()):
            raise UnfitModelError(f"{self.name} predicts something else where its functions follow rules.")
        return found


def _is_small(module: nn.Module) -> bool:
    return next(module.children(), None) is None and all(one.numel() == 1 for one in module.parameters())


def _is_elementwise(module: nn.Module, call: Call) -> bool:
    """Whether a module makes of each number another that depends on no other number, and is 0 for 0."""
    (x, *others), named = call.arguments or (None,), call.named
    if others or named or not isinstance(x, Tensor) or not x.is_floating_point():
        return False
    kept = x.clone()
    y = module(kept)
    if not isinstance(y, Tensor) or y.shape != x.shape or torch.equal(y, x) or not torch.equal(kept, x):
        return False
    stay = (torch.arange(x.numel(), device=x.device) % 2 == 0).view_as(x)
    other = module(torch.where(stay, x, 1 - 2 * x))
    return torch.allclose(other[stay], y[stay], rtol=1e-3, atol=1e-6) and not module(torch.zeros_like(x)).any()


@contextmanager
def _where(model: nn.Module, inside: list[str]) -> Iterator[None]:
    """Within this context the last of ``inside`` is the name of the module that runs."""

    def enter(name: str, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        inside.append(name)

    def leave(output: Any) -> None:
        inside.pop()

    with ExitStack() as stack:
        for name, module in model.named_modules():
            stack.enter_context(before(module, partial(enter, name)))
            stack.enter_context(answered(module, lambda arguments, output: leave(output)))
        yield
