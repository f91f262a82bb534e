"""What carried tokens on in one layer of one sequence: attention that can be read, or any other modules."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import Cache

from captum_heta.models.calls import Call, first
from captum_heta.models.families import head_weights
from captum_heta.models.linear_form import linear_form
from captum_heta.models.memory import Batch
from captum_heta.models.published import PublishedLayer
from captum_heta.models.residual import Residual


@dataclass(frozen=True, eq=False)
class AttentionLayer:
    """What one attention layer did to the sequence.

    Attributes:
        weights: computes A^lh anew, whose rows sum to 1, in pieces: pairs of the first query of a piece and its rows
            (H, queries, keys up to the last query).
        values: V^lh, (key-value heads, T, head size), as the module used them.
        projection: W_O, the module that mixes the heads.
        residual: the residual stream around it, if it was asked for.
        gates: by what A V is multiplied on its way to W_O, (T, H, head size); None for nothing.
        published: what the code that HETA's authors published reads of the layer, if it was asked for.
    """

    weights: Callable[[], Iterator[tuple[int, Tensor]]]
    values: Tensor
    projection: nn.Module
    residual: Residual | None = None
    gates: Tensor | None = None
    published: PublishedLayer | None = None

    @property
    def length(self) -> int:
        """T."""
        return self.values.shape[1]

    def mixers(self) -> Tensor:
        """W_O^lh of each head, (H, head size, d), in float32 or better.

        Raises:
            ValueError: if its heads cannot share those of the values evenly.
        """
        mixers = head_weights(self.projection, self.values.shape[-1], like=self.values)
        if len(mixers) % len(self.values):
            raise ValueError(
                f"{len(mixers)} heads of the output projection cannot share {len(self.values)} heads of values evenly."
            )
        return mixers

    def bias(self) -> Tensor:
        """What the projection makes of nothing, (d,)."""
        mixed = self.mixers()
        nothing = self.values.new_zeros(1, 1, mixed.shape[0] * mixed.shape[1])
        return self.projection(nothing)[0, 0].detach()

    def value_norms(self) -> Tensor:
        """norm1(V_i^lh W_O^lh), (H, T): how much head h would carry away from position i."""
        mixers = self.mixers()
        shared = len(mixers) // len(self.values)  # query heads per key-value head
        values = self.values.to(mixers.device, mixers.dtype)
        # head by head: (T, d) at a time, not (H, T, d)
        return torch.stack([(values[h // shared] @ mixer).abs().sum(-1) for h, mixer in enumerate(mixers)])


class Mixer(NamedTuple):
    """A module that carries tokens on, and what it was called with.

    Attributes:
        module: it.
        call: with the whole sequence, (1, T, d).
        linear: whether its parts are those of its `linear_form`.
    """

    module: nn.Module
    call: Call
    linear: bool = False

    def of(self, states: Tensor) -> Tensor:
        """What it makes of other hidden states (B, T, d), (B, T, d)."""
        call = self.call.having(states).mapped(partial(_repeated, len(states)))
        return first(self.module(*call.arguments, **call.named))

    def parts(self) -> Callable[[Tensor], Tensor]:
        """From tokens (B,) to the part that each has in what it makes of the sequence, (B, T, d), float32 or better."""
        states = self.call.hidden_states
        if self.linear:
            form = linear_form(self.module, self.of, states)
            assert form is not None  # as when it was tried
            return form.parts
        whole = _precise(self.of(states))

        def left_out(sources: Tensor) -> Tensor:
            without = states.repeat(len(sources), 1, 1)
            without[torch.arange(len(sources)), sources] = 0
            return whole - _precise(self.of(without))

        return left_out


@dataclass(frozen=True, eq=False)
class MixingLayer:
    """A layer whose tokens are carried on by modules of any kind: state spaces, convolutions, linear attention.

    What position t has of token i, c_ti, is its term in the output where that is a sum over tokens once what steers it
    is held, as attention weights are (`captum_heta.models.linear_form`). Of any other module it is what its output
    loses without the token, c_ti = mixer(x)_t - mixer(x without i)_t, with zeros for x_i: one source is left out at a
    time, with no derivative and no knowledge of the module.

    Attributes:
        mixers: the modules, and what they were called with.
        batch: sources at a time.
        length: T.
        residual: the residual stream around them, if it was asked for.
        shares: the factor of what each of them adds to the stream.
    """

    mixers: Sequence[Mixer]
    batch: Batch
    length: int
    residual: Residual | None = None
    shares: tuple[float, ...] = ()

    def gathered(self) -> Tensor:
        """What they make of the sequence, (mixers, T, d), in float32 or better."""
        return torch.stack([_precise(mixer.of(mixer.call.hidden_states)[0]) for mixer in self.mixers])

    @torch.no_grad()
    def measured(self, number: int, measure: Callable[[Tensor, int], Tensor]) -> Tensor:
        """A number for each part c_ti of what one of them makes.

        Args:
            number: which of `mixers`.
            measure: from parts (B, T - begin, d), in float32 or better, and ``begin``, the first position that they are
                of, to their numbers (B, T - begin).

        Returns:
            (T, T), rows the positions, columns their sources; 0 before each source.
        """
        parts = self.mixers[number].parts()

        def column(sources: Tensor) -> Tensor:
            begin = int(sources[0])
            numbers = measure(parts(sources)[:, begin:], begin)
            positions = torch.arange(begin, self.length)
            seen = (positions >= sources[:, None]).to(numbers.device)
            return nn.functional.pad(torch.where(seen, numbers, 0), (begin, 0))

        return torch.cat(self.batch.run(torch.arange(self.length), column)).T


Layer = AttentionLayer | MixingLayer


def _precise(states: Tensor) -> Tensor:
    return states.to(torch.promote_types(states.dtype, torch.float32))


def _repeated(count: int, given: Any) -> Any:
    """An argument for one row as that for ``count``, without a cache; masks and rotary embeddings have a row too."""
    if isinstance(given, Cache):
        return None
    if isinstance(given, Tensor) and given.ndim > 1 and len(given) == 1:
        return given.expand(count, *given.shape[1:])
    return given
