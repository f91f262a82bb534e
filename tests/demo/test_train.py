import random
import sys

import pytest
import torch
from transformers import AutoModelForCausalLM

from captum_heta.demo import MODELS, train
from captum_heta.demo.lessons import chain_text, training_text, written_out
from captum_heta.demo.measured import Answers, Chains
from captum_heta.demo.recipes import RECIPES
from captum_heta.demo.world import NAMES, RELATIONS


def test_questions_see_the_passage_and_themselves_only():
    seen = train.visible(torch.tensor([[0, 0, 1, 1, 2, train.PADDING]]))[0, 0]
    assert seen.int().tolist() == [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [1, 1, 1, 1, 0, 0],
        [1, 1, 0, 0, 1, 0],
        [1, 1, 0, 0, 0, 1],
    ]


@pytest.mark.parametrize("lesson", [training_text, chain_text])
def test_packed_questions_are_predicted_as_if_each_came_alone(lesson, demo):
    model, tokenizer = demo
    passage, asked = lesson(random.Random(5), 4)
    texts = train.packed(tokenizer, passage, asked)
    mask = train.visible(texts.segments[None])
    with torch.no_grad():
        together = model(texts.ids[None], attention_mask=mask, position_ids=texts.positions[None]).logits[0]
        for number, pair in enumerate(asked, start=1):
            alone = [*tokenizer.encode(written_out(passage, [pair])), tokenizer.eos_token_id]
            kept = (texts.segments == 0) | (texts.segments == number)
            assert texts.ids[kept].tolist() == alone
            torch.testing.assert_close(together[kept], model(torch.tensor([alone])).logits[0], rtol=1e-4, atol=1e-4)


def test_only_answers_have_the_full_weight(demo):
    _, tokenizer = demo
    passage, asked = training_text(random.Random(5), longest=4)
    texts = train.packed(tokenizer, passage, asked)
    answers = tokenizer.decode(texts.ids[texts.weights == 1])
    assert answers.split() == [one.answer for one in asked]


def test_what_is_written_already_has_no_weight(demo):
    """Both words of an answer in two steps are asked for, or only the second behind a person who is none."""
    _, tokenizer = demo
    passage, asked = chain_text(random.Random(5), 5)
    assert {bool(one.written) for one in asked} == {False, True}
    texts = train.packed(tokenizer, passage, asked)
    for number, one in enumerate(asked, start=1):
        mine = texts.segments == number
        told = tokenizer.decode(texts.ids[mine & (texts.weights == 1)])
        assert told.split() == one.answer.replace(".", "").split()
        ends = tokenizer.decode(texts.ids[mine & (texts.weights == train.END_WEIGHT)])
        assert ends == "." * (one.answer + ".").count(".") + tokenizer.eos_token
        reply = tokenizer.decode(texts.ids[mine]).split("Answer:")[1]
        assert reply == f"{one.written} {one.answer}.{tokenizer.eos_token}"
        # the line break, and what is written
        silent = tokenizer.decode(texts.ids[mine & (texts.weights == 0)])
        assert silent == f"\n{one.written}"


def test_repeated_words_are_asked_for_the_second_time(demo):
    _, tokenizer = demo
    everything = {*NAMES, *(value for relation in RELATIONS.values() for value in relation.values)}
    rng = random.Random(0)
    for _ in range(20):
        texts = train.repeated(tokenizer, rng)
        words = tokenizer.decode(texts.ids, skip_special_tokens=True).split()
        half = len(words) // 2
        assert 6 <= half <= train.LONGEST_COPY
        assert words[:half] == words[half:]
        assert len(set(words)) == half  # so that each word has one that follows it
        assert set(words) <= everything
        asked = tokenizer.decode(texts.ids[texts.weights == 1]).split()
        assert asked == words[half + 1 :]  # nothing tells the first
        assert texts.weights.unique().tolist() == [0, 1]
        assert not texts.segments.any()  # one text, which sees all that precedes
        assert texts.positions.tolist() == list(range(1 + 2 * half))


@pytest.mark.parametrize("name", MODELS)
def test_training_starts_the_same_for_a_seed_and_learns(name):
    recipe = RECIPES[name]
    lines = []
    model, tokenizer = train.train(2, seed=1, log=lines.append, recipe=recipe)
    again, _ = train.train(2, seed=1, log=lines.append, recipe=recipe)
    torch.testing.assert_close(model.state_dict(), again.state_dict(), rtol=0, atol=0)
    torch.manual_seed(1)
    start = recipe.untrained(tokenizer)
    assert not torch.equal(start.get_output_embeddings().weight, model.get_output_embeddings().weight)


def test_the_second_starts_as_transformers_starts_it(demo):
    _, tokenizer = demo
    torch.manual_seed(3)
    start = RECIPES["gpt_neox"].untrained(tokenizer)
    torch.manual_seed(3)
    usual = AutoModelForCausalLM.from_config(start.config)
    torch.testing.assert_close(start.state_dict(), usual.state_dict(), rtol=0, atol=0)
    for name, weight in start.named_parameters():
        if name.endswith("bias"):
            assert not weight.any()
        elif "norm" in name:
            assert torch.equal(weight, torch.ones_like(weight))
        elif "embed_in" not in name:
            assert weight.std().item() == pytest.approx(0.02, rel=0.05)


def test_passages_begin_when_words_are_copied(demo, monkeypatch):
    seen = []

    def batch(tokenizer, rng, longest, lesson):
        seen.append(longest)
        return original(tokenizer, rng, longest, lesson)

    original = train.batch
    monkeypatch.setattr(train, "batch", batch)
    monkeypatch.setattr(
        train, "losses", lambda model, texts: (model.get_output_embeddings().weight.sum(), 1.0)
    )  # always right
    lines = []
    train.train(200, seed=0, log=lines.append, recipe=RECIPES["gpt_neox"])
    # 1 - 0.98^n passes 0.88 at n = 105, and 1 - 0.5 * 0.98^n at n = 71
    assert seen == [train.COPYING] * 105 + [2] * 71 + [3] * 24
    assert lines == [
        "step 100/200: repeated words, 87% of the answers right",
        "step 200/200: passages of up to 3 sentences, 69% of the answers right",
    ]


@pytest.mark.parametrize("name", MODELS)
def test_program_writes_a_model_that_loads(name, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["train", "--model", name, "--out", str(tmp_path), "--steps", "3", "--seed", "4"])
    found = Chains(0.25, 0.5, 0.375, 0.75, 0.125) if name == "chain" else Answers(0.25, 0.125)
    task = RECIPES[name].task._replace(measure=lambda model, tokenizer, count, seed: found)
    monkeypatch.setitem(RECIPES, name, RECIPES[name]._replace(task=task))
    monkeypatch.setattr(train, "BATCH", 2)
    train.main()
    assert "held-out accuracy 0.250" in capsys.readouterr().out
    model = AutoModelForCausalLM.from_pretrained(tmp_path, local_files_only=True)
    assert model.config.model_type == {"chain": "llama"}.get(name, name)
    assert model.dtype == torch.float32
    assert (tmp_path / "tokenizer.json").exists() == RECIPES[name].own_tokenizer
    card = (tmp_path / "README.md").read_text()
    assert f"{model.num_parameters():,} parameters" in card
    assert str(RECIPES[name].stored).removeprefix("torch.") in card
    assert "**Held-out accuracy: 0.250**" in card
    assert all(f"{figure:.3f}" in card for figure in found)
    prompt, output = task.shown()
    assert prompt.split("\n")[1] in card
    assert f"continues with `{output}`" in card
    assert "3 steps of 2 passages" in card
    assert "seed 4" in card
    assert "{" not in card
