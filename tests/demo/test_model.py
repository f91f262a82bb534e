from pathlib import Path

import torch
from transformers import LlamaForCausalLM

import captum_heta.demo
from captum_heta.demo import examples, load_model
from captum_heta.demo.train import held_out

FOLDER = Path(captum_heta.demo.__file__).parent / "model"


def test_is_an_ordinary_llama_with_grouped_heads(demo):
    model, tokenizer = demo
    assert type(model) is LlamaForCausalLM
    assert tokenizer.is_fast
    assert model.config.num_key_value_heads < model.config.num_attention_heads
    assert not model.training
    assert model.dtype == torch.float32


def test_loads_in_silence_and_leaves_the_global_state(capfd):
    state = torch.get_rng_state()
    load_model()
    assert torch.equal(torch.get_rng_state(), state)
    assert capfd.readouterr() == ("", "")


def test_is_small():
    assert (FOLDER / "model.safetensors").stat().st_size <= 4_000_000
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) <= 4_500_000


def test_answers_held_out_questions(demo):
    accuracy, confidence = held_out(*demo, count=200, seed=1)
    assert accuracy >= 0.95
    assert confidence >= 0.9


def test_card_states_the_accuracy_that_is_measured(demo):
    accuracy, _ = held_out(*demo, count=1000, seed=0)
    assert f"Held-out accuracy: {accuracy:.3f}" in (FOLDER / "README.md").read_text()


def test_stops_after_the_answer(demo):
    model, tokenizer = demo
    for item in examples(5):
        ids = torch.tensor([tokenizer.encode(item.prompt)])
        with torch.no_grad():
            answer = model.generate(ids, max_new_tokens=8, do_sample=False)[0, ids.shape[1] :]
        assert tokenizer.decode(answer) == f"{item.target}.{tokenizer.eos_token}"


def test_every_answer_is_one_token(demo):
    _, tokenizer = demo
    assert all(len(tokenizer.encode(item.target, add_special_tokens=False)) == 1 for item in examples(200))


def test_every_text_has_tokens(demo):
    _, tokenizer = demo
    text = "Zoë wrote: 你好 🎉"
    assert tokenizer.decode(tokenizer.encode(text), skip_special_tokens=True).strip() == text
