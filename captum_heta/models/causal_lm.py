"""A Hugging Face decoder-only language model as the terms of HETA see it."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, ClassVar

from torch import Tensor, nn

from captum_heta.models.attention_check import AttentionFindings
from captum_heta.models.calls import replaced_input
from captum_heta.models.families import decoder_layers
from captum_heta.models.head import Cut, cut_after
from captum_heta.models.language_model import LanguageModel
from captum_heta.models.memory import gradient_rows, graph_fits, layer_rows, query_rows
from captum_heta.models.stages import Stage, split
from captum_heta.models.state import differentiable, evaluating, own_implementations, runs_eagerly


class CausalLM(LanguageModel):
    """A language model that can be traced: what carries tokens on in each layer is found out, and run one by one.

    Args:
        model: a causal language model of transformers, or anything with its interface.

    Raises:
        TypeError: if ``model`` is no such model, or is an encoder-decoder.
    """

    compared_with_ids: ClassVar[tuple[str, ...]] = ("embeddings", "prefix")

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        self.attention = AttentionFindings(self)

    def graph_fits(self, length: int) -> bool:
        """Whether the graph of a gradient over ``length`` positions may be kept whole."""
        return graph_fits(self.model, self.device, length) or self._layers is None

    def layer_rows(self, length: int) -> int:
        """How many Hessian products over ``length`` positions at once fit when graphs are made layer by layer."""
        return layer_rows(self.model, self.device, length)

    def gradient_rows(self, length: int) -> int:
        """How many gradients over ``length`` positions are handed down at once when graphs are made layer by layer."""
        return gradient_rows(self.model, self.device, length)

    @contextmanager
    def ready(self) -> Iterator[None]:
        """Within this context the model can be traced and differentiated twice; afterwards it is as it was.

        Raises:
            TypeError: on entry, if the model does something that would make the numbers wrong; says what.
        """
        with evaluating(self.model):
            # as a person runs it: its fast attention may see what its eager attention does not
            self.findings.begin()
            self.findings.check_ids()
            with differentiable(self.model):
                self.attention.check()
                yield

    def layer_before_last(self, count: int) -> int:
        """The first of the last ``count`` layers.

        Raises:
            ValueError: if there are fewer.
        """
        if count > self.n_layers:
            raise ValueError(
                f"last_n_layers is {count}, and {type(self.model).__name__} has {self.n_layers} layers: pass at most "
                "as many, or None for the embeddings."
            )
        return self.n_layers - count

    def entering(self, layer: int, states: Tensor) -> AbstractContextManager[None]:
        """Within this context a layer is given ``states`` (B, S, d) in place of its own hidden states."""
        return replaced_input(self.layer(layer), states)

    @contextmanager
    def fastest(self, gradients: bool = False) -> Iterator[bool]:
        """Within this context, inside `ready`, passes need no second derivatives; yields whether they run faster.

        Attention then runs as the model was loaded, where that says the same of a prefix in the cache.

        Args:
            gradients: whether they need first ones.
        """
        # of an eager model there is nothing to find out
        if runs_eagerly(self.model) or not (
            self.attention.fast_differentiates if gradients else self.attention.fast_says_the_same
        ):
            yield False
            return
        with own_implementations(self.model):
            yield True

    def cut_at_head(self) -> AbstractContextManager[Cut]:
        """Within this context predictions are made from logits that do not know what they were computed from."""
        return cut_after(self.head)

    @property
    def _layers(self) -> nn.ModuleList | None:
        return decoder_layers(self.model, self.n_layers)

    def layer(self, layer: int) -> nn.Module:
        """One of the layers, from 0 on."""
        return self.layer_list()[layer]

    def layer_list(self) -> nn.ModuleList:
        """All of them, which takes a walk through the model's modules.

        Raises:
            TypeError: if they are in no list.
        """
        layers = self._layers
        if layers is None:
            raise TypeError(
                f"The layers of {type(self.model).__name__} are in no torch.nn.ModuleList: last_n_layers does not know "
                "where they begin. Leave it None."
            )
        return layers

    def split(self, predict: Stage, embeds: Tensor, first: int | None) -> tuple[list[Stage], Stage]:
        """``predict``, which runs this model on embeddings (1, S, d), as a chain of stages.

        Returns:
            What comes before the first layer and each layer, or the layers from ``first`` on; and what comes after.
        """
        assert self._layers is not None
        stages, after = split(predict, self._layers, embeds)
        return (stages if first is None else stages[1 + first :]), after

    def pieces(self, length: int) -> list[tuple[int, int]]:
        """The first positions of the pieces in which a sequence is read, and those after their last.

        No layer then makes (T, T) numbers at once. Each piece reads the ones before it from the cache, where the model
        can, and where a piece is not too short for its rotary embedding. Modules that tokens are left out of one at a
        time are given all of them at once.
        """
        rows = query_rows(self.model, self.device, length)
        whole = not self.attention.reuses_prefix or self.attention.leaves_out
        if whole or self.lengths.regime(length) != self.lengths.regime(1):
            rows = length
        return [(start, min(start + rows, length)) for start in range(0, length, rows)]
