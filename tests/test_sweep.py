"""Every model type: right numbers, an approximation that is told, or a TypeError or ValueError; nothing else."""

import sys

import pytest

from captum_heta.testing import sweep
from captum_heta.testing.every_model import KINDS

# one of each kind: attention, its variants, what is beside it or in its place
REPRESENTATIVES = (
    *("gpt2", "llama", "mixtral", "gpt_oss", "bart", "whisper", "gemma3n_text", "gemma4_text", "diffllama"),
    *("mamba", "rwkv", "falcon_h1", "olmo_hybrid", "minimax", "zaya", "xlnet", "bert"),
    *("deepseek_v3", "glm_moe_dsa", "longcat_flash", "qwen3_next", "lfm2_moe", "granitemoehybrid", "nemotron_h"),
)
PICTURES = (
    *("llava", "qwen2_vl", "qwen3_vl_moe", "glm4v_moe", "kosmos-2.5", "paligemma", "blip-2", "idefics", "aria"),
    *("qwen3_5_moe", "kimi_k25", "mistral3", "llama4", "git", "evolla"),
)
# vision: layers of pictures beside as many of text, several streams, logits that are written into, parts
RIGHT = {
    "causal": ("gpt2", "llama", "falcon", "bloom", "opt", "deepseek_v3", "lfm2", "mamba"),
    "vision": ("deepseek_ocr2", "glm5_next", "chameleon", "nemotron_h_omni", "fast_vlm"),
}
FINE = (sweep.RIGHT, sweep.APPROXIMATE, sweep.REFUSED, sweep.NOT_BUILT)


def check(row):
    assert row.result in FINE, row
    assert sweep.CRASH not in row.others, row
    assert sweep.WRONG not in row.others, row


@pytest.mark.parametrize(
    ("kind", "model_type"),
    [*(("causal", name) for name in REPRESENTATIVES), *(("vision", name) for name in PICTURES)],
)
def test_representatives(kind, model_type):
    if model_type not in KINDS[kind]:
        pytest.skip(f"no {model_type} in the transformers that is installed")
    check(sweep.swept(kind, model_type))


@pytest.mark.sweep
@pytest.mark.parametrize(("kind", "model_type"), [(kind, name) for kind, names in KINDS.items() for name in names])
def test_every_model_type(kind, model_type):
    check(sweep.swept(kind, model_type))


@pytest.mark.parametrize(("kind", "model_type"), [(kind, name) for kind, names in RIGHT.items() for name in names])
def test_what_was_right_stays_right(kind, model_type):
    if model_type not in KINDS[kind]:
        pytest.skip(f"no {model_type} in the transformers that is installed")
    row = sweep.swept(kind, model_type)
    assert row.result == sweep.RIGHT, row


def test_a_wrong_number_is_found(monkeypatch):
    monkeypatch.setattr(sweep, "information", lambda model, ids: 2 * sweep.curvature(model, ids))
    assert sweep.swept("causal", "llama").result == sweep.WRONG


def test_a_model_that_is_left_changed_is_found(monkeypatch):
    heta = sweep._heta

    def leave(model, plain):
        model.train()
        return heta(model, plain)

    monkeypatch.setattr(sweep, "_heta", leave)
    assert sweep.swept("causal", "llama").note == "the model is left changed"


def test_the_command_prints_a_table(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["sweep", "--kind", "causal", "gpt2", "xlnet"])
    sweep.main()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "| kind | model type | HETA | why | other methods | seconds |"
    assert lines[2].startswith("| causal | gpt2 | right |  | right |")
    assert lines[3].startswith("| causal | xlnet | refused | UnfitModelError: XLNetLMHeadModel is not causal")
    assert lines[-1] == "causal: refused 1, right 1"
