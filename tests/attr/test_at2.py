"""AT2: attention weighted by heads that were learned from ablations."""

import json

import pytest
import torch
from transformers import MambaConfig, MambaForCausalLM

from captum_heta import LLMTokenAttribution, TextInput
from captum_heta.attr import AT2, HeadWeights
from captum_heta.attr.context_cite import log_probs_without
from captum_heta.attr.task import Task
from captum_heta.demo import examples
from captum_heta.features import Features
from captum_heta.inputs import LocatedInput
from captum_heta.models import CausalLM, LanguageModel
from captum_heta.testing.architectures import tiny_model

IDS = torch.tensor([[5, 17, 8, 40, 2, 33, 9]])


@pytest.fixture(scope="module")
def learned(demo):
    known = [(TextInput(item.prompt, demo[1]), item.target) for item in examples(12, seed=21)]
    return AT2.fit(demo[0], demo[1], known, n_samples=16)


def weights_of(model, layers, heads):
    generator = torch.Generator().manual_seed(0)
    some = tuple(torch.randn(heads, generator=generator) for _ in range(layers))
    return HeadWeights(some, type(model).__name__, 1, 0.5)


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_scores_are_the_weighted_attention(name):
    model = tiny_model(name)
    with CausalLM(model).ready(), torch.no_grad():
        attention = model(IDS, output_attentions=True).attentions
    method = AT2(model, weights_of(model, len(attention), attention[0].shape[1]))
    expected = sum(
        (weight[:, None] * layer[0, :, -1]).sum(0)
        for weight, layer in zip(method.learned.weights, attention, strict=True)
    )
    torch.testing.assert_close(method.attribute(IDS, target=3)[0], expected)


def test_earlier_outputs_are_scored_as_a_longer_prompt():
    model = tiny_model("llama")
    config = model.config
    method = AT2(model, weights_of(model, config.num_hidden_layers, config.num_attention_heads))
    outputs = torch.tensor([11, 60, 7])
    found = method.attribute_outputs(IDS[0], outputs, Features.of_tokens(range(7)), include_output=True)
    longer = method.attribute(torch.cat([IDS[0], outputs[:2]])[None], target=7)[0]
    torch.testing.assert_close(torch.cat([found.scores[2], found.output_scores[2, :2]]), longer)


def test_the_evidence_is_found_on_fresh_questions(demo, learned):
    assert 0.3 < learned.learned.correlation <= 1
    hits = 0
    for item in examples(10, seed=22):
        inp = TextInput(item.prompt, demo[1])
        scores = LLMTokenAttribution(learned, demo[1]).attribute(inp, target=item.target).seq_attr

        def of(span, scores=scores, spans=inp.spans):
            return sum(score for score, place in zip(scores, spans, strict=True) if span[0] < place[1] <= span[1])

        hits += of(item.evidence[0]) > max(map(of, item.distractors))
    assert hits >= 8


def test_a_file_keeps_the_weights(demo, learned, tmp_path):
    learned.learned.save(tmp_path / "heads.json")
    again = AT2.load(demo[0], tmp_path / "heads.json")
    assert torch.equal(again.attribute(IDS, target=3), learned.attribute(IDS, target=3))
    assert again.learned[1:] == learned.learned[1:]
    with pytest.raises(ValueError, match=r"weights are of a LlamaForCausalLM, and the model is a GPT2LMHeadModel"):
        AT2.load(tiny_model("gpt2"), tmp_path / "heads.json")


@pytest.mark.parametrize(
    "change", [{"kind": "x"}, {"weights": []}, {"weights": [[1, None]]}, {"examples": 0}, {"correlation": "1"}]
)
def test_another_file(learned, tmp_path, change):
    learned.learned.save(tmp_path / "heads.json")
    record = json.loads((tmp_path / "heads.json").read_text()) | change
    (tmp_path / "other.json").write_text(json.dumps(record))
    with pytest.raises(ValueError, match="is no weights of heads saved by captum_heta"):
        HeadWeights.load(tmp_path / "other.json")


def test_weights_of_other_heads():
    model = tiny_model("gpt2")
    with pytest.raises(ValueError, match=r"weights are of \[3\] heads in each layer, and GPT2LMHeadModel has \["):
        AT2(model, weights_of(model, 1, 3)).attribute(IDS, target=3)


def test_a_layer_without_attention():
    torch.manual_seed(0)
    config = MambaConfig(vocab_size=50, hidden_size=16, num_hidden_layers=2, state_size=4, pad_token_id=None)
    model = MambaForCausalLM(config).eval()
    with pytest.raises(TypeError, match="AT2 weighs heads of attention, and MambaForCausalLM has a layer without any"):
        AT2(model, weights_of(model, 2, 2)).attribute(IDS, target=3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_samples": 1}, "n_samples"),
        ({"penalty": -1}, "penalty"),
        ({"sources": "word"}, "sources must be 'sentence' or 'token', got 'word'"),
        ({"seed": -1}, "seed"),
        ({}, "examples is empty"),
    ],
)
def test_what_fit_refuses(demo, options, message):
    with pytest.raises(ValueError, match=message):
        AT2.fit(*demo, [], **options)


def test_fit_reads_text_alone(demo, monkeypatch):
    monkeypatch.setattr(LocatedInput, "media", {"pixel_values": torch.zeros(1)})
    with pytest.raises(ValueError, match="An example has pictures or sound, and AT2 reads text alone"):
        AT2.fit(*demo, [(TextInput("Anna lives in", demo[1]), "Rome")])


def test_draws_are_of_the_seed_alone(demo):
    item = next(iter(examples(1, seed=23)))
    known = [(TextInput(item.prompt, demo[1]), item.target)]
    state = torch.get_rng_state()
    first, again, other = (AT2.fit(*demo, known, n_samples=4, seed=seed).learned.weights for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(torch.cat(first), torch.cat(again))
    assert not torch.equal(torch.cat(first), torch.cat(other))


def test_what_is_left_out_is_taken_out_of_the_text():
    model = tiny_model("llama")
    task = Task(IDS[0], torch.tensor([11, 60]), Features(((0, 1), (3,), (5, 6))))
    kept = torch.tensor([[True, False, True], [False, True, False]])
    lm = LanguageModel(model)
    with lm.evaluating(), torch.no_grad():
        found = log_probs_without(lm, kept, task)
        for row, stays in zip(found, ([0, 1, 2, 4, 5, 6], [2, 3, 4]), strict=True):
            ids = torch.cat([IDS[0, stays], task.outputs])
            expected = model(ids[None]).logits[0, len(stays) - 1 : -1].log_softmax(-1).gather(1, task.outputs[:, None])
            torch.testing.assert_close(row, expected[:, 0])
