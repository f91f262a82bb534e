"""What is differentiated: the predictions as a function of the embeddings of the tokens that vary."""

from collections.abc import Callable

from torch import Tensor

from captum_heta.models import Trace


def varying(trace: Trace, tokens: Tensor, output: int) -> tuple[Callable[[Tensor], Tensor], Tensor]:
    """The log-probabilities of one output as a function of some tokens' embeddings.

    Tokens before the first that varies are read from the cache; outputs after this one are left out.

    Args:
        trace: the sequence.
        tokens: (m,), ascending positions of the tokens that vary.
        output: which of the K outputs.

    Returns:
        The function, (m, d) to (V,), and the point (m, d) at which to differentiate it, which requires a gradient.
    """
    start = int(tokens[0])
    stop = int(trace.output_positions[output]) + 1
    constant = trace.embeds[None, start:stop]
    places = tokens - start

    def log_probs(x: Tensor) -> Tensor:
        return trace.rerun(constant.index_copy(1, places, x[None]), start, keep=1)[0, 0]

    return log_probs, trace.embeds[tokens].detach().requires_grad_()
