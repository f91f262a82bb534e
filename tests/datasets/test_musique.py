import re

import pytest

from captum_heta.datasets import read_musique


def texts(example, spans):
    return [example.prompt[start:end] for start, end in spans]


def test_by_hand(made, lines):
    (example,) = read_musique(lines(made["musique"](7)))
    assert example.prompt == (
        "Teapot: A teapot is hot. It sings.\n\nAda: Ada has 7 cups. She likes a kettle.\n\n"
        "Kettle: The kettle is made in Freedonia.\n\nQuestion: Where is the kettle made that Ada likes?\nAnswer:"
    )
    assert example.target == " Freedonia"
    paragraphs = [
        "A teapot is hot. It sings.",
        "Ada has 7 cups. She likes a kettle.",
        "The kettle is made in Freedonia.",
    ]
    assert texts(example, example.evidence) == paragraphs[1:]
    assert texts(example, example.distractors) == paragraphs[:1]
    assert texts(example, example.passage) == paragraphs
    assert (example.id, example.licence) == ("2hop__7", "CC-BY-4.0")


def test_fewer_paragraphs_keep_the_evidence(made, lines):
    (example,) = read_musique(lines(made["musique"]()), paragraphs=2)
    assert texts(example, example.passage) == [
        "Ada has 0 cups. She likes a kettle.",
        "The kettle is made in Freedonia.",
    ]
    with pytest.raises(ValueError, match="paragraphs must be a whole number, got 2.5"):
        read_musique(lines(made["musique"]()), paragraphs=2.5)


def test_questions_that_are_not_answerable_are_left_out(made, lines):
    # the published file has the same id for a question and the one like it that lacks evidence
    other = made["musique"](answerable=False)
    assert read_musique(lines(made["musique"](), other)) == read_musique(lines(made["musique"]()))
    with pytest.raises(ValueError, match="has no question that is answerable"):
        read_musique(lines(other))


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"answerable": "yes"}, "the field 'answerable' must be true or false, got 'yes'"),
        ({"paragraphs": []}, "the field 'paragraphs' must have rows of 'title', 'paragraph_text', 'is_supporting'"),
        (
            {"paragraphs": [{"title": "A", "paragraph_text": "B", "is_supporting": False}]},
            "the field 'paragraphs' must have one that is supporting: the question has no evidence",
        ),
        (
            {"paragraphs": [{"title": "A", "is_supporting": True}]},
            "'paragraphs', row 1: the field 'paragraph_text' is missing",
        ),
    ],
)
def test_records_of_another_form_are_refused(made, lines, changed, told):
    with pytest.raises(ValueError, match=re.escape(told)):
        read_musique(lines(made["musique"](**changed)))
