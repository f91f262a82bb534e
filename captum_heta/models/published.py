"""What the code that HETA's authors published reads of a layer: weights by their names, heads as that code cuts them.

It is replicated and not mended: `captum_heta.terms.published_flow` is for the figures that were made with it. Seen in
github.com/VishalPramanik/HETA, in its only version of April 2026.
"""

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from captum_heta.models.families import attention_candidates, matrix
from captum_heta.models.language_model import LanguageModel
from captum_heta.models.selfcheck import UnfitModelError

# Where that code looks for attention; what makes values and mixes heads there, in the order in which it looks for them.
_PLACES = re.compile(r"(^|\.)(transformer\.h|model\.layers)\.\d+\.(attn|self_attn)$")
_PAIRS = (("v_proj", "o_proj"), ("c_attn", "c_proj"), ("v_proj", "out_proj"))


class PublishedWeights(NamedTuple):
    """Where that code finds W_V and W_O of a layer.

    Attributes:
        values: what makes W_V, and before it queries and keys as wide, if it is GPT-2's.
        output: what mixes the heads.
    """

    values: nn.Module
    output: nn.Module


@dataclass(frozen=True, eq=False)
class PublishedLayer:
    """What that code weighs the tokens of a layer by.

    Attributes:
        entering: the hidden states (T, d) that enter the layer, before its norm.
        weights: None where that code finds none.
    """

    entering: Tensor
    weights: PublishedWeights | None

    def norms(self, heads: int) -> Tensor:
        """norm1(x_i W_V^h W_O^h), (H, T), in float32 or better; 1 where that code finds no weights.

        W_V and the first rows of W_O are cut into as many pieces as there are query heads, which are the model's own
        heads only where each query head has values of its own. Biases are left out.
        """
        precise = torch.promote_types(self.entering.dtype, torch.float32)
        if self.weights is None:
            return torch.ones(heads, len(self.entering), dtype=precise, device=self.entering.device)
        values, output = (matrix(module, like=self.entering) for module in self.weights)
        if isinstance(_plain(self.weights.values), Conv1D):
            values = values[:, 2 * len(values) :]
        states = self.entering.to(values.device, values.dtype)
        size = values.shape[-1] // heads
        pieces = [slice(head * size, (head + 1) * size) for head in range(heads)]
        return torch.stack([((states @ values[:, some]) @ output[some].to(values)).abs().sum(-1) for some in pieces])


def published_weights(lm: LanguageModel, names: Sequence[str]) -> list[PublishedWeights | None]:
    """Where the published code finds the weights of each layer; warns, once for a model, where it finds none.

    Args:
        lm: the model.
        names: of the one attention module of each layer, in the model.

    Raises:
        UnfitModelError: for attention without a projection that makes its values, as latent attention is.
    """
    model = type(lm.model).__name__
    candidates = attention_candidates(lm.model)
    found = []
    for layer, name in enumerate(names):
        module = lm.model.get_submodule(name)
        if not any(module is one for one, _ in candidates.get(layer, [])):
            raise UnfitModelError(
                f"flow='published' takes the values of hidden states, and no projection of {type(module).__name__} in "
                f"layer {layer} of {model} makes its values of them, as in latent attention. {WAY_OUT}"
            )
        found.append(_weights(module) if _PLACES.search(name) else None)
    if None in found and "published" not in lm.record.said:
        lm.record.said.add("published")
        warnings.warn(
            f"The code that HETA's authors published knows no W_V and W_O in {model}: it weighs each token by 1, "
            "without a word. So does flow='published'.",
            stacklevel=2,
        )
    return found


WAY_OUT = "Take flow='attention', which is the paper's."


def _weights(attention: nn.Module) -> PublishedWeights | None:
    for values, output in _PAIRS:
        if hasattr(attention, values) and hasattr(attention, output):
            pair = PublishedWeights(getattr(attention, values), getattr(attention, output))
            # of GPT-2's it knows the kind that keeps its weight transposed; with another it fails, and takes 1
            known = values != "c_attn" or isinstance(_plain(pair.values), Conv1D)
            return pair if known else None
    return None


def _plain(module: nn.Module) -> nn.Module:
    """What an adapter stands for."""
    return getattr(module, "base_layer", module)
