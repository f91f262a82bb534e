"""What a model really does with what it is given, found out by a few short passes and not taken from its name.

transformers has hundreds of classes, and each release changes some. A wrong assumption about one gives wrong numbers
without an error: an argument that is swallowed, a position that sees what follows it, a layer that reads the token ids
behind the embeddings' back. Each check compares two passes that must agree, and its answer is kept for the model.
"""

from collections.abc import Callable
from functools import cached_property, wraps
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from captum_heta.models.hugging_face import HuggingFaceModel
from captum_heta.models.records import record_of
from captum_heta.models.rope import keep_frequencies
from captum_heta.models.state import implementations

Answer = TypeVar("Answer")

# Of the texts that are passed: so short that the cost does not matter, and so long that windows and convolutions end.
LENGTH = 12
# How far two passes that must agree may be apart, as a part of the spread of the logits: rounding of deep models,
# measured, times ten. What the checks are for was 0.03 to 1 on tiny random models and trained ones.
_TOLERANCES = {torch.float64: 1e-4, torch.float32: 1e-3, torch.float16: 0.03, torch.bfloat16: 0.12}


def in_a_pass(check: Callable[[Any], Answer]) -> Callable[[Any], Answer]:
    """A check whose passes leave the model as it was; what the model cannot do becomes a TypeError that says so.

    It is a method of findings, which have a model ``lm``, its ``name`` and the ``ids`` that are passed.
    """

    @wraps(check)
    def checked(self: Any) -> Answer:
        changes = record_of(self.lm.model).changes
        with torch.no_grad(), changes.undone():
            keep_frequencies(self.lm.model, changes)
            try:
                return check(self)
            except UnfitModelError:
                raise
            except Exception as error:
                raise UnfitModelError(
                    f"{self.name} cannot be explained: a pass of {len(self.ids)} tokens of text fails with "
                    f"{type(error).__name__}: {error}{_way_out(self.lm.model)}"
                ) from error

    return checked


def _way_out(model: nn.Module) -> str:
    """Of a model that wants a picture or the like: the part of it that is a language model."""
    parts = [name for name, part in model.named_children() if isinstance(part, PreTrainedModel) and part.can_generate()]
    return f". Explain its language model alone: model.{parts[0]}" if parts else ""


class UnfitModelError(TypeError):
    """A model does something that would make the numbers wrong."""


class Findings:
    """What is known of a model that reads text.

    Answers are kept in the model's record, so that every view of it has them, and made anew after its configuration has
    changed.

    Args:
        lm: a view of the model.
    """

    def __init__(self, lm: HuggingFaceModel) -> None:
        self.lm = lm
        self.name = type(lm.model).__name__
        self.begin()

    def begin(self) -> None:
        """Look whether the answers are still those of the model as it is now."""
        record = record_of(self.lm.model)
        config = self.lm.model.config
        written = repr(config.to_dict()) if hasattr(config, "to_dict") else ""
        key = self.name, self.lm.dtype, implementations(self.lm.model), written
        if key not in record.findings:
            record.findings.clear()
            record.findings[key] = {}
            self.__dict__.pop("by_ids", None)
        self._answers: dict[str, Any] = record.findings[key]

    def answer(self, question: str, check: Callable[[], Any]) -> Any:
        """What ``check`` finds, if it was not found before."""
        if question not in self._answers:
            self._answers[question] = check()
        return self._answers[question]

    def check_ids(self) -> None:
        """Raise TypeError unless it predicts a token after each token, from that one and those before it."""
        self.answer("causal", lambda: self.by_ids is not None)
        if any(question not in self._answers for question in self.lm.compared_with_ids):
            assert self.by_ids is not None  # made now, before anything is changed of the model

    @cached_property
    def ids(self) -> Tensor:
        """Those of the text that is passed, `LENGTH` of them, or as many as the model can read; neighbours differ."""
        return _plain_ids(self.lm)

    @cached_property
    def by_ids(self) -> Tensor:
        """(len(ids), V), the model's own predictions, against which others are compared."""
        return self._by_ids()

    @in_a_pass
    def _by_ids(self) -> Tensor:
        other = self.ids.clone()
        other[-1] = self.ids[-2]
        logits = self.lm.run(input_ids=torch.stack([self.ids, other]))
        if logits.ndim != 3 or logits.shape[:2] != (2, len(self.ids)):
            raise UnfitModelError(
                f"{self.name} gives {tuple(logits.shape)} numbers for two texts of {len(self.ids)} tokens, not a "
                "prediction after each token. If it puts vectors before the text (a soft prompt), leave them out."
            )
        precise = torch.promote_types(logits.dtype, torch.float32)
        own, changed = logits.to(self.ids.device, precise).log_softmax(-1)
        if not self.agree(own[:-1], changed[:-1]):
            raise UnfitModelError(
                f"{self.name} is not causal: another last token changes its predictions before it, by up to "
                f"{_distance(own[:-1], changed[:-1]):.2g} nats. These methods explain models in which a position sees "
                "itself and what is before it; is_causal=False, bidirectional attention and prefixes that see "
                "themselves whole are none."
            )
        return own

    @property
    def counts_from_zero(self) -> bool:
        """Whether positions must be passed, as the model counts others when it is given embeddings."""
        return self._embeddings[0]

    @property
    def reads_ids(self) -> bool:
        """Whether layers read the token ids beside the embeddings."""
        return self._embeddings[1]

    def per_layer(self, ids: Tensor) -> Tensor | None:
        """What layers read of token ids (T,), (T, layers, size); None for models whose layers read embeddings alone."""
        return _per_layer(self.lm.model, ids) if self.reads_ids else None

    def refuse_per_layer(self) -> None:
        """Raise TypeError if layers read the token ids beside the embeddings."""
        if self.reads_ids:
            raise TypeError(
                f"The layers of {self.name} read the token ids beside the embeddings (per-layer inputs): changed "
                "embeddings are no text that it can read."
            )

    @property
    def heeds_positions(self) -> bool:
        """Whether other positions than 0, 1, 2, ... make a difference."""
        return self.answer("positions", self._heeds_positions)

    @in_a_pass
    def _heeds_positions(self) -> bool:
        # three apart: where they begin makes none to a rotary embedding
        length = len(self.ids)
        spread = 3 * torch.arange(length, device=self.ids.device)[None] % (self.lm.max_positions or 3 * length)
        own, other = (self.lm.run(input_ids=self.ids[None], position_ids=positions) for positions in (None, spread))
        return not torch.equal(own, other)

    @property
    def _embeddings(self) -> tuple[bool, bool]:
        return self.answer("embeddings", self._by_embeddings)

    @in_a_pass
    def _by_embeddings(self) -> tuple[bool, bool]:
        """Whether a pass by embeddings needs positions, and per-layer inputs, to say what the pass by ids does."""
        embeds = self.lm.embed(self.ids)[None]
        inputs = _per_layer(self.lm.model, self.ids) if "per_layer_inputs" in self.lm.names else None
        # with them first: some models find them out from the embeddings, as long as these are a token's
        ways = [(False, inputs is not None), (False, False)]
        if self.lm.takes_position_ids:
            ways += [(True, inputs is not None), (True, False)]
        reasons = []
        for positions, per_layer in dict.fromkeys(ways):
            try:
                found = self.lm.run(
                    inputs_embeds=embeds,
                    position_ids=torch.arange(len(self.ids), device=embeds.device)[None] if positions else None,
                    per_layer_inputs=inputs[None] if per_layer and inputs is not None else None,
                )
            except (ValueError, RuntimeError, TypeError, AttributeError, IndexError) as error:
                reasons.append(f"it fails with {type(error).__name__}: {error}")
                continue
            log_probs = found[0].to(self.by_ids).log_softmax(-1)
            if self.agree(self.by_ids, log_probs):
                return positions, per_layer
            reasons.append(f"it differs by up to {_distance(self.by_ids, log_probs):.2g} nats")
        raise UnfitModelError(
            f"{self.name} does not say the same of a text's embeddings as of its token ids: {reasons[0]}. What it "
            "reads beside the embeddings is not known to captum_heta, and without it derivatives and masked copies "
            "would be of another model."
        )

    def agree(self, one: Tensor, other: Tensor) -> bool:
        """Whether log-probabilities (..., V) are the same up to rounding in the model's precision.

        Quantized weights and experts that are chosen by rounding make single positions differ in low precision, where
        a fault moves most of them: there the position in the middle decides.
        """
        both = torch.isfinite(one) & torch.isfinite(other)
        if not torch.equal(torch.isfinite(one), torch.isfinite(other)) or not both.any():
            return not both.any()  # nothing but NaN is a matter of the weights, and found where numbers are made
        differences = torch.where(both, one - other, 0).square().mean(-1).sqrt()
        spread = torch.where(both, one - one.where(both, 0).mean(-1, keepdim=True), 0).square().mean(-1).sqrt()
        parts = differences / spread.clamp(min=1e-6)
        tolerance = self._tolerance()
        worst = parts.max() if tolerance <= _TOLERANCES[torch.float32] else parts.median()
        return bool(worst <= tolerance)

    def _tolerance(self) -> float:
        coarse = self.lm.is_quantized or torch.is_autocast_enabled(self.lm.device.type)
        return _TOLERANCES.get(torch.bfloat16 if coarse else self.lm.dtype, _TOLERANCES[torch.bfloat16])


def _distance(one: Tensor, other: Tensor) -> float:
    return (one - other).abs().nan_to_num(posinf=0, neginf=0).max().item()


def _plain_ids(lm: HuggingFaceModel) -> Tensor:
    """(n,), different token ids of words, if there are so many: none that stands for a picture or for padding."""
    special = _special_ids(lm.model.config)
    # spread over the vocabulary: its first ids are often special, and alike
    order = torch.randperm(lm.vocab_size, generator=torch.Generator(device="cpu").manual_seed(0), device="cpu").tolist()
    plain = [i for i in order if i not in special]
    plain = plain if len(plain) > 1 else order
    length = min(LENGTH, lm.max_positions or LENGTH)
    return torch.tensor([plain[i % len(plain)] for i in range(length)], dtype=torch.long, device=lm.device)


def _special_ids(config: Any) -> set[int]:
    """The ids that a configuration and its parts give a meaning."""
    found: set[int] = set()
    for name, value in vars(config).items():
        if name.endswith(("token_id", "token_index", "token_ids")):
            found.update(value if isinstance(value, list | tuple) else [value])
        elif hasattr(value, "sub_configs"):
            found |= _special_ids(value)
    return {value for value in found if isinstance(value, int)}


def _per_layer(model: Any, ids: Tensor) -> Tensor | None:
    """What a model that takes ``per_layer_inputs`` makes of token ids (T,) without them, (T, layers, size)."""
    for module in model.modules():
        # of Gemma 3n, and 4 with the table switched on; transformers has no other way to it
        if hasattr(module, "get_per_layer_inputs") and getattr(module, "embed_tokens_per_layer", None) is not None:
            return module.get_per_layer_inputs(ids[None])[0]
    return None
