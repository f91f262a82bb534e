"""A Hugging Face model as every attribution method sees it: token ids in, predictions and hidden states out."""

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import Cache

from captum_heta.models.calls import after, recorded, replaced_output
from captum_heta.models.families import layer_list
from captum_heta.models.memory import batch_size
from captum_heta.models.names import ArgumentNames, kept
from captum_heta.models.records import Record, record_of
from captum_heta.models.rope import Lengths, keep_frequencies
from captum_heta.models.selfcheck import Findings
from captum_heta.models.state import evaluating


class LanguageModel:
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
        self._findings: Findings | None = None

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
    def n_predicted(self) -> int:
        """How many tokens its head predicts."""
        head = self.model.get_output_embeddings() if hasattr(self.model, "get_output_embeddings") else None
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

    @property
    def findings(self) -> Findings:
        """What passes of the model itself say of it; call within `evaluating` or `CausalLM.ready`."""
        if self._findings is None:
            self._findings = Findings(self)
        return self._findings

    def batch_size(self, length: int, keep: int, products: bool = False) -> int:
        """How many rows of up to ``length`` tokens fit the memory budget: forward passes, or Hessian products."""
        return batch_size(self.model, self.device, length, keep, products)

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Within this context the model predicts in eval mode and without gradients; afterwards it is as it was.

        Raises:
            TypeError: on entry, if it sees what follows a token, or cannot be run on token ids alone.
        """
        with torch.no_grad(), evaluating(self.model):
            if self.generates:
                self.findings.begin()
                self.findings.check_ids()
            yield

    def embed(self, ids: Tensor) -> Tensor:
        """Embeddings of token ids, shape of ``ids`` plus d."""
        with torch.no_grad():
            return self.model.get_input_embeddings()(ids)

    def per_layer(self, ids: Tensor) -> Tensor | None:
        """What layers read of token ids (T,) beside the embeddings, (T, layers, size); None for most models.

        Gemma 3n and 4 have a table of embeddings for each layer.
        """
        return self.findings.per_layer(ids)

    def run(self, keep: int | Tensor | None = None, cache: Cache | None = None, **given: Any) -> Tensor:
        """The logits (B, S, V) of one pass, or (B, C) of a classifier, as the model gives them.

        Args:
            keep: at how many of the last positions, or at which (S,); None for all, and for a classifier.
            cache: of the tokens before, to which these are added.
            **given: other arguments of the model's forward; those that are None are left out.
        """
        given = {name: value for name, value in given.items() if value is not None}
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

    def log_probs(
        self,
        embeds: Tensor,
        position_ids: Tensor | None = None,
        *,
        keep: int = 1,
        start: int = 0,
        cache: Cache | None = None,
        per_layer: Tensor | None = None,
    ) -> Tensor:
        """Next-token log-probabilities.

        Args:
            embeds: (B, S, d), the input embeddings of S consecutive tokens.
            position_ids: (S,), their positions, if they are not those from ``start`` on.
            keep: at how many of the last positions to predict.
            start: how many tokens are before them.
            cache: of these; grows by this call. None if there are none.
            per_layer: (S, ...) or (B, S, ...), what `per_layer` gives for their ids.

        Returns:
            (B, keep, V), in float32 or better, on the device of ``embeds``.
        """
        if position_ids is None and self.findings.counts_from_zero:
            position_ids = torch.arange(start, start + embeds.shape[1], device=embeds.device)
        if position_ids is not None:
            position_ids = position_ids.expand(len(embeds), -1)
        if per_layer is not None and per_layer.ndim < 4:
            per_layer = per_layer.expand(len(embeds), *per_layer.shape)
        logits = self.run(keep, cache, inputs_embeds=embeds, position_ids=position_ids, per_layer_inputs=per_layer)
        logits = logits.to(embeds.device, torch.promote_types(logits.dtype, torch.float32))
        return torch.log_softmax(logits, dim=-1)

    def log_probs_after(self, sequences: Sequence[Tensor], count: int) -> Tensor:
        """Next-token log-probabilities at the ends of sequences of different lengths, in as few passes as are right.

        Args:
            sequences: B tensors of token ids (n_b,), each at least ``count`` long.
            count: at how many of the last positions of each to predict.

        Returns:
            (B, count, V).
        """
        # a sequence is read at each of its ends by itself where its rotary embedding differs between them
        ends = [[len(ids) - count + 1 + k for k in range(count)] for ids in sequences]
        regimes = [{self.lengths.regime(end) for end in some} for some in ends]
        if any(len(some) > 1 for some in regimes):
            parts = [ids[:end] for ids, some in zip(sequences, ends, strict=True) for end in some]
            return self.log_probs_after(parts, 1).unflatten(0, (len(sequences), count)).squeeze(2)
        found: list[Tensor | None] = [None] * len(sequences)
        for regime in dict.fromkeys(next(iter(some)) for some in regimes):
            rows = [i for i, some in enumerate(regimes) if regime in some]
            for i, row in zip(rows, self._log_probs_after([sequences[i] for i in rows], count), strict=True):
                found[i] = row
        return torch.stack([row for row in found if row is not None])

    def _log_probs_after(self, sequences: Sequence[Tensor], count: int) -> Tensor:
        device = sequences[0].device
        lengths = torch.tensor([len(ids) for ids in sequences], device=device)
        # what is filled in on the right is after all that is read, which a causal model does not see
        ids = nn.utils.rnn.pad_sequence(list(sequences), batch_first=True)
        kept = torch.arange(int(lengths.min()) - count, int(lengths.max()), device=device)
        logits = self.logits(ids, kept)
        places = lengths[:, None] - count + torch.arange(count, device=device) - kept[0]
        return logits.gather(1, places[..., None].expand(-1, -1, logits.shape[-1])).log_softmax(-1)

    def log_probs_at_prefixes(self, ids: Tensor) -> Tensor:
        """Next-token log-probabilities (n, V) after each prefix of a sequence (n,), read by itself."""
        if self.lengths.regime(len(ids)) == 0:
            return self.logits(ids[None])[0].log_softmax(-1)
        return torch.cat([self.log_probs_after([ids[:end]], 1)[0] for end in range(1, len(ids) + 1)])

    def log_probs_of_embeddings(self, embeds: Tensor, position_ids: Tensor | None) -> Tensor:
        """Next-token log-probabilities (B, V) after changed input embeddings (B, S, d) at positions (S,).

        Raises:
            TypeError: if layers read the token ids too, of which changed embeddings have none.
        """
        self.findings.refuse_per_layer()
        return self.log_probs(embeds, position_ids)[:, 0]

    def alike(self, first: int, count: int) -> list[range]:
        """The outputs 0 to ``count``, cut where the model reads lengths ``first``, ``first`` + 1, ... differently."""
        groups = itertools.groupby(range(count), key=lambda k: self.lengths.regime(first + k))
        return [range(some[0], some[-1] + 1) for some in (list(group) for _, group in groups)]

    def check_position_ids(self) -> None:
        """Raise ValueError if the model ignores positions that it is given; call within `CausalLM.ready`."""
        if not self.findings.heeds_positions:
            raise ValueError(
                f"{type(self.model).__name__} takes no position_ids: it predicts the same at any positions."
            )

    def check_depth(self, layer: int) -> None:
        """Raise ValueError unless there are states after so many layers."""
        if not 0 <= layer <= self.n_layers:
            raise ValueError(
                f"layer must be from 0 to {self.n_layers}, the layers of {type(self.model).__name__}, got {layer}."
            )

    def states(self, ids: Tensor, layer: int) -> Tensor:
        """The hidden states (n, d) of a sequence (n,) after its first ``layer`` layers, before any final norm."""
        modules = self.layers
        found: list[Tensor] = []
        if layer == len(modules):
            with after(modules[-1], lambda output: found.append(output[0] if isinstance(output, tuple) else output)):
                self.logits(ids[None])
        else:
            with recorded({0: modules[layer]}) as calls:
                self.logits(ids[None])
            found = [call.hidden_states for call in calls[0]]
        if len(found) != 1 or found[0].ndim != 3:
            raise TypeError(
                f"{type(self.model).__name__} runs its layers in a way of its own: its hidden states cannot be read."
            )
        return found[0][0]

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
    count = getattr(config, "num_hidden_layers", None)
    if not isinstance(count, int):
        raise TypeError(
            f"The configuration of {type(model).__name__} does not say how many layers read the text "
            "(num_hidden_layers): this is no plain language model."
        )
    return count
