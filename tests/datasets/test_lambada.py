import json

import pytest

from captum_heta.datasets import read_lambada


def test_rationale_by_hand(made, lines):
    (example,) = read_lambada(lines(made["lambada"](7), suffix=".json"))
    assert example.prompt == "The 7 lamps were lit.\nShe moved the wick, and up went the"
    assert example.target == " flame"
    assert example.evidence == ((6, 11), (36, 40))  # in the order of the text: lamps, wick
    assert example.distractors == example.passage == ()
    assert example.id == "lambada-7"


def test_white_space_before_the_text_is_counted(made, lines):
    (example,) = read_lambada(lines(made["lambada"](text="  light the lamp\n", rationale=[[2, 7]])))
    assert (example.prompt, example.target) == ("  light the", " lamp")
    assert [example.prompt[start:end] for start, end in example.evidence] == ["light"]


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"text": "lamp", "rationale": [[0, 1]]}, "'text' must have words before the last one, got 'lamp'"),
        ({"text": "light the lamp", "rationale": [[10, 14]]}, "'rationale' has the span .10, 14., expected .* <= 9"),
        ({"rationale": []}, "'rationale' is empty, expected at least one pair"),
        ({"rationale": [3, 4]}, "'rationale' must be a list of pairs"),
        ({"lambadaIndex": "3"}, "'lambadaIndex' must be a whole number, got '3'"),
        ({"text": None}, "'text' must be a text, got None"),
    ],
)
def test_wrong_records_are_told(made, lines, changed, told):
    with pytest.raises(ValueError, match=f"records.jsonl, record 1: the field {told}"):
        read_lambada(lines(made["lambada"](**changed)))


def test_published_rationales_are_whole_words(published):
    file = published / "annotated_lambada" / "annotated_lambada.json"
    records = [json.loads(line) for line in file.read_text().splitlines()]
    examples = read_lambada(file)
    assert sum(len(example.evidence) for example in examples) == 750
    for record, example in zip(records, examples, strict=True):
        assert example.prompt + example.target == record["text"]
        for start, end in example.evidence:
            assert not (example.prompt[start - 1 : start] + example.prompt[end : end + 1]).isalnum()
            assert not any(character.isspace() for character in example.prompt[start:end])
