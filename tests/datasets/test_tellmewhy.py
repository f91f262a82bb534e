import re

import pytest

from captum_heta.datasets import read_tellmewhy


def texts(example, spans):
    return [example.prompt[start:end] for start, end in spans]


def test_majority_by_hand(made, lines):
    # sentence 2: three of three; sentence 1: one; sentence 3: two
    answers = [made["tellmewhy"](7, i, helpful) for i, helpful in enumerate([(2,), (1, 2, 3), (3, 2)])]
    (example,) = read_tellmewhy(lines(*answers))
    assert example.prompt == (
        "Ada found 7 keys. One key was bent. She sang.\nQuestion: Why did Ada ask a smith?\nAnswer:"
    )
    assert texts(example, example.evidence) == ["One key was bent.", "She sang."]
    assert texts(example, example.distractors) == ["Ada found 7 keys."]
    assert texts(example, example.passage) == ["Ada found 7 keys. One key was bent. She sang."]
    assert example.target == " Annotator 0 says that a key was bent."
    assert (example.id, example.licence) == ("story_7", "unknown (stories of ROCStories)")


def test_half_is_no_majority(made, lines):
    answers = [made["tellmewhy"](0, i, helpful) for i, helpful in enumerate([(1, 2), (2, 3)])]
    (example,) = read_tellmewhy(lines(*answers))
    assert texts(example, example.evidence) == ["One key was bent."]
    with pytest.raises(ValueError, match="has no question that is 'Answerable' and whose annotators agree"):
        read_tellmewhy(lines(made["tellmewhy"](0, 0, (1,)), made["tellmewhy"](0, 1, (2,))))


def test_sentence_marked_twice_by_one_person_counts_once(made, lines):
    answers = [made["tellmewhy"](0, i, helpful) for i, helpful in enumerate([(1, 1, 2), (2,), (2,)])]
    (example,) = read_tellmewhy(lines(*answers))
    assert texts(example, example.evidence) == ["One key was bent."]


def test_answer_is_of_somebody_who_marked_the_evidence(made, lines):
    answers = [made["tellmewhy"](0, i, helpful) for i, helpful in enumerate([(), (3,), (2,), (2, 3), (2,)])]
    (example,) = read_tellmewhy(lines(*answers))
    assert example.target == " Annotator 2 says that a key was bent."


def test_questions_are_grouped_in_order_and_those_without_evidence_left_out(made, lines):
    rows = [(number, annotator) for annotator in range(3) for number in (5, 2, 8, 9)]
    changed = {2: {"is_ques_answerable": "Not Answerable"}, 8: {"helpful": ()}}
    answers = [made["tellmewhy"](number, annotator, **changed.get(number, {})) for number, annotator in rows]
    assert [example.id for example in read_tellmewhy(lines(*answers))] == ["story_5", "story_9"]


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"helpful": (0,)}, "'helpful_sentences' must be from 1 to 3, the sentences, got 0"),
        ({"helpful": (2, 4)}, "'helpful_sentences' must be from 1 to 3, the sentences, got 4"),
        ({"helpful": ("2",)}, "'helpful_sentences' must be a list of whole numbers, got ['2']"),
        ({"original_narrative_form": ["Other."]}, "'original_narrative_form' must be that of the other answers"),
    ],
)
def test_wrong_answers_are_told(made, lines, changed, told):
    with pytest.raises(ValueError, match=re.escape(f"records.jsonl, record 2: the field {told}")):
        read_tellmewhy(lines(made["tellmewhy"](), made["tellmewhy"](0, 1, **changed)))


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"is_ques_answerable": "Maybe"}, "'is_ques_answerable' must be 'Answerable' or 'Not Answerable', got 'Maybe'"),
        ({"original_narrative_form": []}, "'helpful_sentences' must be from 1 to 0"),
        ({"question_meta": 4}, "'question_meta' must be a text, got 4"),
        ({"question": ""}, "'question' is blank, expected a text"),
        ({"answer": None}, "'answer' must be a text, got None"),
    ],
)
def test_wrong_questions_are_told(made, lines, changed, told):
    with pytest.raises(ValueError, match=f"records.jsonl, record 1: the field {told}"):
        read_tellmewhy(lines(made["tellmewhy"](**changed)))


def test_prompts_in_lines(tmp_path):
    file = tmp_path / "prompts.txt"
    file.write_text("Al asked: Why me? He left.\tWhy did Al leave?\n\nBo sang. Why did Bo sing? ")
    one, other = read_tellmewhy(file)
    assert one.prompt == "Al asked: Why me? He left.\nQuestion: Why did Al leave?\nAnswer:"
    assert other.prompt == "Bo sang.\nQuestion: Why did Bo sing?\nAnswer:"
    assert (one.target, one.evidence, one.distractors) == (None, (), ())
    assert texts(one, one.passage) == ["Al asked: Why me? He left."]
    assert [one.id, other.id] == ["tellmewhy-prompt-0", "tellmewhy-prompt-1"]


@pytest.mark.parametrize("line", ["No question here.", "Why is there no story?", "A story. Why is it told without end"])
def test_line_without_story_and_question_is_told(tmp_path, line):
    file = tmp_path / "prompts.txt"
    file.write_text(f"Bo sang. Why did Bo sing?\n{line}\n")
    with pytest.raises(
        ValueError, match=re.escape(f"prompts.txt, record 2: must be a story and a question 'Why ...?', got {line!r}")
    ):
        read_tellmewhy(file)


def test_published_prompts_keep_every_word(published):
    file = published / "tellmewhy" / "reagent_tellmewhy2.txt"
    whole = [line.split() for line in file.read_text().split("\n") if line.strip()]
    examples = read_tellmewhy(file)
    again = [example.prompt.replace("\nQuestion:", "").replace("\nAnswer:", "").split() for example in examples]
    assert again == whole
    assert all(example.prompt.count("\nQuestion: Why ") == 1 for example in examples)
