"""A model of Hugging Face transformers as it is: what it says of itself, and one pass of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import Cache

from captum_heta.models.memory import batch_size
from captum_heta.models.names import ArgumentNames, kept
from captum_heta.models.records import Record, record_of
from captum_heta.models.rope import Lengths, keep_frequencies

_TOKENS = 8192  # of the vocabulary at a time


class HuggingFaceModel:
    """A model of transformers that is not an encoder-decoder; with or without attention.

    Args:
        model: a model of transformers, or anything with its interface. A compiled one is run as it was written.

    Raises:
        TypeError: if ``model`` is no such model.
    """

    # what findings compare with predictions by token ids, which are made before the model is changed for it
    compared_with_ids: ClassVar[tuple[str, ...]] = ()

    def __init__(self, model: Any) -> None:
        model = getattr(model, "_orig_mod", model)  # where torch.compile keeps what it was given
        name = type(model).__name__
        if not all(hasattr(model, attribute) for attribute in ("config", "get_input_embeddings")):
            inner = getattr(model, "module", None)
            advice = f": pass what is in it, {name}.module" if hasattr(inner, "config") else ""
            raise TypeError(f"Expected a causal language model of Hugging Face transformers, got {name}{advice}.")
        if model.config.is_encoder_decoder:
            raise TypeError(
                f"{name} is an encoder-decoder model. These methods explain models in which the prompt and the answer "
                "are one sequence: load one with AutoModelForCausalLM."
            )
        _refuse_soft_prompts(model)
        self.model = model
        text_config = model.config.get_text_config()
        rows = _embedding_rows(model)
        self.vocab_size: int = min(getattr(text_config, "vocab_size", rows), rows)
        self.n_layers: int = _layer_count(model, text_config)
        self.lengths = Lengths(text_config)
        self.names = ArgumentNames(model)

    @property
    def device(self) -> torch.device:
        """The device of the input embeddings, where prompts must be (a dispatched model has several)."""
        embeddings = self.model.get_input_embeddings()
        # accelerate keeps offloaded weights on "meta" and notes where it brings them
        hook = getattr(embeddings, "_hf_hook", None)
        return torch.device(getattr(hook, "execution_device", None) or embeddings.weight.device)

    @property
    def dtype(self) -> torch.dtype:
        """The precision of its input embeddings."""
        return self.model.get_input_embeddings().weight.dtype

    @property
    def max_positions(self) -> int | None:
        """The longest text that it can read; None for no limit."""
        return self.lengths.limit

    def room(self, length: int) -> int | None:
        """How many outputs can follow a prompt of ``length`` tokens, the last of them unread; None for no limit."""
        return None if self.max_positions is None else self.max_positions - length + 1

    @property
    def head(self) -> nn.Module | None:
        """What makes logits of the last states; None if the model does not say."""
        return self.model.get_output_embeddings() if hasattr(self.model, "get_output_embeddings") else None

    @property
    def n_predicted(self) -> int:
        """How many tokens its head predicts."""
        head = self.head
        rows = getattr(head, "out_features", None) or getattr(getattr(head, "weight", None), "shape", [None])[0]
        return min(self.vocab_size, rows) if isinstance(rows, int) else self.vocab_size

    @property
    def is_quantized(self) -> bool:
        """Whether weights are quantized: kernels for inference, which may round by what else is in a batch."""
        return getattr(self.model.config, "quantization_config", None) is not None

    @property
    def takes_position_ids(self) -> bool:
        """False for models that count positions from the attention mask (ALiBi)."""
        return "position_ids" in self.names

    @property
    def generates(self) -> bool:
        """Whether it predicts the next token; otherwise it classifies, or fills in masks."""
        return bool(self.model.can_generate())

    @property
    def record(self) -> Record:
        """What this view shares with others of the same model."""
        return record_of(self.model)

    @property
    def lock(self) -> Any:
        """Re-entrant and one for each model. Hold it around `restored` and what changes or runs the model in there."""
        return self.record.lock

    @contextmanager
    def restored(self) -> Iterator[None]:
        """Whatever ends this context, Ctrl-C in its last line too, the model is as it was before."""
        with self.record.restored(self.model):
            yield

    def batch_size(self, length: int, keep: int, products: bool = False) -> int:
        """How many rows of up to ``length`` tokens fit the memory budget: forward passes, or Hessian products."""
        return batch_size(self.model, self.device, length, keep, products)

    def embed(self, ids: Tensor) -> Tensor:
        """Embeddings of token ids, shape of ``ids`` plus d."""
        with torch.no_grad():
            return self.model.get_input_embeddings()(ids)

    def mean_embedding(self) -> Tensor:
        """The mean of all tokens' embeddings, (d,), float32 or better."""
        pieces = torch.arange(self.vocab_size, device=self.device).split(_TOKENS)
        precise = torch.promote_types(self.dtype, torch.float32)
        return torch.stack([self.embed(ids).sum(0, dtype=precise) for ids in pieces]).sum(0) / self.vocab_size

    def run(self, keep: int | Tensor | None = None, cache: Cache | None = None, **given: Any) -> Tensor:
        """The logits (B, S, V) of one pass, or (B, C) of a classifier, as the model gives them.

        Args:
            keep: at how many of the last positions, or at which (S,); None for all, and for a classifier.
            cache: of the tokens before, to which these are added.
            **given: other arguments of the model's forward; those that are None are left out.
        """
        given = {name: value for name, value in given.items() if value is not None}
        if "inputs_embeds" in given:
            given["inputs_embeds"] = given["inputs_embeds"].clone()  # CTRL multiplies what it is given in place
        with self._forgetting():
            output = self.model(**given, **self.names.given(keep, cache))
        logits = output[0] if isinstance(output, tuple) else output.logits
        inputs = given["inputs_embeds"] if "inputs_embeds" in given else given["input_ids"]
        return kept(logits, keep, inputs.shape[1])

    @contextmanager
    def _forgetting(self) -> Iterator[None]:
        """Within this context the model may read a longer text than the next one is."""
        if self.lengths.remembered:
            changes = self.record.changes
            with changes.undone():
                keep_frequencies(self.model, changes)
                yield
        else:
            yield

    def logits(self, ids: Tensor, keep: int | Tensor | None = None, **given: Any) -> Tensor:
        """What the model's head says of token ids (B, S): (B, S, V) for a language model, (B, C) for a classifier.

        In float32 or better, on the device of ``ids``; ``keep`` as in `run`.
        """
        found = self.run(keep, input_ids=ids, **given)
        return found.to(ids.device, torch.promote_types(found.dtype, torch.float32))


def _refuse_soft_prompts(model: Any) -> None:
    config = getattr(model, "active_peft_config", None)
    if getattr(config, "is_prompt_learning", False):
        raise TypeError(
            f"{type(model).__name__} puts a soft prompt before every text ({type(config).__name__}), whose vectors are "
            "no tokens. Leave it out, by explaining model.get_base_model(), or train an adapter that can be merged "
            "into the weights, such as LoRA."
        )


def _embedding_rows(model: Any) -> int:
    try:
        table = model.get_input_embeddings()
    except NotImplementedError:  # what transformers' own method raises
        table = None
    weight = getattr(table, "weight", None)
    rows = getattr(table, "num_embeddings", None)  # a quantized table has a weight of another shape
    if rows is None and isinstance(weight, Tensor) and weight.ndim == 2:
        rows = len(weight)
    if weight is None or not isinstance(rows, int):
        raise TypeError(f"{type(model).__name__} has no table of token embeddings: it does not read text.")
    return rows


def _layer_count(model: Any, config: Any) -> int:
    counts = [getattr(config, name, None) for name in ("num_hidden_layers", "num_layers")]
    lengths = {len(module) for module in model.modules() if isinstance(module, nn.ModuleList)}
    # LongCat says how many attention modules there are, two in each layer
    count = next((count for count in counts if count in lengths), counts[0])
    if not isinstance(count, int):
        raise TypeError(
            f"The configuration of {type(model).__name__} does not say how many layers read the text "
            "(num_hidden_layers): this is no plain language model."
        )
    return count
