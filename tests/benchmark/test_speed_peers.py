from importlib.util import find_spec

import pytest

from captum_heta.benchmark import speed_peers
from captum_heta.benchmark.speed_peers import PEERS, missing, peer_cost
from captum_heta.benchmark.speed_prompt import random_subject, text_subject
from captum_heta.demo import load_model
from captum_heta.testing.architectures import shaped_model


def timed(call):
    timed.answers.append(call())
    return 1.5


@pytest.fixture(autouse=True)
def _nothing_timed():
    timed.answers = []


@pytest.fixture(scope="module")
def reader():
    return text_subject(*load_model(), None, 64)


@pytest.fixture
def installed(monkeypatch):
    monkeypatch.setattr(speed_peers, "find_spec", lambda name: object())


@pytest.mark.parametrize("name", PEERS)
def test_what_is_not_installed_is_in_no_row(name, reader, monkeypatch):
    monkeypatch.setattr(speed_peers, "find_spec", lambda name: None)
    assert peer_cost(name, reader, timed) is None
    assert timed.answers == []
    assert missing([name], [reader]) == f"Without {PEERS[name].title}: not installed (pip install {name})."


@pytest.mark.usefixtures("installed")
def test_peers_read_text():
    subject = random_subject(shaped_model("tiny"), 8)
    assert missing(["inseq"], [subject]) == "Without Inseq, saliency: reads text, give --model."
    assert peer_cost("flashtrace", subject, timed) is None


@pytest.mark.usefixtures("installed")
def test_flashtrace_reads_models_like_llama(reader):
    other = text_subject(*load_model("gpt_neox"), None, 64)
    assert missing(list(PEERS), [reader]) == ""
    message = "Without FlashTrace: reads models that are built as Llama alone."
    assert missing(list(PEERS), [reader, other]) == message
    assert peer_cost("flashtrace", other, timed) is None


@pytest.mark.skipif(find_spec("inseq") is None, reason="Inseq is not installed")
@pytest.mark.filterwarnings("default")
def test_inseq_explains_the_answer(reader):
    assert peer_cost("inseq", reader, timed).seconds == 1.5
    (found,) = timed.answers[0].sequence_attributions
    length = len(reader.ids)
    assert found.target_attributions.shape[:2] == (length + 1, 1)  # the prompt and the one token of the answer
    assert found.target[length].token.strip("Ġ▁ ") == reader.answer.strip()


@pytest.mark.skipif(find_spec("flashtrace") is None, reason="FlashTrace is not installed")
@pytest.mark.filterwarnings("default")
def test_flashtrace_explains_the_answer(reader):
    before = reader.model.config._attn_implementation
    assert peer_cost("flashtrace", reader, timed).seconds == 1.5
    assert reader.model.config._attn_implementation == before
    (found,) = timed.answers
    assert found.generation_tokens[0] == reader.answer
    assert len(found.scores) == len(found.prompt_tokens) > 1
    assert sum(found.scores) > 0
