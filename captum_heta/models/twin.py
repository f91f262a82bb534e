"""A second model out of the same weights, for code that changes what it is given."""

import copy
from typing import Any

from torch import nn


def twin(model: Any) -> Any:
    """A copy of a model whose modules, hooks, buffers and configuration are its own, and whose weights are the same.

    Its parameters are others, frozen and without gradients, in the memory of the model's. Who moves, resizes or
    replaces them, or changes anything else of the copy, leaves the model as it is; only writing into a weight would
    not. Weights of a tensor type of their own, such as quantized ones, are copied.

    Args:
        model: a model of transformers.
    """
    shared = {
        id(parameter): nn.Parameter(parameter.detach(), requires_grad=False)
        for parameter in model.parameters()
        if type(parameter) is nn.Parameter
    }
    return copy.deepcopy(model, shared)
