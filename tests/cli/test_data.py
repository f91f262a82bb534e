import json
import re

import pytest
import torch

from captum_heta.cli.data import OF_PRESETS, check_answers, check_paragraphs, made, places, stored
from captum_heta.demo import chains


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("news", "there is no data set 'news'; there are curated"),
        ("embedded=here", "embedded comes with the package and has no path, got 'here'"),
        ("chains=here", "chains comes with the package and has no path, got 'here'"),
        ("curated", "--data curated needs its file or its id on the hub"),
        ("facts=9", "facts is made for the model and has no path, got '9': say facts alone"),
        ("needles=long", "needles is made for the model and has no path, got 'long': say needles or needles=TOKENS"),
        ("facts,facts", "facts"),
    ],
)
def test_what_is_no_data_set_is_told(text, told):
    with pytest.raises(ValueError, match=told):
        places(text)


def test_examples_are_made_for_the_model(demo):
    asked = places("embedded,facts,needles=120")
    assert asked == [("embedded", ""), ("facts", ""), ("needles", "120")]
    found = stored(asked, 2, 3, False) | made(asked[:2], 2, 3, *demo)
    assert {name: len(items) for name, items in found.items()} == {"embedded": 2, "facts": 2}
    assert all(item.counterfactual is not None for item in found["facts"])
    assert all(item.prompt[start:end] for item in found["facts"] for start, end in item.passage)
    assert made(asked[:2], 2, 3, *demo) == {"facts": found["facts"]}


def test_all_are_taken_if_the_output_is_forced(demo):
    model, tokenizer = demo
    asked = places("hops=200,injection=200")
    found = made(asked, 3, 3, model, tokenizer, forced=True)
    assert {name: [item.id for item in items] for name, items in found.items()} == {
        name: [f"{name}-3-{number}" for number in range(3)] for name in ("hops", "injection")
    }


def test_what_a_model_does_not_answer_is_refused_or_left_out(demo, monkeypatch):
    model, tokenizer = demo

    def next_token(prompt, lm):
        """What stands in the text behind the answer's first words; orders are not followed."""
        cue = prompt.text.rsplit("Answer:", 1)[1]
        value, *_ = [*re.findall(rf"{re.escape(cue)} (\w+)\.", prompt.text), "paper"]
        return torch.tensor(tokenizer.encode(f" {value}", add_special_tokens=False)[:1])

    monkeypatch.setattr("captum_heta.inputs.target.next_token", next_token)
    asked = places("injection=200")
    told = []
    with pytest.raises(ValueError, match="--data injection: .* answers 0 of the 50 .* Or take all with --forced"):
        made(asked, 1, 3, model, tokenizer)
    with pytest.raises(ValueError, match="--data injection: .* answers 0"):  # nothing would be left
        made(asked, 1, 3, model, tokenizer, leave_out=told.append)
    assert told == []
    found = made([*asked, *places("facts")], 1, 3, model, tokenizer, leave_out=told.append)
    assert list(found) == ["facts"]
    assert len(told) == 1
    assert told[0].startswith("--data injection: LlamaForCausalLM answers")
    assert told[0].endswith("It is left out.")


def test_data_of_presets_are_known():
    for text in OF_PRESETS.values():
        assert places(text)


def test_paragraphs_are_of_data_sets_that_have_them(tmp_path):
    texts = [("Teapot", False), ("Ada", True), ("Kettle", True), ("Spoon", False)]
    record = {
        "id": "2hop__1",
        "question": "Where?",
        "answer": "Freedonia",
        "answerable": True,
        "paragraphs": [
            {"idx": i, "title": title, "paragraph_text": f"{title} is here.", "is_supporting": supports}
            for i, (title, supports) in enumerate(texts)
        ],
    }
    file = tmp_path / "musique.json"
    file.write_text(json.dumps([record]))
    asked = places(f"musique={file}")
    counts = {some: len(stored(asked, 5, 0, False, some)["musique"][0].passage) for some in (None, 2, 3)}
    assert counts == {None: 4, 2: 2, 3: 3}
    check_paragraphs(asked, 2)
    check_paragraphs(places("embedded"), None)
    with pytest.raises(ValueError, match="--paragraphs 2 is of hotpotqa and musique: leave it out"):
        check_paragraphs(places("embedded"), 2)


def test_both_steps_of_chains_are_examples():
    found = stored(places("chains"), 5, 3, False)["chains"]
    everything = {step.id: step for item in chains(3, 3) for step in item.steps}
    assert len({item.id for item in found}) == 5
    assert all(everything[item.id] == item for item in found)


@pytest.mark.parametrize(
    ("data", "model", "told"),
    [
        ("chains", None, "--data chains asks what the embedded model was not trained to answer: say embedded"),
        ("facts,chains", "captum_heta.demo.gpt_neox", "what captum_heta.demo.gpt_neox was not trained to answer"),
        ("embedded", "captum_heta.demo.chain", "--data embedded asks what captum_heta.demo.chain was not.*say chains"),
    ],
)
def test_an_embedded_model_is_asked_for_what_it_answers(data, model, told):
    with pytest.raises(ValueError, match=told):
        check_answers(places(data), model)


@pytest.mark.parametrize(
    ("data", "model"),
    [("embedded", None), ("chains", "captum_heta.demo.chain"), ("facts", None), ("embedded,chains", "gpt2")],
)
def test_what_a_model_may_answer_is_measured(data, model):
    check_answers(places(data), model)
