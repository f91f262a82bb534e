"""A photograph as small models read it, by numpy alone: what a processor would make of it."""

import copy
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import (
    CLIPImageProcessor,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
)


def photograph() -> Any:
    """The photograph of Grace Hopper that comes with matplotlib, as an image of PIL."""
    from matplotlib.cbook import get_sample_data
    from PIL import Image

    path: Any = get_sample_data("grace_hopper.jpg", asfileobj=False)
    return Image.open(path).convert("RGB")


def llava(tokenizer: Any) -> tuple[Any, Any]:
    """A tiny LLaVA of random weights for a tokenizer, which gets a token for pictures, and its processor.

    Raises:
        ImportError: with a transformers whose processors need torchvision.
    """
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
    sizes: dict[str, Any] = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 48,
    }
    config = LlavaConfig(
        text_config=LlamaConfig(**sizes, num_key_value_heads=2, vocab_size=len(tokenizer)),
        vision_config=CLIPVisionConfig(**sizes, image_size=8, patch_size=4),
        image_token_index=len(tokenizer) - 1,
    )
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        model = LlavaForConditionalGeneration(config).eval()
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    pixels = CLIPImageProcessor(size={"shortest_edge": 8}, crop_size={"height": 8, "width": 8})
    processor = LlavaProcessor(
        pixels, tokenizer, patch_size=4, vision_feature_select_strategy="default", num_additional_image_tokens=1
    )
    return model, processor


def picture(height: int, width: int) -> Tensor:
    """`photograph`, (3, height, width), float32 in [-1, 1]."""
    small = photograph().resize((width, height))
    return torch.from_numpy(np.asarray(small, dtype=np.float32)).permute(2, 0, 1) / 127.5 - 1


def patches(image: Tensor, size: int, merged: int, frames: int) -> tuple[Tensor, Tensor]:
    """A picture as the Qwen-VL models read it, in patches of which squares of ``merged`` x ``merged`` become one token.

    Returns:
        (patches, channels * frames * size * size), squares one after the other; and the grid, (1, 3).
    """
    channels, height, width = image.shape
    down, across = height // size, width // size
    cut = image.expand(frames, -1, -1, -1)
    cut = cut.reshape(frames, channels, down // merged, merged, size, across // merged, merged, size)
    cut = cut.permute(2, 5, 3, 6, 1, 0, 4, 7)
    return cut.reshape(down * across, channels * frames * size**2), torch.tensor([[1, down, across]])


def with_picture(model: Any, before: list[int], after: list[int], side: int = 2) -> tuple[Tensor, dict[str, Tensor]]:
    """A prompt with the photograph between tokens, for a tiny model of `captum_heta.testing.every_model`.

    Args:
        model: one whose configuration says which token stands for pictures.
        before: the token ids before it.
        after: those after it.
        side: of a model that reads pictures of any size, how many tokens the picture is high; it is one more wide.

    Returns:
        Token ids (1, n), and what else the model takes.
    """
    config, vision = model.config, model.config.vision_config
    token = getattr(config, "image_token_id", None) or config.image_token_index
    if hasattr(vision, "temporal_patch_size"):
        part = vision.patch_size * vision.spatial_merge_size
        image = picture(side * part, (side + 1) * part)
        pixels, grid = patches(image, vision.patch_size, vision.spatial_merge_size, vision.temporal_patch_size)
        media, count = {"pixel_values": pixels, "image_grid_thw": grid}, side * (side + 1)
    else:
        image = picture(vision.image_size, vision.image_size)
        count = (vision.image_size // vision.patch_size) ** 2
        media = {"pixel_values": image[None]}
        if hasattr(config, "scale_factor"):  # Idefics, which has pictures in a dimension of their own
            media, count = {"pixel_values": image[None, None]}, count // config.scale_factor**2
        count = getattr(config, "mm_tokens_per_image", count)
    ids = torch.tensor([[*before, *[token] * count, *after]])
    if "mm_token_type_ids" in inspect.signature(model.forward).parameters:  # of newer transformers
        media["mm_token_type_ids"] = (ids == token).long()
    if hasattr(config, "mm_tokens_per_image"):  # Gemma 3, in which the parts of a picture see each other
        media["token_type_ids"] = (ids == token).long()
    return ids, media


class WithMedia:
    """A model as `captum_heta.testing.reference` calls it, which reads token ids and media in every pass.

    What it merges them to is replaced, where its text model is entered, by the embeddings that it is called with.

    Args:
        model: of transformers, with a text model that takes ``inputs_embeds``.
        ids: (1, T), the prompt and outputs.
        media: what the model takes beside them; of what has an entry for each token, all T.
    """

    def __init__(self, model: Any, ids: Tensor, media: dict[str, Tensor]) -> None:
        self.model, self.ids, self.media = model, ids, media
        seen: list[Tensor] = []

        def see(embeds: Tensor) -> Tensor:
            seen.append(embeds)
            return embeds

        self._run(ids.shape[1], see)
        self.embeds = seen[0][0].detach()  # (T, d), merged

    def __call__(self, inputs_embeds: Tensor, use_cache: bool) -> Any:
        """What the model returns with these (1, S, d) in place of its own, for its first S tokens."""
        return self._run(inputs_embeds.shape[1], lambda embeds: inputs_embeds)

    def _run(self, length: int, change: Callable[[Tensor], Tensor]) -> Any:
        media = {name: value[:, :length] if "token" in name else value for name, value in self.media.items()}

        def enter(module: Any, given: Any, named: dict[str, Any]) -> Any:
            return given, {**named, "inputs_embeds": change(named["inputs_embeds"])}

        handle = self.model.get_decoder().register_forward_pre_hook(enter, with_kwargs=True)
        try:
            return self.model(input_ids=self.ids[:, :length], use_cache=False, **media)
        finally:
            handle.remove()
