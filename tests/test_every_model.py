"""Tiny models of every type."""

import pytest
from transformers import GPT2Config, LlamaConfig

from captum_heta.testing.every_model import KINDS, NotBuiltError, every_model, small_config


def test_a_part_keeps_what_the_whole_says_of_it_but_for_its_sizes():
    found = small_config(LlamaConfig, LlamaConfig(hidden_size=64, attention_bias=True))
    assert found.attention_bias
    assert found.hidden_size == 32
    assert not small_config(LlamaConfig).attention_bias


def test_a_part_has_what_its_type_needs():
    if "nemotron_h_omni" not in KINDS["vision"]:
        pytest.skip("no nemotron_h_omni in the transformers that is installed")
    assert every_model("vision", "nemotron_h_omni").config.text_config.mamba_num_heads == 8


def test_why_there_is_no_model_is_told(monkeypatch):
    monkeypatch.setattr("captum_heta.testing.every_model.SIZES", {"n_embd": 30, "n_head": 4})
    with pytest.raises(NotBuiltError, match="must be divisible by num_heads"):
        every_model("causal", "gpt2")
    assert small_config(GPT2Config).n_embd == 30
