"""Prompts with a real picture, against whole passes by token ids and pixels whose merged embeddings are replaced."""

import warnings
from types import SimpleNamespace

import pytest
import torch

from captum_heta import HETA
from captum_heta.attr import AttentionRollout, GradientNorm, LastAttention
from captum_heta.attr.sequences import TaskSequence
from captum_heta.attr.task import Task
from captum_heta.features import Features
from captum_heta.models import CausalLM, Media, merged
from captum_heta.terms.curvature.estimators import draw_probes
from captum_heta.testing import reference
from captum_heta.testing.architectures import tiny_model
from captum_heta.testing.pictures import WithMedia, with_picture

TOLERANCE = 1e-5
BEFORE, AFTER, OUTPUTS = [42, 51], [63, 44, 70], [45, 60]
# one position a token; one axis for time, height and width each; a picture in a dimension of its own; one whose parts
# see each other; one of which features are added in a deeper layer
NAMES = ("llava", "qwen2_vl", "smolvlm", "gemma3", "qwen3_vl")
pytestmark = pytest.mark.filterwarnings("ignore:The layers of Qwen3VL:UserWarning")


def relative_error(value, expected):
    return ((value - expected).abs().max() / expected.abs().max()).item()


def made(built, name):
    if name == "gemma3" and not hasattr(torch.compiler, "set_stance"):
        pytest.skip("transformers makes no such mask before torch 2.6")
    return built("vision", name)


@pytest.fixture(scope="module", params=NAMES)
def case(request, built):
    model = made(built, request.param).double()
    ids, media = with_picture(model, BEFORE, AFTER)
    media["pixel_values"] = media["pixel_values"].double()
    n, picture = ids.shape[1], tuple(range(2, ids.shape[1] - 3))
    whole = torch.cat([ids, torch.tensor([OUTPUTS[:1]])], dim=1)
    longer = {k: torch.nn.functional.pad(v, (0, 1)) if "token" in k else v for k, v in media.items()}
    plain = WithMedia(built("vision", request.param).double(), whole, longer)
    groups = ((0,), (1,), picture, *((i,) for i in range(n - 3, n)))
    return SimpleNamespace(model=model, ids=ids, media=media, n=n, groups=groups, plain=plain, embeds=plain.embeds)


def attributed(method, case, **options):
    return method.attribute_outputs(
        case.ids[0], torch.tensor(OUTPUTS), Features(case.groups), media=case.media, **options
    )


@pytest.mark.parametrize("baselines", ["zero", "mean"])
def test_information_and_falls(case, baselines):
    masked = case.embeds.clone()
    masked[: case.n] = 0 if baselines == "zero" else case.embeds[: case.n].mean(0)
    found = attributed(HETA(case.model), case, curvature="gradient", baselines=baselines)
    expected = reference.naive_information(case.plain, case.embeds, 2, case.groups, masked)
    assert relative_error(found.terms.information, expected.float()) < TOLERANCE
    assert (expected[:, 2] > 1e-3 * expected.max()).all()  # the picture does matter

    options = {"curvature": "gradient", "information": "target", "baselines": baselines}
    found = attributed(HETA(case.model), case, **options).terms.target_information
    expected = reference.naive_falls(case.plain, case.embeds, OUTPUTS, case.groups, masked)
    assert relative_error(found, expected.float()) < TOLERANCE


def test_gradient_and_exact_curvature(case):
    found = attributed(HETA(case.model), case, curvature="exact", n_samples=2, seed=5).terms.curvature
    squared = attributed(GradientNorm(case.model), case).scores
    for k, output in enumerate(OUTPUTS):
        embeds = case.embeds[: case.n + k]
        expected = reference.naive_squared_gradient(case.plain, embeds, output, case.groups)
        assert relative_error(squared[k], expected.float()) < TOLERANCE
        probes = torch.zeros(2, *embeds.shape, dtype=torch.float64)
        generator = torch.Generator().manual_seed(5)
        probes[:, : case.n] = draw_probes(case.groups, 2, embeds, generator)
        hessian = reference.dense_hessian(case.plain, embeds, output)
        expected = reference.dense_curvature(hessian, case.groups, probes)
        assert relative_error(found[k], expected.float()) < TOLERANCE


def test_attention_is_that_of_a_pass_with_the_picture(case):
    plain = case.plain.model
    plain.set_attn_implementation("eager")
    with torch.no_grad():
        attentions = [a[0] for a in plain(case.ids, **case.media, output_attentions=True).attentions]
    plain.set_attn_implementation("sdpa")
    given = {"target": OUTPUTS[0], "additional_forward_args": case.media}
    mask = torch.arange(case.n)[None]
    found = AttentionRollout(case.model).attribute(case.ids, feature_mask=mask, **given)[0]
    product = torch.eye(case.n, dtype=torch.float64)
    for layer in attentions:
        product = (layer.mean(0) + torch.eye(case.n)) / 2 @ product
    assert relative_error(found, product[-1].float()) < TOLERANCE
    found = LastAttention(case.model).attribute(case.ids, feature_mask=mask, **given)[0]
    assert relative_error(found, attentions[-1][:, -1].mean(0).float()) < TOLERANCE


def test_gate_by_a_loop_over_every_path(case):
    lm = CausalLM(case.model)
    task = Task(case.ids[0], torch.tensor(OUTPUTS[:1]), Features(case.groups), media=Media(case.media))
    with lm.lock, lm.restored(), lm.ready():
        trace = TaskSequence(lm, task, range(1)).traced()
        mixers = [layer.projection.weight.T for layer in trace.layers]
        expected = reference.naive_semantic_flow(trace.layers, case.n - 1, mixers)
    found = attributed(HETA(case.model), case, curvature="gradient").terms.semantic_flow[0]
    assert relative_error(found, task.features.sum(expected).float()) < TOLERANCE


def test_predictions_and_the_models_own_choice(case):
    with torch.no_grad():
        logits = case.plain.model(case.ids, **case.media).logits[0, -1]
    found = attributed(HETA(case.model), case, curvature="gradient").log_probs[0]
    assert abs(found - logits.log_softmax(-1)[OUTPUTS[0]]) < TOLERANCE
    given = {"additional_forward_args": case.media, "curvature": "gradient"}
    own, chosen = (HETA(case.model).attribute(case.ids, target=t, **given) for t in (None, int(logits.argmax())))
    torch.testing.assert_close(own, chosen)


@pytest.mark.parametrize("form", ["a mapping", "the end of a tuple", "padded"])
def test_forms_of_what_is_passed(case, form):
    plain = HETA(case.model).attribute(case.ids, target=45, additional_forward_args=case.media, curvature="gradient")
    assert len(plain[0, 2 : case.n - 3].unique()) == 1  # the picture is one feature
    ids, media = case.ids, case.media
    if form == "the end of a tuple":
        given = (torch.ones_like(ids), media)
    else:
        pad = 2 * (form == "padded")
        ids = torch.nn.functional.pad(ids, (pad, 0))
        given = {k: torch.nn.functional.pad(v, (pad, 0)) if "token" in k else v for k, v in media.items()}
        given["attention_mask"] = (torch.arange(case.n + pad) >= pad).long()[None]
        plain = torch.nn.functional.pad(plain, (pad, 0))
    found = HETA(case.model).attribute(ids, target=45, additional_forward_args=given, curvature="gradient")
    torch.testing.assert_close(found, plain)


def test_the_model_comes_back_as_it_was(case):
    before = {name: dict(vars(module)) for name, module in case.model.named_modules()}
    HETA(case.model).attribute(case.ids, additional_forward_args=case.media, curvature="gradient")
    for name, module in case.model.named_modules():
        for key, value in vars(module).items():
            assert value is before[name][key] or value == before[name][key], (name, key)


def test_what_does_not_fit(built):
    model = built("vision", "qwen2_vl")
    ids, media = with_picture(model, BEFORE, AFTER)
    heta = HETA(model)
    for given, message in [
        ({"pixel": media["pixel_values"]}, "has 'pixel'; it takes attention_mask and position_ids, and what Qwen2VL"),
        ({"pixel_values": "photo.jpg"}, "has 'pixel_values' of type str, not a tensor"),
        ((torch.ones_like(ids), media | {"attention_mask": ids}), "attention_mask twice"),
    ]:
        with pytest.raises(ValueError, match=message):
            heta.attribute(ids, target=45, additional_forward_args=given)
    with pytest.raises(ValueError, match="2 prompts with pixel_values"):
        heta.attribute(ids.expand(2, -1), target=45, additional_forward_args={"pixel_values": media["pixel_values"]})
    given = {"token_type_ids": torch.ones(1, 2, dtype=torch.long)}
    with pytest.raises(ValueError, match=r"token_type_ids must have .* 3 tokens .* got \(1, 2\)"):
        HETA(tiny_model("gpt2")).attribute(torch.tensor([[3, 4, 5]]), target=3, additional_forward_args=given)


def test_curvature_of_the_last_layer(case):
    found = attributed(HETA(case.model), case, curvature="exact", n_samples=2, last_n_layers=1).terms.curvature[0]
    embeds, layer = case.embeds[: case.n], CausalLM(case.plain.model).layer(1)
    hessian = reference.dense_hessian_entering(case.plain, layer, embeds, OUTPUTS[0])
    probes = draw_probes(case.groups, 2, embeds, torch.Generator().manual_seed(0))
    expected = reference.dense_curvature(hessian, case.groups, probes)
    assert relative_error(found, expected.float()) < TOLERANCE


@pytest.mark.parametrize("way", ["graph_fits", "query_rows"])
def test_a_prompt_that_is_long_for_the_memory(case, way, monkeypatch):
    options = {"curvature": "exact", "n_samples": 2}
    whole = attributed(HETA(case.model), case, **options)
    # layer by layer, or in pieces of four tokens, the picture cut in two
    monkeypatch.setattr(f"captum_heta.models.causal_lm.{way}", lambda *_: 4 if way == "query_rows" else False)
    found = attributed(HETA(case.model), case, **options)
    for one, other in zip(found.terms, whole.terms, strict=True):
        assert relative_error(one, other) < TOLERANCE


@pytest.mark.parametrize("name", NAMES)
def test_media_are_read_again_only_where_the_layers_read_more_of_them(name, built):
    model = made(built, name)
    ids, media = with_picture(model, BEFORE, AFTER)
    lm = CausalLM(model)
    with lm.lock, lm.restored(), lm.ready(), warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        read = merged(lm, ids[0], Media(media))
    assert (read.rereading is None) == (name in ("llava", "qwen2_vl", "smolvlm"))
    assert (read.position_ids is None) == (name in ("llava", "smolvlm", "gemma3"))
    told = [str(one.message) for one in said if "scores of a picture are of its embeddings alone" in str(one.message)]
    assert len(told) == (name == "qwen3_vl")


def test_what_is_beside_the_text_and_no_embedding_is_refused(built):
    gpt2 = tiny_model("gpt2")
    ids = torch.tensor([[3, 4, 5]])
    with pytest.raises(TypeError, match="GPT2LMHeadModel does not hand its text and pictures to GPT2Model as one"):
        HETA(gpt2).attribute(ids, target=3, additional_forward_args={"token_type_ids": torch.ones_like(ids)})
    model = built("vision", "gemma4")
    given = {"pixel_values": torch.zeros(1, 3, 8, 8)}
    with pytest.raises(TypeError, match="layers of Gemma4ForConditionalGeneration read the token ids"):
        HETA(model).attribute(torch.tensor([[42, 51, 63]]), target=45, additional_forward_args=given)
