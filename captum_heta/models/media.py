"""Pictures and sound in a prompt: held fixed, as what they become among the embeddings of its tokens."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import Cache

from captum_heta.models.calls import Call, before, recorded
from captum_heta.models.language_model import LanguageModel
from captum_heta.models.selfcheck import UnfitModelError

_KINDS = ("image", "video", "audio")


@dataclass(frozen=True, eq=False)
class Media:
    """What one prompt has beside its text.

    Attributes:
        tensors: by the names under which the model's forward takes them, as its processor gives them for one prompt.
    """

    tensors: Mapping[str, Any]

    def check(self, length: int) -> None:
        """Raise ValueError if something that has an entry for each token has not one for each of ``length``."""
        for name, value in self.tensors.items():
            if _is_per_token(name) and (not isinstance(value, Tensor) or value.shape != (1, length)):
                raise ValueError(
                    f"{name} must have one entry for each of the {length} tokens of one prompt, (1, {length}), got "
                    f"{tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__}."
                )

    def given(self, length: int) -> dict[str, Any]:
        """What the forward is given with the ids (1, ``length``) of the prompt and what follows it, which is text."""
        return self._changed(lambda value: torch.nn.functional.pad(value, (0, length - value.shape[1])))

    def at(self, places: Tensor) -> "Media":
        """That of the tokens at some places of the prompt, (n,), the others being padding."""
        return Media(self._changed(lambda value: value[:, places]))

    def _changed(self, change: Callable[[Tensor], Tensor]) -> dict[str, Any]:
        """With something else for what has an entry for each token."""
        return {name: change(value) if _is_per_token(name) else value for name, value in self.tensors.items()}


def _is_per_token(name: str) -> bool:
    return name.endswith("token_type_ids")  # 0 for text


def media_logits(
    lm: LanguageModel,
    ids: Tensor,
    media: Media,
    keep: int | None = None,
    position_ids: Tensor | None = None,
    cache: Cache | None = None,
) -> Tensor:
    """The logits (S, V) of token ids (T,) with what is beside them, at the last ``keep`` positions or at all.

    A ``cache``, empty, grows by them.

    Call within `LanguageModel.evaluating` or `CausalLM.ready`, which keep what a model notes of a picture.
    """
    given = media.given(len(ids))
    if "attention_mask" in lm.names:  # some count positions from it
        given["attention_mask"] = torch.ones_like(ids)[None]
    positions = None if position_ids is None else position_ids[None]
    return lm.logits(ids[None], keep, position_ids=positions, cache=cache, **given)[0]


@dataclass(frozen=True, eq=False)
class Rereading:
    """Passes in which the model reads ids and media again, with other embeddings in place of what it merges them to.

    Of models whose layers are given more of the media than embeddings. They see what the model's own pass sees, at the
    cost of the media in each pass, of one row.

    Attributes:
        lm: the model.
        decoder: what holds its layers.
        ids: (T,).
        media: of the prompt.
        position_ids: (T,), if a person gave some.
    """

    lm: LanguageModel
    decoder: nn.Module
    ids: Tensor
    media: Media
    position_ids: Tensor | None = None

    def log_probs(self, embeds: Tensor, keep: int, cache: Cache | None = None) -> Tensor:
        """(B, keep, V) at the last positions of the first S tokens, with other embeddings (B, S, d)."""
        return torch.stack([self._of_one(row[None], keep, cache) for row in embeds])

    def _of_one(self, embeds: Tensor, keep: int, cache: Cache | None) -> Tensor:
        length = embeds.shape[1]
        positions = None if self.position_ids is None else self.position_ids[:length]

        def give(arguments: tuple[Any, ...], named: dict[str, Any]) -> Call:
            return Call(arguments, named | {"inputs_embeds": embeds.to(named["inputs_embeds"].device)})

        with before(self.decoder, give):
            found = media_logits(self.lm, self.ids[:length], self.media, keep, positions, cache)
        return found.log_softmax(-1)

    def of_other_media(self) -> "Rereading":
        """The same with the negative of a picture or sound."""
        others = {name: -value if _is_real(value) else value for name, value in self.media.tensors.items()}
        return replace(self, media=Media(others))


def _is_real(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()


class Merged(NamedTuple):
    """What the layers read of a sequence.

    Attributes:
        embeds: (T, d), what pictures and sound become in the places of their tokens.
        position_ids: (T,), or (A, T) for a rotary embedding with several axes; None for 0 to T - 1.
        rereading: how other embeddings are read, where they are not all that the layers read of the media.
    """

    embeds: Tensor
    position_ids: Tensor | None
    rereading: Rereading | None = None


@torch.no_grad()
def merged(lm: LanguageModel, ids: Tensor, media: Media, position_ids: Tensor | None = None) -> Merged:
    """What the layers read of a prompt with pictures or sound, and of the outputs behind it.

    The model reads ids and media once, and what it hands to the module that holds its layers is caught. Where a pass by
    that alone predicts the same, every later pass is such a one; otherwise each reads the media again.

    Args:
        lm: the model, ready.
        ids: (T,).
        media: of the prompt.
        position_ids: (T,), if a person gave some.

    Raises:
        TypeError: if the layers are not given one embedding a token, or read token ids beside them.
    """
    name = type(lm.model).__name__
    if lm.per_layer(ids) is not None:
        raise UnfitModelError(
            f"The layers of {name} read the token ids beside the embeddings (per-layer inputs), which a picture has "
            "none of. It can be explained with text alone."
        )
    layers = lm.layers
    decoder = next(module for module in lm.model.modules() if any(child is layers for child in module.children()))
    with recorded({0: decoder}) as calls:
        own = media_logits(lm, ids, media, None, position_ids).log_softmax(-1)
    embeds = calls[0][0].named.get("inputs_embeds") if len(calls[0]) == 1 else None
    if embeds is None or embeds.shape[:2] != (1, len(ids)):
        raise UnfitModelError(
            f"{name} does not hand its text and pictures to {type(decoder).__name__} as one sequence of embeddings, "
            "one a token (inputs_embeds). It can be explained with text alone."
        )
    positions = _flat(calls[0][0].named.get("position_ids"))
    embeds = embeds[0].to(ids.device)
    if lm.findings.agree(own, lm.log_probs(embeds[None], positions, keep=len(ids))[0]):
        return Merged(embeds, positions)
    rereading = Rereading(lm, decoder, ids, media, position_ids)
    if not lm.findings.agree(own, rereading.of_other_media().log_probs(embeds[None], len(ids))[0]):
        warnings.warn(
            f"The layers of {name} read more of a picture or sound than its embeddings, such as features that are "
            "added in deeper layers. That is held fixed: scores of a picture are of its embeddings alone.",
            stacklevel=2,
        )
    return Merged(embeds, positions, rereading)


def _flat(positions: Tensor | None) -> Tensor | None:
    """Those of the one row of a batch, (1, T) or (A, 1, T); None for 0 to T - 1."""
    if positions is None:
        return None
    positions = positions[..., 0, :]
    return None if torch.equal(positions, torch.arange(len(positions), device=positions.device)) else positions


def placeholders(described: Any) -> dict[int, str]:
    """By token id, which kind of media it stands for: "image", "video" or "audio".

    Args:
        described: a configuration, processor or tokenizer, which may name such tokens.
    """
    found = {}
    for kind in _KINDS:
        for name in (f"{kind}_token_id", f"{kind}_token_index"):
            value = getattr(described, name, None)
            if isinstance(value, int):
                found[value] = kind
    return found


def runs(ids: Sequence[int], kinds: Mapping[int, str]) -> list[tuple[int, ...]]:
    """Neighbours that are one feature: all placeholders of one kind that follow each other; other tokens alone."""
    found: list[tuple[int, ...]] = []
    for place, token in enumerate(ids):
        if place and token in kinds and kinds[token] == kinds.get(ids[place - 1]):
            found[-1] += (place,)
        else:
            found.append((place,))
    return found
