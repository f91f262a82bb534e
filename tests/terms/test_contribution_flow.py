from typing import NamedTuple

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from captum_heta.models import CausalLM, trace_of
from captum_heta.terms.contribution_flow import contribution_flow
from captum_heta.testing.architectures import CONFIGS, tiny_model
from captum_heta.testing.reference import naive_contribution_flow, naive_flow_routes, whole_attention


class Layout(NamedTuple):
    """Where a layer has what the oracle is made of, written down from transformers' code.

    ``after`` names the child that is given the stream after attention, None where the MLP reads beside the attention;
    ``given`` says that the stream is what the attention is given; ``norm`` names the norm of what attention gathers.
    """

    layers: str
    attention: str
    projection: str
    after: str | None
    norm: str | None = None
    scale: float = 1.0
    given: bool = False


LLAMA = Layout("model.layers", "self_attn", "o_proj", "post_attention_layernorm")
GEMMA = Layout("model.layers", "self_attn", "o_proj", "pre_feedforward_layernorm", "post_attention_layernorm")
LAYOUTS = {
    **dict.fromkeys(("llama", "mistral", "mixtral", "qwen2", "qwen3", "phi3", "stablelm"), LLAMA),
    **dict.fromkeys(("gemma2", "gemma3_text"), GEMMA),
    "olmo2": LLAMA._replace(after="mlp", norm="post_attention_layernorm"),
    "gpt2": Layout("transformer.h", "attn", "c_proj", "ln_2"),
    "gptj": Layout("transformer.h", "attn", "out_proj", None),
    "gpt_neox": Layout("gpt_neox.layers", "attention", "dense", None),
    "opt": Layout("model.decoder.layers", "self_attn", "out_proj", "final_layer_norm"),
    "bloom": Layout("transformer.h", "self_attention", "dense", "post_attention_layernorm"),
    "falcon": Layout("transformer.h", "self_attention", "dense", None),
}
OTHERS = {
    "gpt_neox sequential": ("gpt_neox", {"use_parallel_residual": False}),
    "stablelm parallel": ("stablelm", {"use_parallel_residual": True}),
    "bloom normed residual": ("bloom", {"apply_residual_connection_post_layernorm": True}),
    "opt post-norm": ("opt", {"do_layer_norm_before": False}),
    "falcon sequential": (
        "falcon",
        {"new_decoder_architecture": False, "parallel_attn": False, "multi_query": False, "num_kv_heads": 4},
    ),
    "phi3 windowed": ("phi3", {"sliding_window": 3}),
}
OTHER_LAYOUTS = {
    "gpt_neox sequential": LAYOUTS["gpt_neox"]._replace(after="post_attention_layernorm"),
    "stablelm parallel": LLAMA._replace(after=None),
    "bloom normed residual": LAYOUTS["bloom"]._replace(given=True),
    "opt post-norm": LAYOUTS["opt"]._replace(after="self_attn_layer_norm"),
    "falcon sequential": LAYOUTS["falcon"]._replace(after="post_attention_layernorm"),
    "phi3 windowed": LLAMA,
}
ROPE = {"rope_type": "default", "rope_theta": 1e4}
# not among those that the package names, and each with something of its own
UNNAMED = {
    "granite": ({"residual_multiplier": 0.22}, LLAMA._replace(scale=0.22)),
    "cohere": ({}, LLAMA._replace(after=None)),
    "gpt_oss": (
        {
            "num_local_experts": 4,
            "num_experts_per_tok": 2,
            "head_dim": 8,
            "sliding_window": 5,
            "rope_parameters": ROPE,
            "experts_implementation": "eager",
        },
        LLAMA,
    ),
}
LENGTH = 9


def other_model(kind, changes):
    sizes = {
        "vocab_size": 97, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
        "intermediate_size": 48, "max_position_embeddings": 64, "bos_token_id": 0, "eos_token_id": 1,
        "pad_token_id": None,
    }  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **(sizes | changes)))
        for parameter in model.parameters():
            parameter.data += 0.1 * torch.randn_like(parameter)
    return model.eval()


def caught(model, layout, ids):
    """The streams and sums of each layer as the model's own pass has them, (T, d), and what the norm was given."""
    found = {}
    layers = model.get_submodule(layout.layers)
    handles = []

    def keep(key, place):
        def hook(module, arguments, named, output=None):
            value = output if place == "output" else (arguments[0] if arguments else named["hidden_states"])
            value = value[0] if isinstance(value, tuple) else value
            found[key] = value.detach().clone().view(LENGTH, -1)

        return hook

    for number, layer in enumerate(layers):
        attention = layer.get_submodule(layout.attention)
        projection = attention.get_submodule(layout.projection)
        watched = [("stream", attention if layout.given else layer), ("attention", None)]
        for name, module in watched[:1]:
            handles.append(module.register_forward_pre_hook(keep((number, name), "input"), with_kwargs=True))
        handles.append(projection.register_forward_hook(keep((number, "gathered"), "output"), with_kwargs=True))
        if layout.after:
            handles.append(
                layer.get_submodule(layout.after).register_forward_pre_hook(
                    keep((number, "sum"), "input"), with_kwargs=True
                )
            )
    with torch.no_grad():
        model(input_ids=ids[None])
    for handle in handles:
        handle.remove()
    return found, layers


def oracle(model, layout, trace, ids, target):
    """G from the model's own streams and sums, every part written out."""
    found, layers = caught(model, layout, ids)
    streams, sums, parts = [], [], []
    for number, layer in enumerate(trace.layers):
        attention = whole_attention(layer)
        heads = layer.mixers()
        values = layer.values.repeat_interleave(len(heads) // len(layer.values), dim=0)
        added = attention[..., None] * (values @ heads)[:, None]  # (H, T, T, d)
        gathered = found[number, "gathered"]
        if layout.norm:
            norm = layers[number].get_submodule(layout.norm)
            weight = 1 + norm.weight if "Gemma" in type(norm).__name__ else norm.weight
            eps = getattr(norm, "eps", None) or norm.variance_epsilon
            root = (gathered.square().mean(-1, keepdim=True) + eps).sqrt()  # of the sum, for every part
            added = added * weight / root[:, None]
        stream = found[number, "stream"]
        y = found[number, "sum"] if layout.after else stream + layout.scale * gathered
        streams.append(stream)
        sums.append(y)
        parts.append(layout.scale * added)
    return naive_contribution_flow(streams, sums, parts, target), (streams, sums, parts)


CASES = {
    **{name: (lambda name=name: tiny_model(name), LAYOUTS[name]) for name in CONFIGS},
    **{name: (lambda one=one: tiny_model(one[0], **one[1]), OTHER_LAYOUTS[name]) for name, one in OTHERS.items()},
    **{name: (lambda kind=name, one=one: other_model(kind, one[0]), one[1]) for name, one in UNNAMED.items()},
}


@pytest.mark.parametrize("name", CASES)
def test_equals_the_loop_over_the_models_own_sums(name):
    make, layout = CASES[name]
    model = make().double()
    lm = CausalLM(model)
    ids = torch.randperm(90, generator=torch.Generator().manual_seed(1))[:LENGTH]
    with lm.lock, lm.restored(), lm.ready():
        trace = trace_of(lm, lm.embed(ids), 3, residuals=True)
        found = contribution_flow(trace.layers, trace.output_positions)
        naive = [oracle(model, layout, trace, ids, int(p)) for p in trace.output_positions]
        biases = [layer.bias() for layer in trace.layers]
    torch.testing.assert_close(found, torch.stack([flow for flow, _ in naive]), rtol=1e-6, atol=1e-9)
    assert (found >= 0).all()
    torch.testing.assert_close(found.sum(-1), torch.ones(3, dtype=torch.float64))
    # norms compute in float32; the parts of the oracle make up the model's own sums, but for biases of the projection
    for stream, y, parts, bias in zip(*naive[0][1], biases, strict=True):
        torch.testing.assert_close(stream + parts.sum((0, 2)) + layout.scale * bias, y, rtol=1e-5, atol=2e-7)


@pytest.mark.parametrize("threshold", [0.02, 0.04, 0.1, 0.3, 0.6])
@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma2", "gpt_neox", "gpt_oss"])
def test_equals_routes_followed_one_by_one(name, threshold):
    make, layout = CASES[name]
    model = make().double()
    lm = CausalLM(model)
    ids = torch.randperm(90, generator=torch.Generator().manual_seed(1))[:LENGTH]
    with lm.lock, lm.restored(), lm.ready():
        trace = trace_of(lm, lm.embed(ids), 2, residuals=True)
        found = contribution_flow(trace.layers, trace.output_positions, threshold=threshold)
        whole = contribution_flow(trace.layers, trace.output_positions)
        naive = [
            naive_flow_routes(*oracle(model, layout, trace, ids, int(p))[1], int(p), threshold)
            for p in trace.output_positions
        ]
    torch.testing.assert_close(found, torch.stack(naive), rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(found.sum(-1), torch.ones(2, dtype=torch.float64))
    assert (found - whole).abs().max() > 1e-4  # edges are left out


def test_where_no_edge_is_important_the_residual_stream_is_followed():
    model = tiny_model("llama")
    lm = CausalLM(model)
    with lm.lock, lm.restored(), lm.ready():
        trace = trace_of(lm, lm.embed(torch.arange(LENGTH)), 1, residuals=True)
        (found,) = contribution_flow(trace.layers, trace.output_positions, threshold=0.999)
    assert found.tolist() == [0.0] * (LENGTH - 1) + [1.0]


def test_what_is_not_finite_is_told_and_not_left_out():
    lm = CausalLM(tiny_model("llama"))
    with lm.lock, lm.restored(), lm.ready():
        trace = trace_of(lm, lm.embed(torch.arange(LENGTH)), 1, residuals=True)
        trace.layers[-1].residual.stream[-1, 0] = torch.nan
        for threshold in (0, 0.04):
            with pytest.raises(ValueError, match="What arrives at the target is not finite"):
                contribution_flow(trace.layers, trace.output_positions, threshold=threshold)
