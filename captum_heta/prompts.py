"""From the tensors a person passes to prompts without padding, features, targets and masked embeddings, all checked."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from captum_heta.features import Features
from captum_heta.models import LanguageModel, Media, placeholders, runs

Baselines = str | int | Tensor | None

MEDIA_READERS = (
    "Pictures and sound are read by HETA, TargetedHETA, GradientNorm, InformationFlowRoutes, AttentionRollout and "
    "LastAttention."
)


@dataclass(frozen=True, eq=False)
class Prompt:
    """One row of a batch, without its padding.

    Attributes:
        ids: (n,), its real tokens.
        places: (n,), their columns in the batch.
        position_ids: (n,), or None for 0 to n - 1.
        features: groups of its tokens.
        media: its pictures and sound, or None.
    """

    ids: Tensor
    places: Tensor
    position_ids: Tensor | None
    features: Features
    media: Media | None = None


def prompts(
    lm: LanguageModel, input_ids: Any, additional_forward_args: Any, feature_mask: Any, takes_media: bool = False
) -> list[Prompt]:
    """The rows of a batch.

    Padding is cut off rather than masked: a causal model's real tokens do not see it, and a prompt then scores the
    same in every batch.

    Args:
        lm: the model.
        input_ids: (B, n).
        additional_forward_args: as in ``attribute``.
        feature_mask: integers that broadcast to (B, n), or None for each token alone, and for neighbours that stand for
            pictures or sound as one.
        takes_media: whether pictures and sound are read.

    Raises:
        ValueError: naming the argument that does not fit and what would.
    """
    check_ids(lm, input_ids)
    attention_mask, position_ids, media = _forward_arguments(lm, additional_forward_args, input_ids, takes_media)
    mask = _one("feature_mask", feature_mask)
    groups = None if mask is None else _integers_like("feature_mask", mask, input_ids)
    rows = []
    for i, ids in enumerate(input_ids):
        places = torch.arange(len(ids), device=ids.device)
        if attention_mask is not None:
            places = attention_mask[i].nonzero().flatten()
            if len(places) == 0:
                raise ValueError(f"The prompt in row {i} is empty: its attention mask keeps no token.")
            if int(places[-1] - places[0]) + 1 != len(places):
                raise ValueError(
                    f"attention_mask has a hole inside the prompt of row {i}. Only padding on the left or right can be "
                    "masked: remove the tokens between from the prompt."
                )
        positions = None if position_ids is None else position_ids[i][places]
        if positions is not None and torch.equal(positions, torch.arange(len(places), device=ids.device)):
            positions = None
        if groups is not None:
            features = Features.of_mask(groups[i][places])
        else:
            kinds = {} if media is None else placeholders(lm.model.config)
            features = Features(tuple(runs(ids[places].tolist(), kinds)))
        rows.append(Prompt(ids[places], places, positions, features, None if media is None else media.at(places)))
    return rows


def check_ids(lm: LanguageModel, input_ids: Any) -> None:
    """Raise ValueError unless these are (B, n) integers of the vocabulary on the device of the model's embeddings."""
    if not isinstance(input_ids, Tensor) or input_ids.ndim != 2 or input_ids.dtype not in (torch.int64, torch.int32):
        form = (
            f"{tuple(input_ids.shape)} {input_ids.dtype}" if isinstance(input_ids, Tensor) else type(input_ids).__name__
        )
        raise ValueError(f"inputs must be token ids, an integer tensor of shape (batch, length), got {form}.")
    if input_ids.numel() == 0:
        raise ValueError("The prompt is empty: there is no token to attribute a prediction to.")
    if input_ids.device != lm.device:
        raise ValueError(
            f"inputs are on {input_ids.device}, the model's embeddings on {lm.device}: move them with "
            "inputs.to(model.device)."
        )
    check_vocabulary("inputs", input_ids, lm)


def check_vocabulary(name: str, ids: Tensor, lm: LanguageModel) -> None:
    """Raise ValueError if an id is outside the model's vocabulary."""
    _check_below(name, ids, lm.vocab_size, lm)


def check_targets(lm: LanguageModel, ids: Tensor, name: str = "target") -> None:
    """Raise ValueError unless these are token ids that the model can predict."""
    if ids.dtype not in (torch.int64, torch.int32):
        raise ValueError(f"{name} must be token ids, an integer tensor, got {ids.dtype}.")
    _check_below(name, ids, lm.n_predicted, lm)


def check_predictions(lm: LanguageModel, log_probs: Tensor, outputs: Tensor) -> None:
    """Raise an error for outputs whose probability no small change explains.

    Args:
        lm: the model.
        log_probs: (K, V), its predictions.
        outputs: token ids (K,).

    Raises:
        RuntimeError: if the predictions are no numbers.
        ValueError: if an output has the probability 0.
    """
    if log_probs.isnan().any():
        raise RuntimeError(
            f"{type(lm.model).__name__} in {lm.dtype} predicts NaN after this prompt: check its embeddings and "
            "weights for NaN and infinities, or load it in float32."
        )
    found = log_probs.gather(1, outputs[:, None])[:, 0]
    if (found == -torch.inf).any():
        token = int(outputs[int((found == -torch.inf).nonzero()[0])])
        raise ValueError(f"The model gives token {token} the probability 0: there is nothing to explain. Take another.")


def _check_below(name: str, ids: Tensor, size: int, lm: LanguageModel) -> None:
    outside = ids[(ids < 0) | (ids >= size)]
    if outside.numel():
        raise ValueError(
            f"{name} has token id {outside[0].item()}, outside the vocabulary of {type(lm.model).__name__} "
            f"(0 to {size - 1})."
        )


def check_length(lm: LanguageModel, length: int) -> None:
    """Raise ValueError if a sequence has more tokens than the model has positions."""
    if lm.max_positions is not None and length > lm.max_positions:
        raise ValueError(
            f"The prompt and its answer have {length} tokens, more than the {lm.max_positions} positions of "
            f"{type(lm.model).__name__} (max_position_embeddings): shorten the prompt."
        )


def targets(lm: LanguageModel, target: Any, batch: int, name: str = "target") -> list[Tensor | None]:
    """One target token a row, each (1,), or None for the model's own choice.

    Raises:
        ValueError: for targets outside the vocabulary or as many as neither one nor the batch.
    """
    if target is None:
        return [None] * batch
    ids = torch.as_tensor(target, device=lm.device).flatten()
    if ids.dtype not in (torch.int64, torch.int32) or len(ids) not in (1, batch):
        raise ValueError(f"{name} must be one token id, or one for each of the {batch} prompts, got {target!r}.")
    check_targets(lm, ids, name)
    return list(ids.to(torch.int64).expand(batch).split(1))


def baseline_embeddings(lm: LanguageModel, embeds: Tensor, baselines: Baselines) -> Tensor:
    """(n, d): what replaces each prompt token's embedding (n, d) in the information term.

    Args:
        lm: the model.
        embeds: (n, d).
        baselines: None or "zero", "mean", "vocabulary", or token ids that broadcast to (n,).

    Raises:
        ValueError: for anything else.
    """
    if isinstance(baselines, str) and baselines not in ("zero", "mean", "vocabulary"):
        raise ValueError(f"baselines must be 'zero', 'mean', 'vocabulary' or token ids, got {baselines!r}.")
    if baselines is None or baselines == "zero":
        return torch.zeros_like(embeds)
    if baselines == "mean":
        return embeds.mean(0).expand_as(embeds)
    if baselines == "vocabulary":
        return lm.mean_embedding().to(embeds).expand_as(embeds)
    return lm.embed(_baseline_ids(lm, embeds, baselines))


def baseline_ids(lm: LanguageModel, embeds: Tensor, baselines: Baselines) -> Tensor:
    """(n,): the token ids that replace the prompt's, for a model whose layers read them beside the embeddings.

    Args:
        lm: the model.
        embeds: (n, d).
        baselines: token ids that broadcast to (n,).

    Raises:
        ValueError: for baselines that are no token's embedding, or that do not fit.
    """
    if baselines is None or isinstance(baselines, str):
        form = "zeros are" if baselines in (None, "zero") else "a mean is"
        raise ValueError(
            f"The layers of {type(lm.model).__name__} read the token ids beside the embeddings (per-layer inputs), and "
            f"{form} no token's: pass baselines=<token id>, such as that of padding or of a space."
        )
    return _baseline_ids(lm, embeds, baselines)


def _baseline_ids(lm: LanguageModel, embeds: Tensor, baselines: Any) -> Tensor:
    ids = _integers_like("baselines", torch.as_tensor(baselines, device=embeds.device), embeds[:, 0])
    check_vocabulary("baselines", ids, lm)
    return ids


def baselines_of_row(baselines: Any, input_ids: Tensor, row: int, places: Tensor) -> Baselines:
    """The part of a batch's `baselines` that is for one prompt; numbers are token ids that broadcast to the batch."""
    baselines = _one("baselines", baselines)
    if baselines is None or isinstance(baselines, str):
        return baselines
    return _integers_like("baselines", torch.as_tensor(baselines, device=input_ids.device), input_ids)[row, places]


def _one(name: str, value: Any) -> Any:
    """Captum's methods take a tuple with an entry for each input; there is one input here."""
    if not isinstance(value, tuple):
        return value
    if len(value) != 1:
        raise ValueError(f"{name} has {len(value)} entries for one input.")
    return value[0]


def _integers_like(name: str, value: Any, like: Tensor) -> Tensor:
    """``value`` as integers broadcast to the shape of ``like``."""
    if not isinstance(value, Tensor) or value.dtype not in (torch.int64, torch.int32):
        form = value.dtype if isinstance(value, Tensor) else type(value).__name__
        raise ValueError(f"{name} must be an integer tensor, got {form}.")
    return broadcast(name, value, like)


def broadcast(name: str, value: Tensor, like: Tensor) -> Tensor:
    """``value`` with the shape and on the device of ``like``; ValueError if it does not broadcast to it."""
    try:
        return value.to(like.device).expand(like.shape)
    except RuntimeError:
        raise ValueError(
            f"{name} has shape {tuple(value.shape)}, which does not broadcast to the inputs' {tuple(like.shape)}."
        ) from None


def checked_media(lm: LanguageModel, given: Mapping[str, Any], length: int, name: str) -> Media | None:
    """What a processor made of pictures and sound of one prompt; None if there are none.

    Args:
        lm: the model.
        given: by the names under which the model takes it; what is None is left out.
        length: of the prompt.
        name: of the argument, for an error.

    Raises:
        ValueError: for something that the model does not take, or that is no tensor.
    """
    given = {key: value for key, value in given.items() if value is not None}
    for key, value in given.items():
        if key not in lm.names or key in _OWN:
            raise ValueError(
                f"{name} has {key!r}; it takes attention_mask and position_ids, and what {type(lm.model).__name__} "
                "takes beside its token ids, such as pixel_values."
            )
        if not isinstance(value, Tensor) and not (
            isinstance(value, list | tuple) and all(isinstance(one, Tensor) for one in value)
        ):
            raise ValueError(f"{name} has {key!r} of type {type(value).__name__}, not a tensor.")
    media = Media(given) if given else None
    if media is not None:
        media.check(length)
    return media


# what passes are made with
_OWN = ("input_ids", "inputs_embeds", "labels", "logits_to_keep")
_PER_TOKEN = ("attention_mask", "position_ids")


def _forward_arguments(
    lm: LanguageModel, given: Any, input_ids: Tensor, takes_media: bool
) -> tuple[Tensor | None, Tensor | None, Media | None]:
    """The attention mask (bool) and the position ids, each (B, n) or None; and the media of a single prompt."""
    named = _by_name(given)
    found = {}
    for name in _PER_TOKEN:
        value = named.pop(name, None)
        if isinstance(value, Tensor) and value.dtype == torch.bool:
            value = value.long()
        found[name] = None if value is None else _integers_like(name, value, input_ids)
    if named and not takes_media:
        raise ValueError(
            f"additional_forward_args has {next(iter(named))!r}; it takes {' and '.join(_PER_TOKEN)} here. "
            f"{MEDIA_READERS}"
        )
    if found["position_ids"] is not None and not lm.takes_position_ids:
        raise ValueError(f"{type(lm.model).__name__} takes no position_ids: it counts positions itself.")
    media = checked_media(lm, named, input_ids.shape[1], "additional_forward_args")
    if media is not None and len(input_ids) != 1:
        raise ValueError(
            f"There are {len(input_ids)} prompts with {next(iter(media.tensors))}, and nothing says whose picture is "
            "whose: pass one prompt at a time."
        )
    return found["attention_mask"], found["position_ids"], media


def _by_name(given: Any) -> dict[str, Any]:
    """Captum's convention, arguments by position, the last of which may be a mapping of those that have names."""
    given = () if given is None else given if isinstance(given, tuple) else (given,)
    named = dict(given[-1]) if given and isinstance(given[-1], Mapping) else {}
    given = given[:-1] if given and isinstance(given[-1], Mapping) else given
    if len(given) > len(_PER_TOKEN):
        raise ValueError(
            f"additional_forward_args has {len(given)} entries; it takes {' and '.join(_PER_TOKEN)}, and a mapping of "
            "what has a name."
        )
    for name, value in zip(_PER_TOKEN, given, strict=False):
        if name in named:
            raise ValueError(f"additional_forward_args has {name} twice, by position and by name.")
        named[name] = value
    return named
