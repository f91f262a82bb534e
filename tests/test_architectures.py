"""Every term on every supported architecture, against the slow reference, in float64."""

from types import SimpleNamespace

import pytest
import torch

from captum_heta.features import Features
from captum_heta.models import Batch, CausalLM, trace_of
from captum_heta.models.families import decoder_layers
from captum_heta.options import CurvatureOptions
from captum_heta.terms.curvature import curvature
from captum_heta.terms.curvature.estimators import draw_probes
from captum_heta.terms.information import Masking, information
from captum_heta.terms.semantic_flow import semantic_flow
from captum_heta.testing import reference
from captum_heta.testing.architectures import CONFIGS, VOCAB_SIZE, tiny_model

TOLERANCE = 1e-5  # eager attention takes its softmax in float32 whatever the weights are
LENGTH, OUTPUTS, SAMPLES = 9, 3, 2
# single tokens, groups of neighbours and of others, and a token (6) in no feature
FEATURES = Features(((0,), (1, 2), (3, 7), (4,), (5,), (8,)))


def relative_error(value, expected):
    return ((value - expected).abs().max() / expected.abs().max()).item()


@pytest.fixture(scope="module", params=CONFIGS)
def case(request):
    ids = torch.randint(VOCAB_SIZE, (LENGTH,), generator=torch.Generator().manual_seed(1))
    outputs = torch.tensor([3, 7, 9])
    lm = CausalLM(tiny_model(request.param).double())
    embeds = lm.embed(torch.cat([ids, outputs[:-1]]))
    with lm.ready():
        trace = trace_of(lm, embeds, OUTPUTS)
        # the reference gets a model of its own, which keeps transformers' default attention
        yield SimpleNamespace(lm=lm, trace=trace, outputs=outputs, plain=tiny_model(request.param).double())


def test_predictions_are_the_models_own(case):
    logits = reference.all_logits(case.plain, case.trace.embeds)[-OUTPUTS:]
    assert relative_error(case.trace.log_probs, logits.log_softmax(-1)) < TOLERANCE


def test_attention_and_values_make_the_input_of_the_output_projection(case):
    inputs = []
    hooks = [
        layer.projection.register_forward_pre_hook(lambda _, args: inputs.append(args[0][0]))
        for layer in case.trace.layers
    ]
    case.trace.rerun(case.trace.embeds[None], 0, keep=1)
    for hook in hooks:
        hook.remove()
    assert len(inputs) == len(case.trace.layers)
    for layer, mixed in zip(case.trace.layers, inputs, strict=True):
        attention = reference.whole_attention(layer)
        values = layer.values.repeat_interleave(len(attention) // len(layer.values), dim=0)
        assert relative_error((attention @ values).transpose(0, 1).flatten(1), mixed) < TOLERANCE


def test_gate_equals_triple_loop(case):
    # GPT-2 alone keeps W_O as (inputs, outputs)
    transposed = case.plain.config.model_type == "gpt2"
    mixers = [layer.projection.weight if transposed else layer.projection.weight.T for layer in case.trace.layers]
    flow = semantic_flow(case.trace.layers, case.trace.output_positions)
    expected = [reference.naive_semantic_flow(case.trace.layers, int(p), mixers) for p in case.trace.output_positions]
    assert relative_error(flow, torch.stack(expected)) < TOLERANCE


def test_trace_in_pieces_is_the_same(case, monkeypatch):
    monkeypatch.setattr("captum_heta.models.causal_lm.query_rows", lambda *_: 4)
    pieces = trace_of(case.lm, case.trace.embeds, OUTPUTS)
    assert [start for start, _ in pieces.layers[0].weights()] == [0, 4, 8]
    assert relative_error(pieces.log_probs, case.trace.log_probs) < TOLERANCE
    flow = semantic_flow(pieces.layers, pieces.output_positions)
    assert relative_error(flow, semantic_flow(case.trace.layers, case.trace.output_positions)) < TOLERANCE


def test_information_equals_one_masked_forward_a_feature(case):
    masked = case.trace.embeds.mean(0).expand_as(case.trace.embeds)
    found = information(case.trace, FEATURES, Masking(masked, Batch(4)))
    expected = reference.naive_information(case.plain, case.trace.embeds, OUTPUTS, FEATURES.groups, masked)
    assert relative_error(found, expected) < TOLERANCE


def test_exact_curvature_equals_dense_hessian(case):
    options = CurvatureOptions(curvature="exact", n_samples=SAMPLES, seed=5)
    found = curvature(case.trace, FEATURES, case.outputs.tolist(), options, Batch(3)).scores
    for output in (0, OUTPUTS - 1):
        embeds = case.trace.embeds[: LENGTH + output]
        hessian = reference.dense_hessian(case.plain, embeds, int(case.outputs[output]))
        probes = torch.zeros(SAMPLES, *embeds.shape, dtype=torch.float64)
        groups = [FEATURES.groups[i] for i in FEATURES.by_first_token]
        varied = sorted(token for group in groups for token in group)
        probes[:, varied] = draw_probes(groups, SAMPLES, embeds, torch.Generator().manual_seed(5))
        expected = reference.dense_curvature(hessian, FEATURES.groups, probes)
        assert relative_error(found[output], expected) < TOLERANCE


@pytest.mark.parametrize("mode", ["low_rank", "gauss_newton", "fisher"])
def test_other_modes_equal_dense_matrices(case, mode):
    embeds, target = case.trace.embeds[:LENGTH], int(case.outputs[0])
    everything = embeds.numel()
    features = Features(tuple((token,) for token in range(LENGTH)))
    settled = {"tolerance": 0} if mode == "low_rank" else {}
    options = CurvatureOptions(curvature=mode, n_samples=SAMPLES, rank=everything, coverage=1.0, **settled)
    trace = trace_of(case.lm, embeds, 1)
    found = curvature(trace, features, [target], options, Batch(64)).scores[0]
    if mode == "low_rank":
        matrix = reference.dense_hessian(case.plain, embeds, target)
    else:
        matrix = reference.dense_fisher(case.plain, embeds)
    probes = draw_probes(features.groups, SAMPLES, embeds, torch.Generator().manual_seed(0))
    assert relative_error(found, reference.dense_curvature(matrix, features.groups, probes)) < 1e-4


@pytest.mark.parametrize("last", [1, 2])
def test_last_layers_equal_the_dense_hessian_of_their_inputs(case, last):
    embeds, target = case.trace.embeds[:LENGTH], int(case.outputs[0])
    options = CurvatureOptions(curvature="exact", n_samples=SAMPLES, last_n_layers=last)
    found = curvature(case.trace, Features.of_tokens(range(LENGTH)), [target] * OUTPUTS, options, Batch(64)).scores[0]
    layer = decoder_layers(case.plain, 2)[2 - last]
    matrix = reference.dense_hessian_entering(case.plain, layer, embeds, target)
    width = matrix.shape[1]
    probes = draw_probes(
        [[i] for i in range(LENGTH)], SAMPLES, embeds.new_zeros(LENGTH, width), torch.Generator().manual_seed(0)
    )
    assert relative_error(found, reference.dense_curvature(matrix, [[i] for i in range(LENGTH)], probes)) < TOLERANCE


@pytest.mark.parametrize(("mode", "last"), [("exact", None), ("exact", 1), ("gauss_newton", 1), ("fisher", None)])
def test_layer_by_layer_is_the_same(case, mode, last, monkeypatch):
    options = CurvatureOptions(curvature=mode, n_samples=SAMPLES, last_n_layers=last)
    arguments = (case.trace, FEATURES, case.outputs.tolist(), options, Batch(3))
    together = torch.linspace(0.5, 2, len(case.outputs))
    expected = curvature(*arguments).scores, curvature(*arguments, together=together).scores
    monkeypatch.setattr("captum_heta.models.causal_lm.graph_fits", lambda *_: False)
    assert relative_error(curvature(*arguments).scores, expected[0]) < TOLERANCE
    assert relative_error(curvature(*arguments, together=together).scores, expected[1]) < TOLERANCE


@pytest.mark.parametrize("start", range(1, LENGTH + OUTPUTS - 1, 3))
def test_suffix_behind_the_cached_prefix_equals_the_whole(case, start):
    whole = case.trace.rerun(case.trace.embeds[None], 0, keep=1)
    suffix = case.trace.rerun(case.trace.embeds[None, start:], start, keep=1)
    assert relative_error(suffix, whole) < TOLERANCE


def test_left_padded_prompts_are_explained_as_the_model_reads_them(case):
    # a padded batch through the model itself, with the position ids that generate() gives it
    from captum_heta import HETA

    model = tiny_model(case.plain.config.model_type)
    rows = [torch.randint(2, VOCAB_SIZE, (length,)) for length in (8, 5)]
    ids = torch.stack([torch.cat([torch.zeros(8 - len(row), dtype=torch.long), row]) for row in rows])
    mask = torch.stack([torch.cat([torch.zeros(8 - len(row), dtype=torch.long), torch.ones_like(row)]) for row in rows])
    arguments = {"attention_mask": mask}
    if CausalLM(model).takes_position_ids:
        arguments["position_ids"] = (mask.cumsum(-1) - 1).clamp(min=0)
    with torch.no_grad():
        own = model(ids, **arguments).logits[:, -1].argmax(-1)
    heta = HETA(model)
    scores = heta.attribute(ids, additional_forward_args=mask, n_samples=1)
    assert (scores[mask == 0] == 0).all()
    for i, row in enumerate(rows):
        alone = heta.attribute(row[None], target=int(own[i]), n_samples=1)
        torch.testing.assert_close(scores[i, -len(row) :], alone[0])
