"""The gate of the authors' published code, against a loop over transformers' own attentions and hidden states."""

import warnings

import pytest
import torch

from captum_heta import HETA, HETATerms
from captum_heta.models import CausalLM, trace_of
from captum_heta.terms.published_flow import published_flow
from captum_heta.testing.architectures import tiny_model
from captum_heta.testing.reference import naive_published_flow

IDS = torch.randperm(90, generator=torch.Generator().manual_seed(1))[:9]
POSITIONS = [6, 7, 8]
# By model type, in its attention module, what makes values and what mixes heads, by names that the published code knows
KNOWN = {
    "gpt2": ("transformer.h", "attn", "c_attn", "c_proj"),
    "gptj": ("transformer.h", "attn", "v_proj", "out_proj"),
    "llama": ("model.layers", "self_attn", "v_proj", "o_proj"),  # heads share values
    "qwen2": ("model.layers", "self_attn", "v_proj", "o_proj"),  # with biases
    "gemma2": ("model.layers", "self_attn", "v_proj", "o_proj"),  # heads of another size than d / H; a window
    "mixtral": ("model.layers", "self_attn", "v_proj", "o_proj"),
}
UNKNOWN = ["phi3", "gpt_neox", "opt", "bloom", "falcon"]


def published(model, positions=3):
    lm = CausalLM(model)
    with lm.lock, lm.restored(), lm.ready():
        trace = trace_of(lm, lm.embed(IDS), positions, published=True)
        return published_flow(trace.layers, trace.output_positions)


def naive(model, target, weights):
    with torch.no_grad():
        output = model(IDS[None], output_attentions=True, output_hidden_states=True)
    attentions, states = [one[0] for one in output.attentions], [one[0] for one in output.hidden_states]
    values, outputs = weights(model)
    return naive_published_flow(attentions, states, values, outputs, target)


def of_names(layers, attention, values, output):
    """W_V and W_O of each layer, (inputs, outputs); the last third of what GPT-2 makes queries, keys and values by."""

    def weights(model):
        modules = [layer.get_submodule(attention) for layer in model.get_submodule(layers)]
        if values == "c_attn":
            width = model.config.n_embd
            return [one.c_attn.weight[:, 2 * width :] for one in modules], [one.c_proj.weight for one in modules]
        return [getattr(one, values).weight.T for one in modules], [getattr(one, output).weight.T for one in modules]

    return weights


@pytest.mark.parametrize("name", KNOWN)
def test_equals_the_loop_over_heads_and_layers(name):
    model = tiny_model(name, attn_implementation="eager").double()
    expected = [naive(model, position, of_names(*KNOWN[name])) for position in POSITIONS]
    torch.testing.assert_close(published(model), torch.stack(expected), rtol=1e-6, atol=1e-9)


def test_cuts_shared_values_as_the_published_code_and_not_as_the_model():
    model = tiny_model("llama", attn_implementation="eager").double()
    cut = published(model, 1)[0]
    (values, outputs), size = of_names(*KNOWN["llama"])(model), 32 // 4
    shared = [one.unflatten(1, (2, size)).repeat_interleave(2, dim=1).flatten(1) for one in values]
    own = naive(model, 8, lambda model: (shared, outputs))
    assert (cut - own).abs().max() > 0.003
    model = tiny_model("llama", num_key_value_heads=4, attn_implementation="eager").double()
    torch.testing.assert_close(published(model, 1)[0], naive(model, 8, of_names(*KNOWN["llama"])))


@pytest.mark.parametrize("name", UNKNOWN)
def test_where_that_code_knows_no_weights_each_token_weighs_1_with_a_warning(name):
    model = tiny_model(name, attn_implementation="eager").double()  # which Falcon must be loaded with
    with pytest.warns(UserWarning, match=f"knows no W_V and W_O in {type(model).__name__}: it weighs each token by 1"):
        found = published(model)
    expected = [naive(model, position, lambda model: ([], [])) for position in POSITIONS]
    torch.testing.assert_close(found, torch.stack(expected), rtol=1e-6, atol=1e-9)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        published(model)  # once for a model


@pytest.mark.parametrize("name", ["gpt2", "llama", "phi3"])
@pytest.mark.filterwarnings("ignore:The code that HETA's authors published")
def test_is_a_distribution_over_what_the_target_sees(name):
    flow = published(tiny_model(name))
    assert (flow >= 0).all()
    torch.testing.assert_close(flow.sum(-1), torch.ones(3))
    assert (flow[0, 7:] == 0).all()
    assert (flow.argmax(-1) == torch.tensor(POSITIONS)).all()  # half of each factor stays


def test_outputs_together_are_weighed():
    lm = CausalLM(tiny_model("gpt2").double())
    with lm.lock, lm.restored(), lm.ready():
        layers = trace_of(lm, lm.embed(IDS), 1, published=True).layers
        one, both = torch.tensor([8]), torch.tensor([8, 5])
        torch.testing.assert_close(published_flow(layers, both, torch.tensor([2.0, 0.0])), published_flow(layers, one))
        apart, together = published_flow(layers, both), published_flow(layers, both, torch.tensor([1.0, 1.0]))
    assert together.shape == (1, 9)
    assert ((together >= apart.min(0).values) & (together <= apart.max(0).values)).all()


@pytest.mark.parametrize("count", [1, 4, 9])
def test_a_pass_in_pieces_says_the_same(count, monkeypatch):
    model = tiny_model("llama")
    whole = published(model)
    pieces = [(start, min(start + count, 9)) for start in range(0, 9, count)]
    monkeypatch.setattr(CausalLM, "pieces", lambda self, length: pieces)
    torch.testing.assert_close(published(model), whole)


def test_heta_takes_it_as_its_gate():
    model = tiny_model("llama")
    options = {"target": 3, "curvature": "fisher", "rank": 4, "flow": "published"}
    scores, terms = HETA(model).attribute(IDS[None], **options, return_terms=True)
    assert type(terms) is HETATerms
    torch.testing.assert_close(terms.semantic_flow, published(model, 1))
    torch.testing.assert_close(scores, terms.semantic_flow * (terms.curvature + terms.information.clamp(min=0)) / 2)


class TestRefused:
    @pytest.mark.parametrize("name", ["qwen3_next", "mamba", "falcon_h1"])
    def test_layers_without_attention_that_can_be_read(self, name, built):
        with pytest.raises(TypeError, match="flow='published' follows each head through all layers, and of the"):
            published(built("causal", name))

    @pytest.mark.parametrize("name", ["deepseek_v3", "minicpm3"])
    def test_latent_attention(self, name, built):
        with pytest.raises(TypeError, match="makes its values of them, as in latent attention. Take flow='attention'"):
            published(built("causal", name))

    def test_other_numbers_of_heads(self):
        lm = CausalLM(tiny_model("gpt2"))
        with lm.lock, lm.restored(), lm.ready():
            first, last = trace_of(lm, lm.embed(IDS), 1, published=True).layers
            whole = last.weights
            object.__setattr__(last, "weights", lambda: ((start, part[:2]) for start, part in whole()))
            with pytest.raises(TypeError, match="one has 4 heads, the next 2: take flow='attention'"):
                published_flow([first, last], torch.tensor([8]))
