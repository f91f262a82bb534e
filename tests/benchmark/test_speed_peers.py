from types import SimpleNamespace

import pytest
import torch

from captum_heta.benchmark.speed_peers import PEERS, missing, peer_cost
from captum_heta.benchmark.speed_prompt import random_subject, text_subject
from captum_heta.demo import load_model
from captum_heta.methods import PEERS as METHODS
from captum_heta.testing.architectures import shaped_model, tiny_model


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
    monkeypatch.setattr("captum_heta.peers.package.find_spec", lambda name: object())


@pytest.mark.parametrize("name", PEERS)
def test_what_is_not_installed_is_in_no_row(name, reader, monkeypatch):
    monkeypatch.setattr("captum_heta.peers.package.find_spec", lambda name: None)
    assert peer_cost(name, reader, timed) is None
    assert timed.answers == []
    extra = METHODS[name].type.package.extra
    message = f"Without {PEERS[name]}: {extra} is not installed: pip install 'captum-heta[{extra}]'."
    assert missing([name], [reader, reader]) == message


@pytest.mark.usefixtures("installed")
def test_flashtrace_reads_text():
    subject = random_subject(tiny_model("llama"), 8)
    assert missing(["inseq_saliency"], [subject]) == ""
    message = "Without FlashTrace: it looks at the text of tokens, give --model."
    assert missing(list(PEERS), [subject]) == message
    assert peer_cost("flashtrace", subject, timed) is None


@pytest.mark.usefixtures("installed")
def test_flashtrace_reads_models_like_llama(reader):
    other = text_subject(*load_model("gpt_neox"), None, 64)
    assert missing(list(PEERS), [reader]) == ""
    message = "Without FlashTrace: FlashTrace reads models that are built as Llama alone, and GPTNeoXForCausalLM is not"
    assert missing(list(PEERS), [reader, other]).startswith(message)
    assert peer_cost("flashtrace", other, timed) is None


def test_the_first_output_is_explained(monkeypatch):
    subject = random_subject(shaped_model("tiny"), 8)
    asked = []

    def attribute_outputs(ids, outputs, features):
        asked.append((ids.tolist(), outputs.tolist(), len(features)))
        return len(asked)

    method = SimpleNamespace(
        type=SimpleNamespace(package=SimpleNamespace(missing="")),
        of_tokenizer=False,
        make=lambda model, tokenizer: SimpleNamespace(attribute_outputs=attribute_outputs),
    )
    monkeypatch.setitem(METHODS, "inseq_saliency", method)
    assert peer_cost("inseq_saliency", subject, timed, warm=True).seconds == 1.5
    assert timed.answers == [2]
    assert asked == [(subject.ids.tolist(), [subject.target], 8)] * 2


@pytest.mark.parametrize("name", PEERS)
@pytest.mark.filterwarnings("default")
def test_peers_explain_the_answer(name, reader):
    pytest.importorskip(METHODS[name].type.package.module)
    assert peer_cost(name, reader, timed).seconds == 1.5
    (found,) = timed.answers
    assert found.scores.shape == (1, len(reader.features))
    assert torch.count_nonzero(found.scores) > 10
