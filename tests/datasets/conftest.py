"""Small data sets with invented texts, in the schemas of the published ones."""

import json
import os
import re
import sys
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

ROOT = Path(__file__).parents[2]


def curated(number=0, **changed):
    support = f"Iron rusts quickly in salt-water because iron meets {['oxygen', 'salt'][number % 2]}."
    return {
        "id": f"made-up-{number}",
        "base_pair_id": "n__s",
        "narrative_segment": f"The clown of circus {number} forgot the red nose.",
        "sciq_support_segment": support,
        "question": "What rusts?",
        "answer": "iron",
        "input_text": "not read",
        "important_words": ["iron", "salt-water", "rusts"],
    } | changed


def longra(number=0, **changed):
    prompt = f"My visit {number} began in Freedonia. (The soup was cold). I loved the capital,"
    start, aside = prompt.index("Freedonia"), prompt.index(" (")
    return {
        "id": f"longra-made-up-{number:03}",
        "category": "made-up",
        "prompt": prompt,
        "target": " Fredville",
        "antecedent": "Freedonia",
        "antecedent_span": [start, start + len("Freedonia")],
        "distractor_span": [aside, prompt.index(").") + 2],
        "source_pair": ["Fredville", "Freedonia"],
        "models_correct": ["small-model"] if number % 2 else [],
    } | changed


def tellmewhy(number=0, annotator=0, helpful=(2,), **changed):
    sentences = [f"Ada found {number} keys.", "One key was bent.", "She sang."]
    return {
        "narrative": " ".join(sentences),
        "question": "Why did Ada ask a smith?",
        "original_sentence_for_question": sentences[0],
        "narrative_lexical_overlap": 0.5,
        "is_ques_answerable": "Answerable",
        "answer": f"Annotator {annotator} says that a key was bent.",
        "is_ques_answerable_annotator": "Answerable",
        "original_narrative_form": sentences,
        "question_meta": f"story_{number}",
        "helpful_sentences": list(helpful),
        "human_eval": False,
        "val_ann": [],
        "gram_ann": [],
    } | changed


def wikibio(number=0, **changed):
    return {
        "wiki_bio_test_idx": number,
        "wiki_bio_text": f"Dr. J. C. Nobody ({number}) was a baker of U.S. bread. He liked rye! He slept late.\n",
        "gpt3_text": "Not read.",
        "gpt3_sentences": ["Not read."],
        "annotation": ["accurate"],
    } | changed


def lambada(number=0, **changed):
    text = f"The {number} lamps were lit.\nShe moved the wick, and up went the flame"
    wick, lamps = text.index("wick"), text.index("lamps")
    return {"lambadaIndex": number, "text": text, "rationale": [[wick, wick + 4], [lamps, lamps + 5]]} | changed


def hotpotqa(number=0, **changed):
    """As the library `datasets` has it: columns."""
    return {
        "id": f"made-up-{number}",
        "question": "Where is the factory of the kettle that Ada likes?",
        "answer": "Freedonia",
        "type": "bridge",
        "level": "easy",
        "supporting_facts": {"title": ["Ada", "Kettle"], "sent_id": [1, 0]},
        "context": {
            "title": ["Teapot", "Ada", "Kettle"],
            "sentences": [
                ["A teapot is hot.", " It sings."],
                [f"Ada has {number} cups.", " She likes a kettle."],
                ["The kettle is made in Freedonia.", " ", " It is red."],
            ],
        },
    } | changed


def musique(number=0, **changed):
    texts = [
        ("Teapot", "A teapot is hot. It sings.", False),
        ("Ada", f"Ada has {number} cups. She likes a kettle.", True),
        ("Kettle", "The kettle is made in Freedonia.", True),
    ]
    return {
        "id": f"2hop__{number}",
        "paragraphs": [
            {"idx": idx, "title": title, "paragraph_text": text, "is_supporting": supports}
            for idx, (title, text, supports) in enumerate(texts)
        ],
        "question": "Where is the kettle made that Ada likes?",
        "question_decomposition": [],
        "answer": "Freedonia",
        "answer_aliases": [],
        "answerable": True,
    } | changed


MADE = {
    "curated": curated,
    "longra": longra,
    "tellmewhy": tellmewhy,
    "wikibio": wikibio,
    "lambada": lambada,
    "hotpotqa": hotpotqa,
    "musique": musique,
}


@pytest.fixture(scope="session")
def made():
    """Makers of records, by the name of their data set: a number and fields to change."""
    return MADE


@pytest.fixture(scope="session")
def lines(tmp_path_factory):
    """Writes records as JSON Lines and gives the file."""

    def write(*records, suffix=".jsonl"):
        file = tmp_path_factory.mktemp("data") / f"records{suffix}"
        file.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
        return file

    return write


@pytest.fixture(scope="session")
def sound():
    """Checks what holds for the examples of every reader."""

    def check(examples):
        assert examples
        assert len({example.id for example in examples}) == len(examples)
        for example in examples:
            assert example.id
            assert example.source
            assert example.licence
            assert example.prompt
            assert example.prompt == example.prompt.rstrip()
            assert example.target is None or (example.target[0] == " " and example.target[1:].strip() != "")
            assert example.target is None or example.target[1:] == example.target.strip()
            spans = [*example.evidence, *example.distractors]
            assert all(0 <= start < end <= len(example.prompt) for start, end in spans)
            assert all(example.prompt[start:end].strip() for start, end in spans)
            ordered = sorted(spans)
            assert all(one[1] <= other[0] for one, other in pairwise(ordered))
            for start, end in spans if example.passage else ():
                assert any(first <= start < end <= last <= len(example.prompt) for first, last in example.passage)

    return check


@pytest.fixture(scope="session")
def published():
    """The folder of the published samples; tests that need it are skipped without it."""
    named = os.environ.get("CAPTUM_HETA_DATA")
    folder = Path(named) if named else ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no published samples in {folder}: CAPTUM_HETA_DATA names their folder")
    return folder


@pytest.fixture
def reader(monkeypatch, demo):
    """The embedded model, but its next token is what stands in the text where the prompt's last words are said before.

    What it is asked is kept.
    """
    model, tokenizer = demo
    asked = []

    def next_token(prompt, lm):
        assert lm.model is model
        asked.append(prompt.text)
        cue = prompt.text.rsplit("Answer: ", 1)[1]
        (value,) = re.findall(rf"{re.escape(cue)} (\w+)\.", prompt.text)
        return torch.tensor(tokenizer.encode(f" {value}", add_special_tokens=False)[:1])

    monkeypatch.setattr("captum_heta.inputs.target.next_token", next_token)
    return SimpleNamespace(model=model, tokenizer=tokenizer, asked=asked)


@pytest.fixture
def hub(monkeypatch):
    """A hub without network: what is put into it is what `datasets.load_dataset` gives, and calls are kept."""
    sets, calls = {}, []

    def load_dataset(name, config, *, split):
        calls.append((name, split) if config is None else (name, config, split))
        return sets[name]

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    return SimpleNamespace(sets=sets, calls=calls)
