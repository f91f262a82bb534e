import json
import re
import warnings

import pytest

from captum_heta.datasets import read_curated

STORY = "The clown of circus 0 forgot the red nose."
FACT = "Iron rusts quickly in salt-water because iron meets oxygen."


def evidence_of(example):
    return [example.prompt[start:end] for start, end in example.evidence]


def test_prompt_by_hand(made, lines):
    (example,) = read_curated(lines(made["curated"]()))
    assert example.prompt == f"{STORY}\n{FACT}\nQuestion: What rusts?\nAnswer:"
    assert example.target == " iron"
    assert example.distractors == ((0, len(STORY)),)
    assert example.evidence == ((len(STORY) + 1, len(STORY) + 1 + len(FACT)),)
    assert example.passage == example.distractors + example.evidence
    assert (example.id, example.licence) == ("made-up-0", "Apache-2.0")


def test_important_words_are_found_everywhere_in_their_sentence(made, lines):
    file = lines(made["curated"](narrative_segment="The iron clown."))
    (example,) = read_curated(file, evidence="words")
    assert evidence_of(example) == ["Iron", "rusts", "salt-water", "iron"]  # none in the story or the question
    assert example.distractors == ((0, len("The iron clown.")),)
    assert [example.prompt[start:end] for start, end in example.passage] == ["The iron clown.", FACT]


def test_parts_of_words_are_not_important(made, lines):
    record = made["curated"](sciq_support_segment="Irons and iron.", important_words=["IRON"])
    assert evidence_of(read_curated(lines(record), evidence="words")[0]) == ["iron"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["iron", "salt"], "has 'salt', which is no word of 'Iron rusts"),  # salt-water is one word
        ([], "is empty, expected words of 'sciq_support_segment'"),
        ("iron", "must be a list of texts that are not blank, got 'iron'"),
    ],
)
def test_wrong_important_words_are_told_when_they_are_asked_for(made, lines, words, told):
    file = lines(made["curated"](important_words=words))
    assert len(read_curated(file)) == 1
    with pytest.raises(ValueError, match=re.escape(f"record 1 (id 'made-up-0'): the field 'important_words' {told}")):
        read_curated(file, evidence="words")


def test_repeats_are_left_out_with_a_warning(made, lines):
    one, other = made["curated"](0), made["curated"](1)
    file = lines(one, other, one | {"id": "again"}, other | {"id": "and-again"}, one | {"id": "again-2"})
    told = "records.jsonl: only 2 of the 5 examples are different, and repeats are left out.* unique=False gives all"
    with pytest.warns(UserWarning, match=told) as caught:
        examples = read_curated(file)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert [example.id for example in examples] == ["made-up-0", "made-up-1"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        every = read_curated(file, unique=False)
    assert [example.id for example in every] == ["made-up-0", "made-up-1", "again", "and-again", "again-2"]


def test_without_repeats_nothing_is_warned_of(made, lines):
    # the same prompt with another answer is no repeat
    file = lines(made["curated"](), made["curated"](id="other", answer="the nail"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(read_curated(file)) == 2


def test_published_form_is_an_object_with_examples(made, tmp_path):
    file = tmp_path / "set.json"
    file.write_text(json.dumps({"dataset_name": "made up", "num_examples": 1, "examples": [made["curated"]()]}))
    assert len(read_curated(file)) == 1
    file.write_text(json.dumps({"dataset_name": "made up", "items": []}))
    with pytest.raises(ValueError, match="set.json, record 1: the field 'sciq_support_segment' is missing.*'items'"):
        read_curated(file)


@pytest.mark.parametrize("field", ["id", "narrative_segment", "sciq_support_segment", "question", "answer"])
def test_missing_and_wrong_fields_are_told(made, lines, field):
    record = made["curated"]()
    with pytest.raises(ValueError, match=f"records.jsonl, record 1.*: the field '{field}' must be a text, got 5"):
        read_curated(lines(record | {field: 5}))
    del record[field]
    with pytest.raises(ValueError, match=f"records.jsonl, record 1.*: the field '{field}' is missing"):
        read_curated(lines(record))


def test_unknown_evidence_is_refused(made, lines):
    with pytest.raises(ValueError, match="evidence must be 'segment' or 'words', got 'word'"):
        read_curated(lines(made["curated"]()), evidence="word")


def test_published_repeats(published):
    folder = published / "heta_curated"
    with pytest.warns(UserWarning, match="only 100 of the 2000 examples are different"):
        many = read_curated(folder / "heta_qa_dataset_2000.json")
    few = read_curated(folder / "heta_qa_dataset_100_unique.json")
    assert {example.prompt for example in many} == {example.prompt for example in few}
    assert len(many) == len(few) == 100


def test_published_word_indices_are_those_of_the_spans(published):
    file = published / "heta_curated" / "heta_qa_dataset_100_unique.json"
    records = json.loads(file.read_text())["examples"]
    examples = read_curated(file, evidence="words")
    for record, example in zip(records, examples, strict=True):
        words = re.findall(r"[a-z0-9]+(?:[-'][a-z0-9]+)?", record["sciq_support_segment"].lower())
        named = [words[i] for i in record["important_word_indices_in_sciq_support"]]
        assert [word.lower() for word in evidence_of(example)] == named
