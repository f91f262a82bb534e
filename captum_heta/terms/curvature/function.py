"""What is differentiated: the predictions as a function of the embeddings of the tokens that vary."""

from collections.abc import Callable

from torch import Tensor

from captum_heta.models import Trace


def varying(
    trace: Trace, tokens: Tensor, outputs: range, last_n_layers: int | None = None
) -> tuple[Callable[[Tensor], Tensor], Tensor]:
    """The log-probabilities of some outputs as a function of some tokens' embeddings, or of their hidden states.

    Tokens before the first that varies are read from the cache; outputs after these are left out.

    Args:
        trace: the sequence.
        tokens: (m,), ascending positions of the tokens that vary.
        outputs: which of the K outputs, neighbours.
        last_n_layers: vary the hidden states that enter the last so many layers; None for the embeddings.

    Returns:
        The function, (m, d) to (len(outputs), V), and the point (m, d) at which to differentiate it, which requires a
        gradient.

    Raises:
        ValueError: if the model has fewer layers.
    """
    start = int(tokens[0])
    stop = int(trace.output_positions[outputs[-1]]) + 1
    places = tokens - start
    layer = None if last_n_layers is None else trace.lm.layer_before_last(last_n_layers)
    states = trace.embeds if layer is None else trace.entering(layer)

    def log_probs(x: Tensor) -> Tensor:
        changed = states[None, start:stop].index_copy(1, places.to(x.device), x[None])
        if layer is None:
            return trace.rerun(changed, start, len(outputs))[0]
        return trace.rerun_from(layer, changed, start, len(outputs))[0]

    return log_probs, states[tokens.to(states.device)].detach().requires_grad_()
