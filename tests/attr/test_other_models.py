"""Models whose layers carry tokens on by more than plain attention, in the ways that people call them."""

import accelerate
import peft
import pytest
import torch

from captum_heta import HETA, TargetedHETA
from captum_heta.attr import AttentionRollout, GradientNorm, LastAttention
from captum_heta.features import Features

IDS = torch.tensor([[42, 51, 63, 44, 70, 58]])
HYBRID, LATENT, STATES = "qwen3_next", "deepseek_v3", "mamba"
NAMES = (HYBRID, LATENT, STATES, "lfm2")


@pytest.mark.parametrize("kind", [HETA, TargetedHETA])
@pytest.mark.parametrize("name", NAMES)
def test_several_outputs_are_as_each_after_those_before_it(name, kind, built):
    model = built("causal", name)
    outputs, features = torch.tensor([45, 60, 52]), Features.of_tokens(range(6))
    options = {"curvature": "gradient"}
    together = kind(model).attribute_outputs(IDS[0], outputs, features, **options).scores
    for k, output in enumerate(outputs):
        ids = torch.cat([IDS[0], outputs[:k]])
        alone = kind(model).attribute_outputs(ids, output[None], features, **options).scores
        torch.testing.assert_close(together[k], alone[0], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_left_padding_is_no_token(name, built):
    model = built("causal", name)
    padded = torch.cat([torch.zeros(1, 3, dtype=torch.long), IDS], dim=1)
    mask = (torch.arange(9) >= 3).long()[None]
    options = {"target": 45, "curvature": "fisher"}
    found = HETA(model).attribute(padded, additional_forward_args={"attention_mask": mask}, **options)
    torch.testing.assert_close(found[:, 3:], HETA(model).attribute(IDS, **options))


@pytest.mark.parametrize("kind", [HETA, TargetedHETA])
@pytest.mark.parametrize("name", NAMES)
def test_padded_batches_are_explained_row_by_row(name, kind, built):
    method = kind(built("causal", name))
    padding = torch.zeros(2, dtype=torch.long)
    batch = torch.stack([IDS[0], torch.cat([padding, IDS[0, :4]]), torch.cat([IDS[0, :4], padding])])
    mask = torch.tensor([[1] * 6, [0] * 2 + [1] * 4, [1] * 4 + [0] * 2])
    options = {"curvature": "fisher"}
    found = method.attribute(batch, target=[45, 60, 60], additional_forward_args={"attention_mask": mask}, **options)
    torch.testing.assert_close(found[:1], method.attribute(IDS, target=45, **options))
    shorter = method.attribute(IDS[:, :4], target=60, **options)
    torch.testing.assert_close(
        found[1:], torch.stack([torch.cat([padding, shorter[0]]), torch.cat([shorter[0], padding])])
    )


# peft's own, when it makes an adapter
@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
@pytest.mark.parametrize("name", [HYBRID, LATENT])
def test_an_adapter_is_part_of_the_model(name, built):
    model = built("causal", name)
    adapting = {"o_proj", "out_proj", "in_proj_qkvz", "kv_b_proj"}  # of attention, and of what stands for it
    named = {part.rpartition(".")[2] for part, _ in model.named_modules()}
    config = peft.LoraConfig(r=4, target_modules=sorted(adapting & named), init_lora_weights=False)
    torch.manual_seed(0)
    adapted = peft.get_peft_model(model, config).eval()
    found = HETA(adapted).attribute(IDS, target=45, curvature="fisher", rank=100, coverage=1.0)
    merged = adapted.merge_and_unload()
    expected = HETA(merged).attribute(IDS, target=45, curvature="fisher", rank=100, coverage=1.0)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", [HYBRID, LATENT])
def test_weights_that_are_brought_in_for_a_call(name, built):
    options = {"target": 45, "curvature": "fisher", "rank": 1000, "coverage": 1.0}
    expected = HETA(built("causal", name)).attribute(IDS, **options)
    model = accelerate.cpu_offload(built("causal", name), execution_device=torch.device("cpu"))
    torch.testing.assert_close(HETA(model).attribute(IDS, **options), expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", [HYBRID, LATENT])
def test_bfloat16_says_nearly_the_same(name, built):
    terms = [
        HETA(model).attribute(IDS, target=45, curvature="fisher", return_terms=True)[1]
        for model in (built("causal", name), built("causal", name).bfloat16())
    ]
    for one, other in zip(*terms, strict=True):
        assert (one - other).abs().max() < 0.1 * one.abs().max()


def test_what_needs_no_attention_and_what_does(built):
    model = built("causal", STATES)
    rollout = AttentionRollout(model).attribute(IDS, target=45)
    torch.testing.assert_close(rollout.sum(-1), torch.ones(1))
    assert (GradientNorm(model).attribute(IDS, target=45) > 0).all()
    with pytest.raises(TypeError, match="MambaForCausalLM .* has no attention that can be read: AttentionRollout"):
        LastAttention(model).attribute(IDS, target=45)


def test_two_attentions_in_a_layer_are_two_layers(built):
    model = built("causal", "longcat_flash")
    assert (HETA(model).attribute(IDS, target=45, curvature="gradient") > 0).all()
    with pytest.raises(TypeError, match=r"LongcatFlashForCausalLM adds .* in layer\(s\) \[0, .*flow='attention'"):
        TargetedHETA(model).attribute(IDS, target=45)


def test_layers_that_return_lists_can_be_run_one_by_one(built, monkeypatch):
    model = built("causal", "openai-gpt")
    whole = HETA(model).attribute(IDS, target=45, curvature="fisher")
    assert TargetedHETA(model).attribute(IDS, target=45).sum().item() == pytest.approx(1, abs=1e-5)
    monkeypatch.setattr("captum_heta.models.causal_lm.graph_fits", lambda *_: False)
    torch.testing.assert_close(HETA(model).attribute(IDS, target=45, curvature="fisher"), whole)
