import pytest
import torch
from torch import nn
from transformers import T5Config, T5ForConditionalGeneration

from captum_heta import HETA
from captum_heta.models import CausalLM, trace_of
from captum_heta.testing.architectures import tiny_model
from captum_heta.testing.reference import whole_attention


def test_encoder_decoder_is_refused():
    model = T5ForConditionalGeneration(T5Config(vocab_size=9, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2))
    with pytest.raises(TypeError, match="T5ForConditionalGeneration is an encoder-decoder model.*AutoModelForCausalLM"):
        HETA(model)


@pytest.mark.parametrize("model", [nn.Linear(2, 2), lambda ids: ids, None])
def test_anything_else_is_refused(model):
    with pytest.raises(TypeError, match="Expected a causal language model of Hugging Face transformers"):
        HETA(model)


def test_attention_that_is_not_returned_is_read_at_the_interface():
    model = tiny_model("llama")
    attention = model.model.layers[1].self_attn
    forward = attention.forward
    attention.forward = lambda *args, **kwargs: (forward(*args, **kwargs)[0], None)
    ids = torch.tensor([[2, 3, 4]])
    torch.testing.assert_close(
        HETA(model).attribute(ids, n_samples=1), HETA(tiny_model("llama")).attribute(ids, n_samples=1)
    )


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
