"""Layers that carry tokens on by more than plain attention: the flows against interventions in the running model."""

import pytest
import torch

from captum_heta.models import AttentionLayer, CausalLM, trace_of
from captum_heta.models.mixing import Attention
from captum_heta.terms.contribution_flow import contribution_flow
from captum_heta.terms.semantic_flow import attention_rollout, semantic_flow
from captum_heta.testing.parts import Gatherer, gathered_parts, naive_flow_of_parts
from captum_heta.testing.reference import naive_contribution_flow, whole_attention

LENGTH = 8
GROUPED = Gatherer("self_attn", "v_proj", "o_proj", 4)
LATENT = Gatherer("self_attn", "kv_b_proj", "o_proj", 4, unused=8)
# By model type, what its layers may have; of each layer those that it has.
GATHERERS = {
    "qwen3_next": [Gatherer("linear_attn"), GROUPED],
    "qwen3_5_text": [Gatherer("linear_attn"), GROUPED],
    "qwen3_5_moe_text": [Gatherer("linear_attn"), GROUPED],
    "lfm2": [Gatherer("conv"), GROUPED._replace(projection="out_proj")],
    "lfm2_moe": [Gatherer("conv"), GROUPED._replace(projection="out_proj")],
    "granitemoehybrid": [Gatherer("mamba"), GROUPED],
    "bamba": [Gatherer("mamba"), GROUPED],
    "jamba": [Gatherer("mamba"), GROUPED],
    "falcon_h1": [Gatherer("mamba"), Gatherer("self_attn")],  # beside each other
    "nemotron_h": [GROUPED._replace(name="mixer"), Gatherer("mixer")],
    "mamba": [Gatherer("mixer")],
    "mamba2": [Gatherer("mixer")],
    "diffllama": [Gatherer("self_attn")],  # two softmaxes
    "deepseek_v2": [LATENT],
    "deepseek_v3": [LATENT],
    "deepseek_v32": [LATENT],
    "glm4_moe_lite": [LATENT],
    "glm_moe_dsa": [LATENT],
    "minicpm3": [LATENT],
    "youtu": [LATENT],
    "afmoe": [GROUPED],  # a gate; and a norm before the stream
}


def gatherers_of(layer, name):
    children = dict(layer.named_children())
    found = {}
    for one in GATHERERS[name]:
        if one.name in children and (one.values is None or hasattr(children[one.name], one.values)):
            found.setdefault(one.name, one)
    return list(found.values())


@pytest.mark.parametrize("name", GATHERERS)
def test_flows_equal_interventions_in_the_running_model(name, built):
    model = built("causal", name)
    lm = CausalLM(model)
    ids = 40 + torch.randperm(40, generator=torch.Generator().manual_seed(3))[:LENGTH]
    positions = torch.tensor([LENGTH - 2, LENGTH - 1])
    with lm.lock, lm.restored(), lm.ready():
        trace = trace_of(lm, lm.embed(ids), 2, residuals=True)
        semantic, contribution = (flow(trace.layers, positions) for flow in (semantic_flow, contribution_flow))
        assert (attention_rollout(trace.layers, positions).sum(-1) - 1).abs().max() < 1e-5
        layers = []
        for place, form in zip(lm.attention.places, lm.attention.residual_forms, strict=True):
            layer = lm.layer(place.layer)
            some = gatherers_of(layer, name)
            normed = form.norm is not None
            shares = [form.scale * share for share in form.shares]
            layers.append(
                (gathered_parts(model, ids, layer, some), gathered_parts(model, ids, layer, _shared(some, shares)))
            )
    for row, position in enumerate(positions.tolist()):
        expected = naive_flow_of_parts([plain for plain, _ in layers], position)
        torch.testing.assert_close(semantic[row].double(), expected, rtol=1e-4, atol=1e-6)
        if normed:  # of which tests/terms/test_contribution_flow.py has an oracle
            continue
        added = [scaled for _, scaled in layers]
        sums = [one.stream + one.added for one in added]
        expected = naive_contribution_flow([one.stream for one in added], sums, [one.parts for one in added], position)
        torch.testing.assert_close(contribution[row].double(), expected.double(), rtol=1e-3, atol=1e-5)


def test_steps_of_a_layer_are_as_many_layers(built):
    model = built("causal", "rwkv")  # its MLP reads the token before, too
    lm = CausalLM(model)
    ids = torch.arange(40, 40 + LENGTH)
    with lm.lock, lm.restored(), lm.ready():
        trace = trace_of(lm, lm.embed(ids), 1)
        found = semantic_flow(trace.layers, torch.tensor([LENGTH - 1]))[0]
        layers = [
            gathered_parts(model, ids, lm.layer(number), [Gatherer(step)])
            for number in range(lm.n_layers)
            for step in ("attention", "feed_forward")
        ]
    torch.testing.assert_close(found.double(), naive_flow_of_parts(layers, LENGTH - 1), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["qwen3_next", "afmoe", "bitnet", "granite_swa", "laguna", "deepseek_v3", "gpt_oss"])
def test_the_parts_of_attention_make_up_what_its_projection_is_given(name, built):
    model = built("causal", name)
    lm = CausalLM(model)
    given = []
    with lm.lock, lm.restored(), lm.ready():
        trace = trace_of(lm, lm.embed(torch.arange(40, 48)), 1)
        layers = [layer for layer in trace.layers if isinstance(layer, AttentionLayer)]
        assert layers
        handles = [
            layer.projection.register_forward_pre_hook(lambda _, args: given.append(args[0][0])) for layer in layers
        ]
        trace.rerun(trace.embeds[None], 0, keep=1)
        for handle in handles:
            handle.remove()
        for layer, mixed in zip(layers, given, strict=True):
            attention = whole_attention(layer)
            values = layer.values.repeat_interleave(len(attention) // len(layer.values), dim=0)
            made = (attention @ values).transpose(0, 1)
            made = made if layer.gates is None else made * layer.gates
            torch.testing.assert_close(made.flatten(1), mixed.flatten(1), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["bitnet", "afmoe", "laguna", "qwen3_next"])
def test_gates_are_found(name, built):
    model = built("causal", name)
    lm = CausalLM(model)
    with lm.lock, lm.restored(), lm.ready():
        kinds = {place.between for place in lm.attention.places if isinstance(place, Attention)}
    assert kinds == {"gates"}


def _shared(gatherers, shares):
    return [one._replace(share=share) for one, share in zip(gatherers, shares, strict=True)]
