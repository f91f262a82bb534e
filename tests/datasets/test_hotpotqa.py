import json
import re

import pytest

from captum_heta.datasets import read_hotpotqa


def texts(example, spans):
    return [example.prompt[start:end] for start, end in spans]


def as_published(record):
    """The form of the authors' own files."""
    context, facts = record["context"], record["supporting_facts"]
    return {
        "_id": record["id"],
        **{name: record[name] for name in ("question", "answer", "type", "level")},
        "context": [list(row) for row in zip(context["title"], context["sentences"], strict=True)],
        "supporting_facts": [list(row) for row in zip(facts["title"], facts["sent_id"], strict=True)],
    }


def test_by_hand(made, lines):
    (example,) = read_hotpotqa(lines(made["hotpotqa"](7)))
    assert example.prompt == (
        "Teapot: A teapot is hot. It sings.\n\nAda: Ada has 7 cups. She likes a kettle.\n\n"
        "Kettle: The kettle is made in Freedonia. It is red.\n\n"
        "Question: Where is the factory of the kettle that Ada likes?\nAnswer:"
    )
    assert example.target == " Freedonia"
    assert texts(example, example.evidence) == ["She likes a kettle.", "The kettle is made in Freedonia."]
    assert texts(example, example.distractors) == ["A teapot is hot.", "It sings.", "Ada has 7 cups.", "It is red."]
    assert texts(example, example.passage) == [
        "A teapot is hot. It sings.",
        "Ada has 7 cups. She likes a kettle.",
        "The kettle is made in Freedonia. It is red.",
    ]
    assert (example.id, example.licence) == ("made-up-7", "CC-BY-SA-4.0")


def test_the_published_form_is_the_same(made, lines, tmp_path):
    records = [made["hotpotqa"](number) for number in range(3)]
    file = tmp_path / "hotpot_dev_distractor_v1.json"
    file.write_text(json.dumps([as_published(record) for record in records]))
    assert read_hotpotqa(file) == read_hotpotqa(lines(*records))


def test_sentences_are_counted_with_blank_ones(made, lines):
    (example,) = read_hotpotqa(lines(made["hotpotqa"](supporting_facts={"title": ["Kettle"], "sent_id": [2]})))
    assert texts(example, example.evidence) == ["It is red."]


def test_fewer_paragraphs_keep_the_evidence_and_the_order(made, lines):
    file = lines(made["hotpotqa"]())
    whole = read_hotpotqa(file)
    assert read_hotpotqa(file, paragraphs=3) == read_hotpotqa(file, paragraphs=9) == whole
    for count in (1, 2):  # both are needed
        (example,) = read_hotpotqa(file, paragraphs=count)
        assert example.prompt == whole[0].prompt.removeprefix("Teapot: A teapot is hot. It sings.\n\n")
        assert texts(example, example.evidence) == texts(whole[0], whole[0].evidence)
        assert texts(example, example.distractors) == ["Ada has 0 cups.", "It is red."]
    with pytest.raises(ValueError, match="paragraphs must be at least 1, got 0"):
        read_hotpotqa(file, paragraphs=0)


@pytest.mark.parametrize(
    "facts",
    [
        {"title": ["Spoon"], "sent_id": [0]},
        {"title": ["Ada"], "sent_id": [2]},
        {"title": ["Ada"], "sent_id": [-1]},
        {"title": ["Ada", "Kettle"], "sent_id": [0, 1]},
    ],
    ids=["no such paragraph", "no such sentence", "negative", "blank"],
)
def test_facts_that_are_not_there_leave_the_record_out(made, lines, facts):
    wrong = made["hotpotqa"](1, supporting_facts=facts)
    with pytest.warns(UserWarning, match=r"1 of 3 records are left out, .* the first is .*record 2 \(id 'made-up-1'\)"):
        examples = read_hotpotqa(lines(made["hotpotqa"](), wrong, made["hotpotqa"](2)))
    assert [example.id for example in examples] == ["made-up-0", "made-up-2"]
    with pytest.raises(ValueError, match="has no record whose supporting facts are all sentences of its paragraphs"):
        read_hotpotqa(lines(wrong))


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"context": "text"}, "the field 'context' must be a table with 'title', 'sentences', got 'text'"),
        ({"supporting_facts": []}, "the field 'supporting_facts' must have rows of 'title', 'sent_id', got none"),
        ({"supporting_facts": [["Ada", "1"]]}, "'supporting_facts', row 1: the field 'sent_id' must be a whole number"),
        ({"context": [["Ada", "text"]]}, "'context', row 1: the field 'sentences' must be a list of texts, got 'text'"),
        ({"answer": ""}, "the field 'answer' is blank"),
        ({"question": None}, "the field 'question' must be a text, got None"),
    ],
)
def test_records_of_another_form_are_refused(made, lines, changed, told):
    with pytest.raises(ValueError, match=re.escape(told)):
        read_hotpotqa(lines(made["hotpotqa"](**changed)))
    record = made["hotpotqa"]()
    del record["supporting_facts"]
    with pytest.raises(ValueError, match="record 1 .* the field 'supporting_facts' is missing"):
        read_hotpotqa(lines(record))
