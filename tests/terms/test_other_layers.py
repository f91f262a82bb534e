"""Layers that carry tokens on by more than plain attention: the flows against interventions in the running model."""

import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from captum_heta.models import AttentionLayer, CausalLM, trace_of
from captum_heta.models.linear_form import linear_form
from captum_heta.models.mixing import Attention, Others
from captum_heta.terms.contribution_flow import contribution_flow
from captum_heta.terms.semantic_flow import attention_rollout, semantic_flow
from captum_heta.testing.parts import Gatherer, gathered_parts, has_convolution, naive_flow_of_parts
from captum_heta.testing.reference import naive_contribution_flow, whole_attention

LENGTH = 8
GROUPED = Gatherer("self_attn", "v_proj", "o_proj", 4)
LATENT = Gatherer("self_attn", "kv_b_proj", "o_proj", 4, unused=8)
DELTA = Gatherer("linear_attn", projection="out_proj", kernel=("torch_chunk_gated_delta_rule", "value"))
KIMI = Gatherer("self_attn", projection="o_proj", kernel=("chunk_kimi_delta_attention", "value"))
SHORT = Gatherer("conv", projection="out_proj")
STATES = Gatherer("mamba", projection="out_proj", kernel=("mamba2_chunk_scan", "hidden_states"))
# By model type, what its layers may have; of each layer those that it has.
GATHERERS = {
    "qwen3_next": [DELTA, GROUPED],
    "qwen3_5_text": [DELTA, GROUPED],
    "qwen3_5_moe_text": [DELTA, GROUPED],
    "lfm2": [SHORT, GROUPED._replace(projection="out_proj")],
    "lfm2_moe": [SHORT, GROUPED._replace(projection="out_proj")],
    "granitemoehybrid": [STATES, GROUPED],
    "bamba": [STATES, GROUPED],
    "jamba": [Gatherer("mamba"), GROUPED],
    "falcon_h1": [STATES, Gatherer("self_attn")],  # beside each other
    "nemotron_h": [GROUPED._replace(name="mixer"), STATES._replace(name="mixer")],
    "mamba": [Gatherer("mixer")],
    "mamba2": [STATES._replace(name="mixer")],
    "kimi_linear": [LATENT, KIMI],
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


# By model type, whether the modules of its layers that are no attention have parts that sum to what they make.
LINEAR = {"qwen3_next": True, "lfm2": True, "bamba": True, "mamba2": True, "nemotron_h": True, "kimi_linear": True}
LINEAR |= {"mamba": False, "jamba": False, "rwkv": False, "diffllama": False}


@pytest.mark.parametrize("name", LINEAR)
def test_which_modules_are_linear_in_their_values(name, built):
    lm = CausalLM(built("causal", name))
    with lm.lock, lm.restored(), lm.ready():
        found = [place for place in lm.attention.places if isinstance(place, Others)]
        assert found
        for place in found:
            seen = all(has_convolution(lm.attention.module(module)) for module in place.modules)
            assert place.linear == (LINEAR[name] and seen,) * len(place.modules)


# kernels compute in float32, whatever they are given; the experts of Qwen3-Next and Kimi Linear take no float64
PRECISE, PLAIN, COARSE = (torch.float64, 1e-6), (torch.float32, 1e-5), (torch.bfloat16, 0.02)


@pytest.mark.parametrize(
    ("name", "dtype", "tolerance"),
    [
        ("qwen3_5_text", *PRECISE),
        ("lfm2", torch.float64, 1e-12),
        ("bamba", *PRECISE),
        ("qwen3_next", *PLAIN),
        ("kimi_linear", *PLAIN),
        ("qwen3_5_text", *COARSE),
        ("lfm2", *COARSE),
        ("bamba", *COARSE),
    ],
)
def test_the_parts_of_all_tokens_sum_to_the_output(name, dtype, tolerance, built):
    lm = CausalLM(built("causal", name).to(dtype))
    ids = torch.randint(40, 90, (70,), generator=torch.Generator().manual_seed(3))  # more than a chunk of a kernel
    found = []
    with lm.lock, lm.restored(), lm.ready(), torch.no_grad():
        trace = trace_of(lm, lm.embed(ids), 1)
        for layer in trace.layers:
            if isinstance(layer, AttentionLayer):
                continue
            for mixer, made in zip(layer.mixers, layer.gathered(), strict=True):
                if not mixer.linear:
                    pytest.skip("transformers calls no kernel that can be seen")
                form = linear_form(mixer.module, mixer.of, mixer.call.hidden_states)
                parts = form.parts(torch.arange(70))
                projection = next(
                    module for name, module in mixer.module.named_children() if name in ("o_proj", "out_proj")
                )
                bias = 0 if projection.bias is None else projection.bias
                assert (parts.sum(0) + bias - made).norm() <= tolerance * made.norm()
                torch.testing.assert_close(parts.sum(0), form.whole())
                before = torch.arange(70) < torch.arange(70)[:, None]
                assert parts[before].abs().max() <= 1e-12
                found.append(mixer)
    assert found


class TestWhatIsNotLinear:
    """A module of which the parts would sum to its output all the same."""

    @staticmethod
    def linear(model):
        lm = CausalLM(model)
        with lm.lock, lm.restored(), lm.ready():
            return [place.linear[0] for place in lm.attention.places if isinstance(place, Others)]

    @pytest.fixture
    def model(self, built):
        model = built("causal", "bamba")
        if self.linear(model) != [True]:
            pytest.skip("transformers calls no kernel that can be seen")
        return built("causal", "bamba")

    def test_curved_after_its_kernel(self, model):
        model.model.layers[0].mamba.norm.register_forward_hook(lambda _, __, output: output.tanh())
        assert self.linear(model) == [False]

    def test_tokens_mixed_before_its_convolution(self, model):
        model.model.layers[0].mamba.in_proj.register_forward_hook(lambda _, __, output: output.cumsum(1))
        assert self.linear(model) == [False]


def test_functions_of_transformers_come_back_after_an_error(built):
    lm = CausalLM(built("causal", "lfm2"))
    with lm.lock, lm.restored(), lm.ready():
        trace = trace_of(lm, lm.embed(torch.arange(40, 48)), 1)
        (mixer,) = next(layer.mixers for layer in trace.layers if not isinstance(layer, AttentionLayer))
        modeling = sys.modules[type(mixer.module).__module__]
        functions = dict(vars(modeling))
        seen = []

        def fails(states):
            seen.append({name for name, value in vars(modeling).items() if value is not functions[name]})
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            linear_form(mixer.module, fails, mixer.call.hidden_states)
    assert seen == [{"causal_conv1d_fn"} if mixer.linear else set()]
    assert vars(modeling) == functions


def test_other_threads_are_not_heard(built):
    lm = CausalLM(built("causal", "qwen3_next"))
    other = built("causal", "qwen3_next")
    ids = torch.arange(40, 48)
    expected = other(ids[None]).logits
    with lm.lock, lm.restored(), lm.ready():
        trace = trace_of(lm, lm.embed(ids), 1)
        (mixer,) = next(layer.mixers for layer in trace.layers if not isinstance(layer, AttentionLayer))
        if not mixer.linear:
            pytest.skip("transformers calls no kernel that can be seen")
        form = linear_form(mixer.module, mixer.of, mixer.call.hidden_states)
        with ThreadPoolExecutor(1) as pool:

            def beside(states):
                torch.testing.assert_close(pool.submit(lambda: other(ids[None]).logits).result(), expected)
                return mixer.of(states)

            found = linear_form(mixer.module, beside, mixer.call.hidden_states)
    torch.testing.assert_close(found.values, form.values)
    torch.testing.assert_close(found.weights, form.weights)


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
