"""A Hugging Face model as every attribution method sees it: token ids in, predictions and hidden states out."""

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import cached_property

import torch
from torch import Tensor, nn
from transformers import Cache

from captum_heta.models.calls import after, first, recorded, replaced_output
from captum_heta.models.families import decoder_layers
from captum_heta.models.head import contiguous_before
from captum_heta.models.hugging_face import HuggingFaceModel
from captum_heta.models.selfcheck import Findings
from captum_heta.models.state import evaluating


class LanguageModel(HuggingFaceModel):
    """A model of transformers whose answers are checked; with or without attention.

    Args:
        model: a model of transformers, or anything with its interface. A compiled one is run as it was written.

    Raises:
        TypeError: if ``model`` is no such model, or an encoder-decoder.
    """

    @cached_property
    def findings(self) -> Findings:
        """What passes of the model itself say of it; call within `evaluating` or `CausalLM.ready`."""
        return Findings(self)

    @cached_property
    def first_ids(self) -> frozenset[int]:
        """The ids of the tokens that begin a text, by the model's configuration."""
        configs = (
            self.model.config,
            self.model.config.get_text_config(),
            getattr(self.model, "generation_config", None),
        )
        found = [getattr(config, "bos_token_id", None) for config in configs]
        return frozenset(i for one in found for i in (one if isinstance(one, list | tuple) else [one]) if i is not None)

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

    def per_layer(self, ids: Tensor) -> Tensor | None:
        """What layers read of token ids (T,) beside the embeddings, (T, layers, size); None for most models.

        Gemma 3n and 4 have a table of embeddings for each layer.
        """
        return self.findings.per_layer(ids)

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
        """Next-token log-probabilities (B, keep, V); arguments and errors as of `logits_of_embeds`."""
        return self.logits_of_embeds(
            embeds, position_ids, keep=keep, start=start, cache=cache, per_layer=per_layer
        ).log_softmax(-1)

    def logits_of_embeds(
        self,
        embeds: Tensor,
        position_ids: Tensor | None = None,
        *,
        keep: int = 1,
        start: int = 0,
        cache: Cache | None = None,
        per_layer: Tensor | None = None,
    ) -> Tensor:
        """The logits of next tokens.

        Args:
            embeds: (B, S, d), the input embeddings of S consecutive tokens.
            position_ids: (S,), their positions, if they are not those from ``start`` on; (A, S) for a rotary embedding
                with A axes.
            keep: at how many of the last positions to predict.
            start: how many tokens are before them.
            cache: of these; grows by this call. None if there are none.
            per_layer: (S, ...) or (B, S, ...), what `per_layer` gives for their ids; None where it gives None.

        Returns:
            (B, keep, V), in float32 or better, on the device of ``embeds``.

        Raises:
            TypeError: without ``per_layer``, if layers read the token ids too, which changed embeddings do not have.
        """
        if per_layer is None:
            self.findings.refuse_per_layer()
        if position_ids is None and self.findings.counts_from_zero:
            position_ids = torch.arange(start, start + embeds.shape[1], device=embeds.device)
        if position_ids is not None:
            # the axes come before the batch
            position_ids = position_ids[..., None, :].expand(*position_ids.shape[:-1], len(embeds), -1)
        if per_layer is not None and per_layer.ndim < 4:
            per_layer = per_layer.expand(len(embeds), *per_layer.shape)
        with nullcontext() if self.head is None or len(embeds) == 1 else contiguous_before(self.head):
            logits = self.run(keep, cache, inputs_embeds=embeds, position_ids=position_ids, per_layer_inputs=per_layer)
        return logits.to(embeds.device, torch.promote_types(logits.dtype, torch.float32))

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

    def log_probs_of(self, outputs: Tensor, prompts: Sequence[Tensor]) -> Tensor:
        """The log-probabilities (B, K) of token ids (K,), each given the ones before it and one of B prompts."""
        found = self.log_probs_after([torch.cat([prompt, outputs[:-1]]) for prompt in prompts], len(outputs))
        return found.gather(-1, outputs.expand(len(prompts), -1)[..., None])[..., 0]

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
            with after(modules[-1], lambda output: found.append(first(output))):
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
        found = decoder_layers(self.model, self.n_layers)
        if found is None:
            raise TypeError(
                f"The layers of {type(self.model).__name__} are in no torch.nn.ModuleList of {self.n_layers}: its "
                "hidden states cannot be read."
            )
        return found
