"""A Hugging Face model as every attribution method sees it: token ids in, predictions and hidden states out."""

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from captum_heta.models.calls import recorded, replaced_output
from captum_heta.models.families import layer_list
from captum_heta.models.memory import batch_size
from captum_heta.models.state import evaluating


class LanguageModel:
    """A model of transformers that is not an encoder-decoder; with or without attention.

    Args:
        model: a model of transformers, or anything with its interface.

    Raises:
        TypeError: if ``model`` is no such model.
    """

    def __init__(self, model: Any) -> None:
        name = type(model).__name__
        if not all(hasattr(model, attribute) for attribute in ("config", "get_input_embeddings")):
            raise TypeError(f"Expected a causal language model of Hugging Face transformers, got {name}.")
        if model.config.is_encoder_decoder:
            raise TypeError(
                f"{name} is an encoder-decoder model. These methods explain models in which the prompt and the answer "
                "are one sequence: load one with AutoModelForCausalLM."
            )
        self.model = model
        text_config = model.config.get_text_config()
        self.vocab_size: int = text_config.vocab_size
        self.max_positions: int | None = getattr(text_config, "max_position_embeddings", None)
        self.n_layers: int = text_config.num_hidden_layers
        self._arguments = inspect.signature(model.forward).parameters

    @property
    def device(self) -> torch.device:
        """The device of the input embeddings, where prompts must be (a dispatched model has several)."""
        embeddings = self.model.get_input_embeddings()
        # accelerate keeps offloaded weights on "meta" and notes where it brings them
        hook = getattr(embeddings, "_hf_hook", None)
        return torch.device(getattr(hook, "execution_device", None) or embeddings.weight.device)

    @property
    def takes_position_ids(self) -> bool:
        """False for models that count positions from the attention mask (ALiBi)."""
        return "position_ids" in self._arguments

    @property
    def generates(self) -> bool:
        """Whether it predicts the next token; otherwise it classifies, or fills in masks."""
        return bool(self.model.can_generate())

    def batch_size(self, length: int, keep: int, products: bool = False) -> int:
        """How many rows of up to ``length`` tokens fit the memory budget: forward passes, or Hessian products."""
        return batch_size(self.model, self.device, length, keep, products)

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Within this context the model predicts in eval mode and without gradients; afterwards it is as it was."""
        with torch.no_grad(), evaluating(self.model):
            yield

    def embed(self, ids: Tensor) -> Tensor:
        """Embeddings of token ids, shape of ``ids`` plus d."""
        with torch.no_grad():
            return self.model.get_input_embeddings()(ids)

    def logits(self, ids: Tensor, **arguments: Any) -> Tensor:
        """What the model's head says of token ids (B, S): (B, S, V) for a language model, (B, C) for a classifier.

        In float32 or better, on the device of ``ids``.
        """
        if "use_cache" in self._arguments:
            arguments["use_cache"] = False
        found = self.model(input_ids=ids, **arguments).logits
        return found.to(ids.device, torch.promote_types(found.dtype, torch.float32))

    def log_probs_after(self, sequences: Sequence[Tensor], count: int) -> Tensor:
        """Next-token log-probabilities at the ends of sequences of different lengths, in one pass.

        Args:
            sequences: B tensors of token ids (n_b,), each at least ``count`` long.
            count: at how many of the last positions of each to predict.

        Returns:
            (B, count, V).
        """
        lengths = torch.tensor([len(ids) for ids in sequences], device=sequences[0].device)
        # what is filled in on the right is after all that is read, which a causal model does not see
        ids = nn.utils.rnn.pad_sequence(list(sequences), batch_first=True)
        kept = torch.arange(int(lengths.min()) - count, int(lengths.max()), device=ids.device)
        logits = self.logits(ids, logits_to_keep=kept)
        places = lengths[:, None] - count + torch.arange(count, device=ids.device) - kept[0]
        return logits.gather(1, places[..., None].expand(-1, -1, logits.shape[-1])).log_softmax(-1)

    def log_probs_of_embeddings(self, embeds: Tensor, position_ids: Tensor) -> Tensor:
        """Next-token log-probabilities (B, V) after input embeddings (B, S, d) at positions (S,)."""
        arguments: dict[str, Any] = {"logits_to_keep": 1}
        if "use_cache" in self._arguments:
            arguments["use_cache"] = False
        if self.takes_position_ids:
            arguments["position_ids"] = position_ids.expand(len(embeds), -1)
        found = self.model(inputs_embeds=embeds, **arguments).logits[:, -1]
        return found.to(embeds.device, torch.promote_types(found.dtype, torch.float32)).log_softmax(-1)

    def check_depth(self, layer: int) -> None:
        """Raise ValueError unless there are states after so many layers."""
        if not 0 <= layer <= self.n_layers:
            raise ValueError(
                f"layer must be from 0 to {self.n_layers}, the layers of {type(self.model).__name__}, got {layer}."
            )

    def states(self, ids: Tensor, layer: int) -> Tensor:
        """The hidden states (n, d) of a sequence (n,) after its first ``layer`` layers, before any final norm."""
        modules = self.layers
        if layer == len(modules):
            with _outputs(modules[-1]) as found:
                self.logits(ids[None])
            return found[0][0]
        with recorded({0: modules[layer]}) as calls:
            self.logits(ids[None])
        return calls[0][0].hidden_states[0]

    def head_logits(self, ids: Tensor, states: Tensor) -> Tensor:
        """What the final norm and the head make of other states (B, S, d) than token ids (B, S) have."""
        with replaced_output(self.layers[-1], states):
            return self.logits(ids)

    def own_logits(self, ids: Tensor, states: Tensor) -> Tensor:
        """A sequence classifier's (n, C) from each state (n, d) alone, for token ids (n,).

        Each state stands for a text of one token, so that a head which pools reads that state and no other.
        """
        if self.model.config.pad_token_id is None:  # some classifiers then refuse batches
            alone = [self.head_logits(ids[i : i + 1, None], states[i : i + 1, None]) for i in range(len(ids))]
            return torch.cat(alone)
        return self.head_logits(ids[:, None], states[:, None])

    @property
    def layers(self) -> nn.ModuleList:
        """The model's layers.

        Raises:
            TypeError: if they are in no list.
        """
        found = layer_list(self.model, self.n_layers)
        if found is None:
            raise TypeError(
                f"The layers of {type(self.model).__name__} are in no torch.nn.ModuleList of {self.n_layers}: its "
                "hidden states cannot be read."
            )
        return found


@contextmanager
def _outputs(module: nn.Module) -> Iterator[list[Tensor]]:
    """Within this context the hidden states that a layer gives are collected."""
    found: list[Tensor] = []
    handle = module.register_forward_hook(
        lambda _, arguments, output: found.append(output[0] if isinstance(output, tuple) else output)
    )
    try:
        yield found
    finally:
        handle.remove()
