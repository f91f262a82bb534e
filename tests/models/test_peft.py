"""Adapters of peft: those that change weights are part of the model, soft prompts are no tokens."""

import pytest
import torch

from captum_heta import HETA
from captum_heta.attr import TDD, AttentionRollout, AttnLRP, ContextCite, NormXLogit, Peering, ReAGent
from captum_heta.testing.architectures import tiny_model

peft = pytest.importorskip("peft")
# peft's own, when it makes an adapter
pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
IDS = torch.tensor([[2, 5, 9, 23, 7, 9, 41, 3]])


def lora():
    torch.manual_seed(0)
    config = peft.LoraConfig(r=4, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM", init_lora_weights=False)
    return peft.get_peft_model(tiny_model("llama"), config).eval()


@pytest.mark.parametrize("method", [HETA, AttentionRollout, AttnLRP, NormXLogit, Peering, TDD, ReAGent, ContextCite])
def test_lora_is_the_merged_model(method):
    merged = lora().merge_and_unload()
    torch.testing.assert_close(
        method(lora()).attribute(IDS, target=5), method(merged).attribute(IDS, target=5), rtol=1e-4, atol=1e-5
    )


def test_lora_at_other_positions():
    positions = {"position_ids": torch.arange(0, 24, 3)[None]}
    found = HETA(lora()).attribute(IDS, target=5, additional_forward_args=positions)
    merged = HETA(lora().merge_and_unload())
    torch.testing.assert_close(
        found, merged.attribute(IDS, target=5, additional_forward_args=positions), rtol=1e-4, atol=1e-5
    )
    assert not torch.allclose(found, merged.attribute(IDS, target=5), rtol=1e-2)


@pytest.mark.parametrize("config", ["PromptTuningConfig", "PrefixTuningConfig", "PromptEncoderConfig"])
@pytest.mark.parametrize("method", [HETA, AttentionRollout, NormXLogit, Peering, TDD, ReAGent, ContextCite])
def test_soft_prompts_are_refused(config, method):
    settings = getattr(peft, config)(task_type="CAUSAL_LM", num_virtual_tokens=4)
    model = peft.get_peft_model(tiny_model("llama"), settings)
    with pytest.raises(TypeError, match=f"soft prompt before every text \\({config}\\).*get_base_model.*merged"):
        method(model)


def test_vectors_before_the_text_are_found_without_peft():
    model = tiny_model("llama")
    forward = model.forward

    def prompted(input_ids=None, inputs_embeds=None, **named):
        embeds = model.get_input_embeddings()(input_ids) if inputs_embeds is None else inputs_embeds
        return forward(inputs_embeds=torch.cat([torch.ones_like(embeds[:, :2]), embeds], dim=1), **named)

    model.forward = prompted
    with pytest.raises(TypeError, match="gives \\(2, 14, 97\\) numbers for two texts of 12 tokens"):
        TDD(model).attribute(IDS, target=5)
