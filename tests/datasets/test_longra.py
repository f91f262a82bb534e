import pytest

from captum_heta.datasets import read_longra


def test_spans_by_hand(made, lines):
    (example,) = read_longra(lines(made["longra"](7)))
    assert example.prompt == "My visit 7 began in Freedonia. (The soup was cold). I loved the capital,"
    assert example.target == " Fredville"
    assert example.evidence == ((20, 29),)
    assert example.distractors == ((30, 51),)
    assert example.passage == ((0, 51),)
    assert example.id == "longra-made-up-007"


def test_white_space_around_the_prompt(made, lines):
    record = made["longra"]()
    record |= {"prompt": f"\n {record['prompt']} ", "target": "Fredville"}
    for field in ("antecedent_span", "distractor_span"):
        record[field] = [place + 2 for place in record[field]]
    (example,) = read_longra(lines(record))
    assert example.prompt == record["prompt"].rstrip()
    assert example.target == " Fredville"
    assert [example.prompt[start:end] for start, end in example.evidence] == ["Freedonia"]


def test_the_passage_begins_with_the_sentence_of_the_antecedent(made, lines):
    prompt = "It rained. My visit began in Freedonia. (The soup was cold). I loved the capital,"
    record = made["longra"](prompt=prompt, antecedent_span=[29, 38], distractor_span=[39, 60])
    (example,) = read_longra(lines(record))
    assert example.prompt[slice(*example.passage[0])] == "My visit began in Freedonia. (The soup was cold)."


def test_the_parenthesis_may_be_before_the_antecedent(made, lines):
    prompt = "Well. (The soup was cold). My visit began in Freedonia. I loved the capital,"
    record = made["longra"](prompt=prompt, antecedent_span=[45, 54], distractor_span=[5, 26])
    (example,) = read_longra(lines(record))
    assert example.prompt[slice(*example.passage[0])] == " (The soup was cold). My visit began in Freedonia"


def test_examples_that_a_model_knows(made, lines):
    file = lines(*(made["longra"](number) for number in range(4)))
    assert [example.id[-1] for example in read_longra(file, known_to="small-model")] == ["1", "3"]
    with pytest.raises(ValueError, match="known_to must be one of small-model, got 'large-model'"):
        read_longra(file, known_to="large-model")
    with pytest.raises(ValueError, match="known_to must be one of no models, got 'small-model'"):
        read_longra(lines(made["longra"](0)), known_to="small-model")


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"antecedent_span": [21, 30]}, "'antecedent_span' must be that of 'Freedonia', got that of 'reedonia.'"),
        ({"antecedent_span": [20, 99]}, "'antecedent_span' has the span .20, 99., expected 0 <= start < end <= 72"),
        ({"distractor_span": None}, "'distractor_span' must be a pair .start, end., got None"),
        ({"target": " "}, "'target' is blank, expected a text"),
        ({"id": 3}, "'id' must be a text, got 3"),
    ],
)
def test_wrong_records_are_told(made, lines, changed, told):
    with pytest.raises(ValueError, match=f"records.jsonl, record 1 .*: the field {told}"):
        read_longra(lines(made["longra"](7, **changed)))


def test_published_models(published):
    file = published / "longra" / "longra.jsonl"
    counts = {"gpt2-xl": 197, "gpt2-medium": 157, "EleutherAI/gpt-j-6b": 59, "facebook/opt-350m": 28}
    assert {model: len(read_longra(file, known_to=model)) for model in counts} == counts
    for example in read_longra(file):
        ((start, end),) = example.distractors
        assert example.prompt[start : start + 2] == " ("
        assert example.prompt[end - 2 : end] == ")."
        assert example.passage == ((0, end),)
