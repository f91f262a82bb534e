"""How much attributions depend on how the output was decoded."""

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from captum_heta.checks import check_count
from captum_heta.metrics.inputs import language_model
from captum_heta.models import generated, seeded
from captum_heta.prompts import check_ids, check_length

# With all of them at their first values, the model's own distribution is sampled.
NEUTRAL = MappingProxyType({"temperature": 1.0, "top_p": 1.0, "top_k": 0, "repetition_penalty": 1.0})
GRID: Mapping[str, Sequence[float]] = MappingProxyType(
    {"temperature": (0.7, 1.0), "top_p": (0.9, 1.0), "top_k": (0, 50), "repetition_penalty": (1.0, 1.2)}
)


def decoding_stability(
    explain: Callable[[Tensor], Tensor],
    model: Any,
    inputs: Tensor,
    *,
    grid: Mapping[str, Sequence[float]] = GRID,
    seeds: Sequence[int] = (0, 1),
    max_new_tokens: int = 16,
) -> Tensor:
    """The largest change of a prompt's attributions from the greedy output to outputs sampled in several ways.

    Attributions are divided by the sum of their magnitudes. The change is the sum of the absolute differences, over
    that of the greedy output's magnitudes, which is 1.

    Args:
        explain: output token ids (K,) to attributions (F,) of that output to features of the prompt, the same features
            for every output. Equal outputs are explained once.
        model: a causal language model of Hugging Face transformers, with its ``generate``.
        inputs: (1, n) token ids, one prompt without padding.
        grid: values of temperature, top_p, top_k (0 for no limit) and repetition_penalty; what is left out is neutral.
            An output is sampled with each combination and seed.
        seeds: of the sampling; torch's global random state is kept.
        max_new_tokens: of each output.

    Returns:
        (1,), in [0, 2]: 0 where no output changes the attributions, 2 where they move to other features altogether.
        NaN where those of an output are all 0.

    Raises:
        TypeError: if the model does not predict the next token.
        ValueError: for arguments that do not fit; the message says what would.
    """
    lm = language_model(model)
    check_ids(lm, inputs)
    if len(inputs) != 1:
        raise ValueError(f"inputs must be one prompt, (1, n), got {len(inputs)}: call once for each.")
    check_count("max_new_tokens", max_new_tokens)
    check_length(lm, inputs.shape[1] + max_new_tokens)
    ways = _ways(grid)
    if len(seeds) == 0:
        raise ValueError("seeds is empty: there is nothing to compare the greedy output with.")
    # nothing but the penalty changes what is likeliest
    greedy = _generated(model, inputs, max_new_tokens, do_sample=False, repetition_penalty=1.0)
    sampled = [_sampled(model, inputs, max_new_tokens, way, seed) for way in ways for seed in seeds]
    found = {output: _shares(explain, inputs.new_tensor(output)) for output in dict.fromkeys([greedy, *sampled])}
    lengths = {len(shares) for shares in found.values()}
    if len(lengths) > 1:
        raise ValueError(
            f"explain must attribute every output to the same features, got {sorted(lengths)} of them: explain the "
            "prompt's tokens, not the output's."
        )
    return torch.stack([(shares - found[greedy]).abs().sum() for shares in found.values()]).amax(0, keepdim=True)


def _ways(grid: Mapping[str, Sequence[float]]) -> list[dict[str, float]]:
    """Every combination."""
    for name, values in grid.items():
        if name not in NEUTRAL:
            raise ValueError(f"grid has {name!r}; it takes {', '.join(NEUTRAL)}.")
        if len(values) == 0:
            raise ValueError(f"grid has no value of {name}: leave it out for {NEUTRAL[name]}.")
    whole = {**{name: (value,) for name, value in NEUTRAL.items()}, **grid}
    return [dict(zip(whole, values, strict=True)) for values in product(*whole.values())]


def _sampled(model: Any, ids: Tensor, length: int, way: Mapping[str, float], seed: int) -> tuple[int, ...]:
    with seeded(seed):  # generate takes no generator
        return _generated(model, ids, length, do_sample=True, **way)


def _generated(model: Any, ids: Tensor, length: int, **options: Any) -> tuple[int, ...]:
    padding = model.generation_config.pad_token_id
    found = generated(
        model,
        ids,
        max_new_tokens=length,
        num_beams=1,
        pad_token_id=0 if padding is None else padding,  # one row is never padded; without one generate warns
        **options,
    )
    return tuple(found.tolist())


def _shares(explain: Callable[[Tensor], Tensor], output: Tensor) -> Tensor:
    """Attributions (F,) over the sum of their magnitudes; NaN where all are 0."""
    found = explain(output)
    if not isinstance(found, Tensor) or found.ndim != 1:
        form = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise ValueError(f"explain must return a tensor with one attribution a feature, (F,), got {form}.")
    return found.detach() / found.detach().abs().sum()
