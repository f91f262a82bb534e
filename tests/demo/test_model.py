from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, GPTNeoXForCausalLM, LlamaForCausalLM

import captum_heta.demo
from captum_heta.demo import FOLDERS, MODELS, chains, examples, load_model
from captum_heta.demo.measured import held_out, held_out_chains

FACTS = ("llama", "gpt_neox")  # which answer questions about one fact
FOLDER = Path(captum_heta.demo.__file__).parent


@pytest.fixture(scope="module", params=MODELS)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def embedded(name):
    return load_model(name)


@pytest.fixture(scope="module")
def chain_model():
    return load_model("chain")


def test_is_an_ordinary_model_in_float32(name, embedded):
    model, tokenizer = embedded
    kind = {"llama": LlamaForCausalLM, "gpt_neox": GPTNeoXForCausalLM, "chain": LlamaForCausalLM}[name]
    assert type(model) is kind
    assert model.config.model_type == kind.config_class.model_type
    assert tokenizer.is_fast
    assert not model.training
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}


def test_the_first_is_a_llama_with_grouped_heads(demo):
    model, _ = demo
    assert type(model) is LlamaForCausalLM
    assert model.config.num_key_value_heads < model.config.num_attention_heads


def test_the_second_is_otherwise_in_all_that_matters_to_attention(demo):
    """Biases, norms with a mean, one matrix of queries, keys and values, an output matrix of its own."""
    first, second = demo[0], load_model("gpt_neox")[0]
    assert type(first.model.norm) is not type(second.gpt_neox.final_layer_norm)
    assert second.config.use_parallel_residual
    assert not second.config.tie_word_embeddings
    assert second.gpt_neox.layers[0].attention.query_key_value.bias is not None
    assert first.config.vocab_size == second.config.vocab_size


def test_an_unknown_name_is_refused():
    with pytest.raises(ValueError, match="no embedded model 'gpt2'; there are llama, gpt_neox, chain"):
        load_model("gpt2")


def test_results_name_the_model():
    assert load_model()[0].config.name_or_path == "captum_heta.demo"
    assert load_model("gpt_neox")[0].config.name_or_path == "captum_heta.demo.gpt_neox"
    assert load_model("chain")[0].config.name_or_path == "captum_heta.demo.chain"


def test_loads_in_silence_and_leaves_the_global_state(name, capfd):
    state = torch.get_rng_state()
    load_model(name)
    assert torch.equal(torch.get_rng_state(), state)
    assert capfd.readouterr() == ("", "")


def test_loads_the_same_every_time(name, embedded):
    torch.testing.assert_close(load_model(name)[0].state_dict(), embedded[0].state_dict(), rtol=0, atol=0)


def test_its_folder_loads_as_any_other(name, embedded):
    other = AutoModelForCausalLM.from_pretrained(FOLDER / FOLDERS[name], local_files_only=True)
    assert other.dtype == torch.float32
    torch.testing.assert_close(other.state_dict(), embedded[0].state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("name", "most"), [("llama", 4_000_000), ("gpt_neox", 2_000_000), ("chain", 2_000_000)], scope="module"
)
def test_is_small(name, most):
    folder = FOLDER / FOLDERS[name]
    assert (folder / "model.safetensors").stat().st_size <= most
    assert sum(file.stat().st_size for file in folder.iterdir()) <= most + 500_000


@pytest.mark.parametrize("which", FACTS)
def test_answers_held_out_questions(which):
    accuracy, confidence = held_out(*load_model(which), count=200, seed=1)
    assert accuracy >= 0.95
    assert confidence >= 0.9


@pytest.mark.parametrize("which", FACTS)
def test_card_states_the_accuracy_that_is_measured(which):
    model, tokenizer = load_model(which)
    accuracy, confidence = held_out(model, tokenizer, count=1000, seed=0)
    card = " ".join((FOLDER / FOLDERS[which] / "README.md").read_text().split())
    assert f"Held-out accuracy: {accuracy:.3f}" in card
    assert f"the mean probability of the right answer is {confidence:.3f}" in card
    assert f"{model.num_parameters():,} parameters" in card


def test_measures_are_those_of_one_pass_for_each_output(demo, chain_model):
    def read(model, tokenizer, prompt, output):
        """The logits of the output's tokens, and these."""
        ids, more = (tokenizer.encode(text, add_special_tokens=text is prompt) for text in (prompt, output))
        with torch.no_grad():
            return model(torch.tensor([ids + more])).logits[0, len(ids) - 1 : -1], torch.tensor(more)

    asked = [read(*demo, item.prompt, item.target) for item in examples(40)]
    found = held_out(*demo, count=40, seed=0)
    assert found.accuracy == sum(int(logits[0].argmax() == ids[0]) for logits, ids in asked) / 40
    expected = sum(float(logits[0].softmax(-1)[ids[0]]) for logits, ids in asked) / 40
    assert found.confidence == pytest.approx(expected, abs=1e-5)
    confidence = followed = others = 0
    for item in chains(20):
        logits, ids = read(*chain_model, item.prompt, item.reasoning + item.answer)
        confidence += float(logits.softmax(-1).gather(1, ids[:, None])[[0, -1]].prod())
        for name, place in item.others:
            logits, ids = read(*chain_model, item.prompt, f" {name}. {place}")
            followed, others = followed + int(logits[-1].argmax() == ids[-1]), others + 1
    found = held_out_chains(*chain_model, count=20, seed=0)
    assert found.confidence == pytest.approx(confidence / 20, abs=1e-5)
    assert found.followed == followed / others


def test_stops_after_the_answer(name, embedded):
    model, tokenizer = embedded
    asked = [(item.prompt, item.target) for item in examples(5)]
    if name == "chain":
        asked = [(item.prompt, item.reasoning + item.answer) for item in chains(5)]
    for prompt, output in asked:
        ids = torch.tensor([tokenizer.encode(prompt)])
        with torch.no_grad():
            answer = model.generate(ids, max_new_tokens=8, do_sample=False)[0, ids.shape[1] :]
        assert tokenizer.decode(answer) == f"{output}.{tokenizer.eos_token}"


def test_answers_in_two_steps_and_reads_the_second_off_the_first(chain_model):
    """The place follows what is written, whatever the question says: 4 other people in each text."""
    found = held_out_chains(*chain_model, count=200, seed=1)
    assert min(found.accuracy, found.first, found.second) >= 0.98
    assert found.followed >= 0.95
    assert found.confidence >= 0.85  # of two words, each of which label smoothing keeps at 0.95


def test_card_of_chains_states_what_is_measured(chain_model):
    found = held_out_chains(*chain_model, count=1000, seed=0)
    card = " ".join((FOLDER / FOLDERS["chain"] / "README.md").read_text().split())
    assert f"Held-out accuracy: {found.accuracy:.3f}" in card
    assert f"of the person {found.first:.3f}, of the place behind the right person {found.second:.3f}" in card
    assert f"the mean probability of both words is {found.confidence:.3f}" in card
    assert f"the likeliest place is that person's in {found.followed:.3f} of the cases" in card
    assert f"{chain_model[0].num_parameters():,} parameters" in card


def test_every_answer_is_one_token(demo):
    _, tokenizer = demo
    assert all(len(tokenizer.encode(item.target, add_special_tokens=False)) == 1 for item in examples(200))
    for item in chains(200):
        tokens = tokenizer.encode(item.reasoning + item.answer, add_special_tokens=False)
        assert [tokenizer.decode(token) for token in tokens] == [item.reasoning[:-1], ".", item.answer]


def test_every_text_has_tokens(demo):
    _, tokenizer = demo
    text = "Zoë wrote: 你好 🎉"
    assert tokenizer.decode(tokenizer.encode(text), skip_special_tokens=True).strip() == text
