"""What is differentiated: the predictions as a function of the embeddings of the tokens that vary."""

from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from captum_heta.models import Stage, Trace


@dataclass(frozen=True, eq=False)
class Varying:
    """The log-probabilities of some outputs as a function of some tokens' embeddings, or of their hidden states.

    Tokens before the first that varies are read from the cache; outputs after these are left out.

    Args:
        trace: the sequence.
        tokens: (m,), ascending positions of the tokens that vary.
        outputs: which of the K outputs, neighbours.
        last_n_layers: vary the hidden states that enter the last so many layers; None for the embeddings.

    Raises:
        ValueError: if the model has fewer layers.
    """

    trace: Trace
    tokens: Tensor
    outputs: range
    last_n_layers: int | None = None

    @property
    def start(self) -> int:
        """The first position that is run: the first that varies or predicts, or 0 where the cache cannot be read."""
        predicts = int(self.trace.output_positions[self.outputs[0]])
        return self.trace.first_run(min(int(self.tokens[0]), predicts))

    @property
    def stop(self) -> int:
        """After the position of the last output."""
        return int(self.trace.output_positions[self.outputs[-1]]) + 1

    @cached_property
    def layer(self) -> int | None:
        """The layer whose inputs vary; None for the embeddings."""
        return None if self.last_n_layers is None else self.trace.lm.layer_before_last(self.last_n_layers)

    @cached_property
    def states(self) -> Tensor:
        """(T, d), the embeddings or hidden states of all tokens."""
        return self.trace.embeds if self.layer is None else self.trace.entering(self.layer)

    def point(self) -> Tensor:
        """(m, d), where to differentiate; requires a gradient."""
        return self.states[self.tokens.to(self.states.device)].detach().requires_grad_()

    def placed(self, x: Tensor) -> Tensor:
        """(1, S, d), the states of positions ``start`` to ``stop`` with ``x`` (m, d) in their places."""
        places = (self.tokens - self.start).to(x.device)
        return self.states[None, self.start : self.stop].index_copy(1, places, x[None])

    def log_probs(self, x: Tensor) -> Tensor:
        """(len(outputs), V)."""
        if self.layer is None:
            return self.trace.rerun(self.placed(x), self.start, len(self.outputs))[0]
        return self.trace.rerun_from(self.layer, self.placed(x), self.start, len(self.outputs))[0]

    def graph_fits(self) -> bool:
        """Whether the graph of a gradient may be kept whole."""
        if self.trace.rereading is not None:
            return True  # features of a picture may be added between layers, which stages would leave out
        return self.trace.lm.graph_fits(self.stop - self.start)

    def stages(self) -> tuple[list[Stage], Stage]:
        """`log_probs` as stages from ``x`` on, and the last one to (len(outputs), V)."""
        stages, after = self.trace.stages(self.start, self.stop, len(self.outputs), self.layer)
        return [self.placed, *stages], lambda states: after(states)[0]
