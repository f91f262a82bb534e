"""Noise on the embeddings of a prompt, whatever a method does with the model."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from captum_heta.models import answered, record_of


@contextmanager
def noisy_embeddings(model: Any, ids: Tensor, noise: Tensor) -> Iterator[None]:
    """Within this context the model's input embeddings of a prompt's tokens carry noise.

    The noise belongs to the token id: the second occurrence of a token has that of the first. A method may then embed
    the prompt whole, in parts, in masked copies or several times, and meets the same noise. Ids that are not in the
    prompt, such as a baseline's, have none. The weights do not change, so neither does a head that shares them.

    Args:
        model: a model of Hugging Face transformers.
        ids: (n,), the prompt.
        noise: (n, d), what is added.
    """
    module = model.get_input_embeddings()
    n, places = len(ids), torch.arange(len(ids), device=ids.device)
    # for each id of the vocabulary where it first occurs, or n for nowhere: the row of zeros
    first = torch.full((len(module.weight),), n, device=ids.device).scatter_reduce(0, ids.long(), places, "amin")
    table = torch.cat([noise, torch.zeros_like(noise[:1])])

    def add(arguments: tuple[Any, ...], output: Tensor) -> Tensor:
        return output + table[first[arguments[0].to(first.device)].to(table.device)].to(output)

    # A hook sees the id even where padding_idx or a scale has a say in the embedding. Captum's layer methods put their
    # hooks on the same module during the call, after this one: they read noisy embeddings, and what they put in their
    # place gets no noise again.
    # The lock, for whoever else runs the model would meet the noise too.
    record = record_of(model)
    with record.lock, record.restored(model), answered(module, add):
        yield
