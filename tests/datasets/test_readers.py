"""What holds for every reader, on made-up records, on drawn ones, and on the published samples."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from captum_heta.datasets import (
    DATASETS,
    read,
    read_curated,
    read_lambada,
    read_longra,
    read_tellmewhy,
    read_wikibio,
)

# with punctuation, and characters of more than one byte
WORD = st.text(st.sampled_from("abcXYZ019-'.?,éßñ漢\U0001f600"), min_size=1, max_size=6)
TEXT = st.lists(WORD, min_size=1, max_size=6).map(" ".join)
FEW = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])

SAMPLES = [
    ("curated", "heta_curated/heta_qa_dataset_100_unique.json", {}, 100),
    ("curated", "heta_curated/heta_qa_dataset_100_unique.json", {"evidence": "words"}, 100),
    ("curated", "heta_curated/heta_qa_dataset_2000.json", {"unique": False}, 2000),
    ("longra", "longra", {}, 541),
    ("longra", "longra/longra.jsonl", {"known_to": "gpt2-xl"}, 197),
    ("tellmewhy", "tellmewhy", {}, 20),
    ("wikibio", "wikibio/wiki_bio_gpt3_hallucination_119.jsonl", {}, 119),
    ("wikibio", "wikibio/reagent_wikitext.txt", {}, 22),
    ("lambada", "annotated_lambada", {}, 107),
]


@pytest.mark.parametrize("name", DATASETS)
def test_examples_are_sound(made, lines, sound, name):
    examples = read(name, lines(*(made[name](number) for number in range(3))))
    assert len(examples) == 3
    sound(examples)
    if name != "wikibio":
        assert all(example.evidence for example in examples)


@pytest.mark.parametrize(("name", "path", "options", "count"), SAMPLES)
def test_published_samples_are_sound(published, sound, name, path, options, count):
    examples = read(name, published / path, **options)
    assert len(examples) == count
    sound(examples)


@pytest.mark.parametrize("name", DATASETS)
def test_two_records_with_one_id_are_refused(made, lines, name):
    twice = [made[name](), made[name]()]
    if name == "tellmewhy":  # there, records with one id are the answers to one question
        assert len(read(name, lines(*twice))) == 1
    else:
        with pytest.raises(ValueError, match="two records with the id '.*[0-9]': ids must be unique"):
            read(name, lines(*twice))


@FEW
@given(story=TEXT, support=TEXT, question=TEXT, answer=TEXT)
def test_any_curated_record(made, lines, sound, story, support, question, answer):
    record = made["curated"](narrative_segment=story, sciq_support_segment=support, question=question, answer=answer)
    (example,) = examples = read_curated(lines(record))
    sound(examples)
    ((start, end),), ((first, last),) = example.evidence, example.distractors
    assert (example.prompt[first:last], example.prompt[start:end]) == (story, support)
    assert example.prompt[last:start] == "\n"
    assert example.prompt[end:] == f"\nQuestion: {question}\nAnswer:"
    assert example.target == f" {answer}"


@FEW
@given(before=TEXT, antecedent=WORD, between=TEXT, aside=TEXT, after=TEXT, target=WORD)
def test_any_longra_record(made, lines, sound, before, antecedent, between, aside, after, target):
    prompt = f"{before} {antecedent} {between} ({aside}). {after}"
    start, inside = len(before) + 1, len(before) + len(antecedent) + len(between) + 2
    record = made["longra"](
        prompt=prompt,
        antecedent=antecedent,
        antecedent_span=[start, start + len(antecedent)],
        distractor_span=[inside, inside + len(aside) + 4],
        target=f" {target}",
    )
    (example,) = examples = read_longra(lines(record))
    sound(examples)
    assert (example.prompt, example.target) == (prompt, f" {target}")
    assert [prompt[start:end] for start, end in example.evidence] == [antecedent]
    assert [prompt[start:end] for start, end in example.distractors] == [f" ({aside})."]


@FEW
@given(
    sentences=st.lists(TEXT, min_size=1, max_size=6),
    marks=st.lists(st.sets(st.integers(1, 6)), min_size=1, max_size=5),
    question=TEXT,
)
def test_any_tellmewhy_question(made, lines, sound, sentences, marks, question):
    marks = [{number for number in numbers if number <= len(sentences)} for numbers in marks]
    agreed = {n for n in range(1, len(sentences) + 1) if sum(n in numbers for numbers in marks) > len(marks) / 2}
    records = [
        made["tellmewhy"](0, i, numbers, original_narrative_form=sentences, question=question)
        for i, numbers in enumerate(marks)
    ]
    if not agreed:
        with pytest.raises(ValueError, match="annotators agree"):
            read_tellmewhy(lines(*records))
        return
    (example,) = examples = read_tellmewhy(lines(*records))
    sound(examples)
    assert example.prompt == f"{' '.join(sentences)}\nQuestion: {question}\nAnswer:"
    texts = [[example.prompt[start:end] for start, end in spans] for spans in (example.evidence, example.distractors)]
    assert texts[0] == [sentence for n, sentence in enumerate(sentences, start=1) if n in agreed]
    assert texts[1] == [sentence for n, sentence in enumerate(sentences, start=1) if n not in agreed]


@FEW
@given(sentences=st.lists(TEXT.map(lambda text: text.replace(".", "").replace("?", "") + "xyz."), min_size=2))
def test_any_biography(made, lines, sound, sentences):
    file = lines(made["wikibio"](wiki_bio_text=" ".join(sentences)))
    for count in range(1, len(sentences)):
        (example,) = examples = read_wikibio(file, sentences=count)
        sound(examples)
        assert example.prompt == " ".join(sentences[:count]).strip()
        assert example.target == f" {sentences[count].strip()}"


@FEW
@given(words=st.lists(WORD, min_size=2, max_size=12), data=st.data())
def test_any_lambada_record(made, lines, sound, words, data):
    chosen = data.draw(st.lists(st.integers(0, len(words) - 2), min_size=1, unique=True))
    starts = [len(" ".join(words[:i])) + bool(i) for i in range(len(words))]
    record = made["lambada"](text=" ".join(words), rationale=[[starts[i], starts[i] + len(words[i])] for i in chosen])
    (example,) = examples = read_lambada(lines(record))
    sound(examples)
    assert example.prompt + example.target == " ".join(words)
    assert [example.prompt[start:end] for start, end in example.evidence] == [words[i] for i in sorted(chosen)]
    assert example.distractors == ()


def test_reading_by_name(made, lines):
    file = lines(*(made["longra"](number) for number in range(4)))
    whole = read_longra(file)
    assert read("longra", file) == whole
    assert read("longra", file, limit=3) == whole[:3]
    assert read("longra", file, limit=9) == whole
    assert read("longra", file, known_to="small-model", limit=1) == [whole[1]]


def test_reading_by_name_downloads_only_when_asked(hub, made):
    hub.sets["someone/data"] = [made["lambada"]()]
    with pytest.raises(ValueError, match="pass download=True"):
        read("lambada", "someone/data")
    assert len(read("lambada", "someone/data", download=True, split="validation")) == 1
    assert hub.calls == [("someone/data", "validation")]


def test_wrong_arguments_of_reading_by_name_are_told(made, lines):
    file = lines(made["longra"]())
    with pytest.raises(
        ValueError,
        match="name must be one of curated, longra, tellmewhy, wikibio, lambada, hotpotqa, musique, got 'LongRA'",
    ):
        read("LongRA", file)
    with pytest.raises(ValueError, match="limit must be at least 1, got 0. None takes all."):
        read("longra", file, limit=0)
    with pytest.raises(TypeError, match="sentences"):
        read("longra", file, sentences=2)
