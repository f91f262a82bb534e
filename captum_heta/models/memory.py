"""How many rows go through a model at once."""

import os
import warnings
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch

from captum_heta.models.configs import most_heads

Rows = TypeVar("Rows", Sequence[Any], torch.Tensor)
Result = TypeVar("Result")

MEMORY_VARIABLE = "CAPTUM_HETA_MEMORY_MB"

# On a CPU larger batches run slower: their tensors come from fresh pages and leave the processor's caches. With GPT-2
# and 64 tokens, 80 Hessian products took 13 s in batches of 8, 16 s in batches of 32 and 27 s at once.
_CPU_BUDGET = 192 * 2**20
_GPU_SHARE = 0.5
# The graph of a gradient may take so many budgets: it is made once for all products.
_GRAPHS = 8


def budget(device: torch.device) -> int:
    """Bytes that a batch may take: half of a GPU's free memory; on a CPU `MEMORY_VARIABLE`, or 192 MiB."""
    if device.type == "cuda":
        return int(_GPU_SHARE * torch.cuda.mem_get_info(device)[0])
    given = os.environ.get(MEMORY_VARIABLE)
    if given is None:
        return _CPU_BUDGET
    if not given.isdecimal() or int(given) == 0:
        raise ValueError(f"{MEMORY_VARIABLE} must be a whole number of MiB above 0, got {given!r}.")
    return int(given) * 2**20


def batch_size(model: Any, device: torch.device, length: int, keep: int, products: bool) -> int:
    """A batch size whose peak memory stays within the `budget`.

    Args:
        model: a causal language model of transformers.
        device: where it runs.
        length: the longest sequence of a row, cached prefix included.
        keep: the positions at which a row predicts.
        products: whether a row is a Hessian product rather than a forward pass.
    """
    config = model.config.get_text_config()
    width, layers = config.hidden_size, config.num_hidden_layers
    attention = most_heads(config) * length * length
    # per row: residual stream and MLP of one layer, its attention, the logits, and the cache of all layers;
    # a product walks the graph of a gradient, with several such tensors alive at a time
    forward = 12 * width * length + 3 * attention + 3 * keep * config.vocab_size + 2 * layers * width * length
    values = (3 * forward) if products else forward
    item = 4 if products else max(2, model.get_input_embeddings().weight.element_size())
    return max(1, budget(device) // (values * item))


def graph_fits(model: Any, device: torch.device, length: int) -> bool:
    """Whether the graph of a gradient over ``length`` positions is small enough to be kept whole.

    Its size was measured with GPT-2 in float32, whose activation function leaves more behind than most.
    """
    config = model.config.get_text_config()
    numbers = 140 * config.hidden_size * length + 5 * most_heads(config) * length * length
    most = _GRAPHS * budget(device)
    return config.num_hidden_layers * numbers * model.get_input_embeddings().weight.element_size() <= most


def layer_rows(model: Any, device: torch.device, length: int) -> int:
    """How many Hessian products at once when the graph is made layer by layer."""
    config = model.config.get_text_config()
    numbers = 100 * config.hidden_size * length + 8 * most_heads(config) * length * length
    return max(1, _GRAPHS * budget(device) // (numbers * model.get_input_embeddings().weight.element_size()))


def gradient_rows(model: Any, device: torch.device, length: int) -> int:
    """How many gradients at once when they go down layer by layer, one after the other through each layer's graph."""
    config = model.config.get_text_config()
    item = model.get_input_embeddings().weight.element_size()
    return max(1, budget(device) // (3 * config.hidden_size * length * item))


def query_rows(model: Any, device: torch.device, length: int) -> int:
    """How many queries at once keep one layer's attention over ``length`` keys within the budget."""
    # weights, scores before them and the mask, in float32 or better
    return max(1, budget(device) // (3 * 4 * max(1, most_heads(model.config.get_text_config())) * length))


class Batch:
    """Computes rows in batches. When memory runs out it goes on with half as many, and keeps what it has.

    Args:
        size: rows in a batch, at first.
        chosen: whether a person chose that size.
    """

    def __init__(self, size: int, chosen: bool = False) -> None:
        self.size: float = size
        self.chosen = chosen

    def at_least(self, size: int) -> "Batch":
        """A batch of that size for where more rows do better, or this one if a person chose it."""
        return self if self.chosen or self.size >= size else Batch(size)

    def run(self, rows: Rows, compute: Callable[[Rows], Result], cheaper: str = "", scale: float = 1.0) -> list[Result]:
        """``compute`` of each batch of ``rows``, in their order.

        Args:
            rows: of which each is computed by itself.
            compute: from some rows to what is made of them.
            cheaper: an option of the caller's method that takes less memory, to advise where there is none left.
            scale: how much longer the rows are that ``size`` was meant for, unless a person chose that.

        Raises:
            RuntimeError: if memory runs out with a single row.
        """
        results: list[Result] = []
        done = 0
        while done < len(rows):
            part = rows[done : done + max(1, int(self.size if self.chosen else self.size * scale))]
            try:
                results.append(compute(part))
            except RuntimeError as error:
                if not _out_of_memory(error):
                    raise
                if len(part) == 1:
                    ways = [*([cheaper] if cheaper else []), "a shorter prompt", "a model in bfloat16"]
                    raise RuntimeError(
                        f"Memory ran out with one row at a time. Use {', '.join(ways[:-1])} or {ways[-1]}."
                    ) from error
            else:
                done += len(part)
                continue
            # after the except clause, which keeps alive what the failed batch had computed
            half = len(part) // 2
            self.size = half if self.chosen else half / scale  # so that as many fit of longer rows too
            warnings.warn(
                f"Memory ran out with {len(part)} rows at once; going on with {half}. Nothing is lost. Pass "
                f"perturbations_per_eval={half} to start there.",
                stacklevel=2,
            )
        return results


def _out_of_memory(error: RuntimeError) -> bool:
    # on a CPU torch has no class of its own for it
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
