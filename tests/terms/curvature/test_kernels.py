"""Which attention runs where first derivatives are enough."""

import pytest
import torch
import transformers

from captum_heta.features import Features
from captum_heta.models import Batch, CausalLM, trace_of
from captum_heta.models.attention_check import AttentionFindings
from captum_heta.options import CurvatureOptions
from captum_heta.terms.curvature import curvature, layerwise
from captum_heta.testing.architectures import tiny_model


@pytest.fixture
def by_layers(monkeypatch):
    monkeypatch.setattr("captum_heta.models.causal_lm.graph_fits", lambda *_: False)


def curved(model, mode="fisher"):
    lm = CausalLM(model)
    with lm.lock, lm.restored(), lm.ready():
        trace = trace_of(lm, lm.embed(torch.arange(9)), 1)
        return curvature(trace, Features.of_tokens(range(9)), [3], CurvatureOptions(curvature=mode), Batch(4)).scores


def implementations(model, monkeypatch):
    """A list of which attention a model has at each step down a layer."""
    used, pulled = [], layerwise._pulled_back

    def watched(*arguments):
        used.append(getattr(model.config, "_attn_implementation", None))
        return pulled(*arguments)

    monkeypatch.setattr(layerwise, "_pulled_back", watched)
    return used


def registered(name, changed):
    interface = transformers.AttentionInterface()["sdpa"]

    def attention(module, query, key, value, attention_mask, **named):
        return interface(module, changed(query), key, value, attention_mask, **named)

    transformers.AttentionInterface.register(name, attention)
    transformers.AttentionMaskInterface.register(name, transformers.AttentionMaskInterface()["sdpa"])


@pytest.mark.parametrize("mode", ["fisher", "gradient"])
@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma2", "gemma3_text", "gpt_neox", "mixtral"])
def test_gradients_layer_by_layer_run_as_the_model_was_loaded(name, mode, monkeypatch, by_layers):
    model = tiny_model(name)
    own = getattr(model.config, "_attn_implementation", None)
    used = implementations(model, monkeypatch)
    fast = curved(model, mode)
    assert set(used) == {own}
    assert getattr(model.config, "_attn_implementation", None) == own
    monkeypatch.setattr("captum_heta.models.causal_lm.graph_fits", lambda *_: True)
    torch.testing.assert_close(fast, curved(model, mode), rtol=1e-3, atol=1e-9)


def test_second_derivatives_do_not(monkeypatch, by_layers):
    model = tiny_model("llama")
    used = implementations(model, monkeypatch)
    curved(model, "exact")
    assert set(used) == {"eager"}


def test_attention_without_its_gradient_is_not_differentiated(by_layers):
    model = tiny_model("llama")
    expected = curved(model)
    registered("detached", lambda query: query.detach())
    model.set_attn_implementation("detached")
    torch.testing.assert_close(curved(model), expected, rtol=1e-3, atol=1e-9)
    lm = CausalLM(model)
    with lm.lock, lm.restored(), lm.ready():
        assert lm.attention.fast_says_the_same
        assert not lm.attention.fast_differentiates


def test_attention_whose_gradient_fails_is_not_differentiated(by_layers):
    class Forward(torch.autograd.Function):
        @staticmethod
        def forward(ctx, query):
            return query.clone()

        @staticmethod
        def backward(ctx, change):
            raise RuntimeError("no kernel for this")

    model = tiny_model("llama")
    expected = curved(model)
    registered("forward_only", Forward.apply)
    model.set_attn_implementation("forward_only")
    torch.testing.assert_close(curved(model), expected, rtol=1e-3, atol=1e-9)


def test_of_an_eager_model_nothing_is_found_out(monkeypatch, by_layers):
    model = tiny_model("llama")
    model.set_attn_implementation("eager")

    def asked(self):
        raise AssertionError("its own attention is compared with itself")

    for name in ("_fast_says_the_same", "_fast_differentiates"):
        monkeypatch.setattr(AttentionFindings, name, asked)
    used = implementations(model, monkeypatch)
    curved(model)
    assert set(used) == {"eager"}
