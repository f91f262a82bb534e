import pytest
import torch

from captum_heta.benchmark.speed_prompt import Setting, long_enough, random_subject, text_subject
from captum_heta.demo import load_model
from captum_heta.testing.architectures import shaped_model


@pytest.fixture(scope="module")
def reader():
    return load_model()


def test_random_prompts_are_the_same_and_have_parts():
    model = shaped_model("tiny")
    before = torch.get_rng_state()
    one, other = random_subject(model, 45), random_subject(model, 45)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one.ids, other.ids)
    assert one.ids.shape == (45,)
    assert one.parts.bincount().tolist() == [20, 20, 5]
    assert (one.text, one.answered) == (None, None)
    short = one.beginning(25)
    assert torch.equal(short.ids, one.ids[:25])
    assert short.parts.bincount().tolist() == [20, 5]
    assert len(short.features) == 25


@pytest.mark.parametrize("tokens", [64, 100])
def test_short_texts_are_of_facts(reader, tokens):
    subject = text_subject(*reader, None, tokens)
    assert abs(len(subject.ids) - tokens) < 20  # a sentence, and the question
    assert subject.text.startswith("Read the text")
    assert subject.tokenizer.decode(subject.ids, skip_special_tokens=True).strip() == subject.text
    assert subject.tokenizer.decode([subject.target]).strip() == subject.answer.strip()


def test_long_texts_are_of_needles(reader):
    subject = text_subject(*reader, None, 200)
    assert 180 <= len(subject.ids) <= 200
    assert len(subject.parts) == len(subject.features) <= len(subject.ids)
    assert len(subject.parts.unique()) < 40
    assert subject.answer in subject.text


def test_whether_the_model_answers_is_told(reader):
    model, tokenizer = reader
    subject = text_subject(model, tokenizer, "variables", 200)
    with torch.no_grad():
        likeliest = model(subject.ids[None]).logits[0, -1].argmax()
    assert subject.answered == (likeliest == subject.target)


def test_a_text_is_as_long_as_the_model_reads(reader):
    with pytest.raises(ValueError, match="600"):
        text_subject(*reader, None, 600)


def test_settings():
    setting = Setting("tiny", None, None, 8, "cpu", "bfloat16")
    model, tokenizer = setting.loaded
    assert model.dtype == torch.bfloat16
    assert tokenizer is None
    assert setting.subject(8).model is model
    read = Setting("tiny", "gpt_neox", None, 64, "cpu", "float32")
    assert type(read.subject(64).model).__name__ == "GPTNeoXForCausalLM"
    with pytest.raises(ValueError, match="--text needles needs a model that reads: give --model"):
        Setting("tiny", None, "needles", 8, "cpu", "float32")


def test_a_saved_model_is_loaded(reader, tmp_path):
    model, tokenizer = reader
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    subject = Setting("tiny", str(tmp_path), "facts", 64, "cpu", "float32").subject(64)
    again = text_subject(model, tokenizer, "facts", 64)
    assert subject.text == again.text
    assert subject.answered == again.answered
    assert not subject.model.training


def test_a_shape_reads_as_many_tokens_as_are_asked_for():
    model = shaped_model("tiny")
    assert long_enough(model, 1024) is model
    before = torch.get_rng_state()
    longer = long_enough(model, 1500)
    assert torch.equal(torch.get_rng_state(), before)
    assert longer.config.n_positions == 1500
    assert model.config.n_positions == 1024
    with torch.no_grad():
        assert longer(torch.zeros(1, 1500, dtype=torch.long)).logits.isfinite().all()
