import pytest

from captum_heta.cli.data import check_answers, made, places, stored
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
