"""A causal language model whose answer is known in closed form."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn


class Sum(nn.Module):
    """Predicts token 1 with odds of the product of its tokens' odds, and else token 0.

    A token's embedding is one number, the logarithm of its odds; logits are (0, sum of the embeddings).
    """

    generation = True

    def __init__(self, odds):
        super().__init__()
        self.embeddings = nn.Embedding(len(odds), 1)
        self.embeddings.weight.data[:, 0] = torch.tensor(odds, dtype=torch.float64).log()
        self.to(torch.float64)
        self.config = SimpleNamespace(
            is_encoder_decoder=False, vocab_size=len(odds), hidden_size=1, num_hidden_layers=1, num_attention_heads=1
        )
        self.config.get_text_config = lambda: self.config
        self.rows = []

    def get_input_embeddings(self):
        return self.embeddings

    def can_generate(self):
        return self.generation

    def forward(self, input_ids=None, inputs_embeds=None, logits_to_keep=0):
        embeds = self.embeddings(input_ids) if inputs_embeds is None else inputs_embeds
        self.rows.append(len(embeds))
        sums = embeds[..., 0].cumsum(-1)
        others = torch.full((*sums.shape, self.config.vocab_size - 2), -torch.inf, dtype=sums.dtype)
        logits = torch.cat([torch.zeros_like(sums)[..., None], sums[..., None], others], dim=-1)
        return SimpleNamespace(logits=logits[:, -logits_to_keep:])


def distance(p, q):
    """Hellinger distance of two coins."""
    return math.sqrt(1 - math.sqrt(p * q) - math.sqrt((1 - p) * (1 - q)))


@pytest.fixture
def coin():
    """Tokens with odds 1, 3, 3 and 1/9: the prompt [1, 2] has odds of 9."""
    return Sum([1, 3, 3, 1 / 9])


@pytest.fixture(scope="session")
def make_coin():
    return Sum


@pytest.fixture(scope="session")
def hellinger_of_coins():
    return distance
