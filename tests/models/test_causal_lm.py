import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM, BambaConfig, MambaConfig, T5Config, T5ForConditionalGeneration

from captum_heta import HETA
from captum_heta.models import CausalLM, trace_of
from captum_heta.testing.architectures import tiny_model
from captum_heta.testing.reference import whole_attention


def test_encoder_decoder_is_refused():
    model = T5ForConditionalGeneration(T5Config(vocab_size=9, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2))
    with pytest.raises(TypeError, match="T5ForConditionalGeneration is an encoder-decoder model.*AutoModelForCausalLM"):
        HETA(model)


def test_attention_free_model_is_refused_by_name():
    model = AutoModelForCausalLM.from_config(
        MambaConfig(vocab_size=9, hidden_size=8, num_hidden_layers=2, state_size=4)
    )
    with pytest.raises(
        TypeError, match=r"MambaForCausalLM has no attention .* in layer\(s\) \[0, 1\].*layer_idx.*o_proj"
    ):
        HETA(model)


def test_hybrid_model_names_its_layers_without_attention():
    config = BambaConfig(
        vocab_size=9, hidden_size=16, intermediate_size=16, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=2, attn_layer_indices=[1], mamba_n_heads=4, mamba_d_head=8, mamba_n_groups=1,
        mamba_d_state=4, pad_token_id=None,
    )  # fmt: skip
    with pytest.raises(TypeError, match=r"layer\(s\) \[0, 2\]"):
        HETA(AutoModelForCausalLM.from_config(config))


@pytest.mark.parametrize("model", [nn.Linear(2, 2), lambda ids: ids, None])
def test_anything_else_is_refused(model):
    with pytest.raises(TypeError, match="Expected a causal language model of Hugging Face transformers"):
        HETA(model)


def test_attention_that_is_not_returned_is_an_error_that_says_what_to_do():
    model = tiny_model("llama")
    attention = model.model.layers[1].self_attn
    forward = attention.forward
    attention.forward = lambda *args, **kwargs: (forward(*args, **kwargs)[0], None)
    with pytest.raises(
        TypeError,
        match=r"LlamaForCausalLM returned no attention weights.*layer\(s\) \[1\].*attn_implementation='eager'",
    ):
        HETA(model).attribute(torch.tensor([[2, 3]]))


def test_trace_keeps_all_values_of_sliding_window_layers():
    lm = CausalLM(tiny_model("mistral", sliding_window=3))
    with lm.ready():
        trace = trace_of(lm, lm.embed(torch.arange(8)), 1)
        assert all(layer.values.shape == (2, 8, 8) for layer in trace.layers)
        assert whole_attention(trace.layers[0])[0, 7, 4] == 0  # outside the window, and seen to be


def test_log_probs_are_at_least_float32():
    lm = CausalLM(tiny_model("llama").bfloat16())
    with lm.ready():
        trace = trace_of(lm, lm.embed(torch.arange(4)), 2)
    assert trace.log_probs.dtype == torch.float32
    assert trace.log_probs.shape == (2, lm.vocab_size)
    torch.testing.assert_close(trace.log_probs.exp().sum(-1), torch.ones(2))
