import warnings
from dataclasses import replace

import pytest
import torch
from captum.attr import TextTokenInput

from captum_heta import (
    HETA,
    DocumentsInput,
    LLMTokenAttribution,
    LLMTokenAttributionResult,
    TargetedHETA,
    compare,
)
from captum_heta.attr.base import Task
from captum_heta.attr.sink import sink_of
from captum_heta.attr.weighted import _about
from captum_heta.demo import load_model
from captum_heta.features import Features
from captum_heta.models import CausalLM
from captum_heta.testing.architectures import tiny_model

MOST = torch.tensor([[0.7, 0.1, 0.05, 0.05, 0.05, 0.05]])
IDS = torch.tensor([5, 6, 7, 8, 9, 10])


@pytest.fixture
def lm():
    return CausalLM(tiny_model("llama"))  # whose beginning-of-text token is 0


def task(ids=IDS, first=0):
    return Task(ids, torch.tensor([3]), Features.of_tokens(range(first, len(ids))))


def test_is_told_once_for_a_model(lm):
    with pytest.warns(UserWarning, match=r"The first token has 70% of the attention flow of LlamaForCausalLM") as told:
        assert sink_of(lm, MOST, task()) == pytest.approx(0.7)
    message = str(told[0].message)
    assert "does not begin with its beginning-of-text token (0)" in message
    assert "TargetedHETA or flow='contribution'" in message
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert sink_of(lm, MOST, task()) == pytest.approx(0.7)
        sink_of(CausalLM(lm.model), MOST, task())  # another view of the same model


@pytest.mark.parametrize(
    ("flow", "asked"),
    [
        (MOST.flip(1), task()),  # the last token has most
        (torch.full((1, 6), 1 / 6), task()),
        (MOST, task(torch.tensor([0, 6, 7, 8, 9, 10]))),  # a text that begins as texts do
        (MOST, task(first=1)),  # a first token that is no feature
        (torch.tensor([[0.8, 0.1, 0.1]]), task(IDS[:3])),  # few tokens
    ],
)
def test_where_there_is_none_nothing_is_told(lm, flow, asked):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert sink_of(lm, flow, asked) == 0


def test_a_model_without_a_beginning_is_told_of_too():
    lm = CausalLM(tiny_model("llama", bos_token_id=None))
    lm.model.generation_config.bos_token_id = None
    with pytest.warns(UserWarning, match="does not begin with a special token"):
        sink_of(lm, MOST, task())


def test_the_flow_of_attention_alone_is_looked_at(monkeypatch):
    monkeypatch.setattr("captum_heta.attr.sink._MOST", 0.0)
    model = tiny_model("llama")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        TargetedHETA(model).attribute(IDS[None], target=3, rank=4)
    with pytest.warns(UserWarning, match="an attention sink, which the gate of HETA's Eq. 5 follows"):
        HETA(model).attribute(IDS[None], target=3, n_samples=1)


@pytest.mark.filterwarnings("ignore:The first token has")
def test_pages_and_files_tell_of_it_each_time(monkeypatch, tmp_path):
    model, tokenizer = load_model()
    prompt = "Anna lives in Rome. Ben lives in Oslo. Ben lives in"
    monkeypatch.setattr("captum_heta.attr.sink._MOST", 0.0)
    # a first token that is no beginning-of-text token
    inp = TextTokenInput(prompt, tokenizer, skip_tokens=[])
    monkeypatch.setattr(CausalLM, "first_ids", frozenset())
    for _ in range(2):
        result = LLMTokenAttribution(HETA(model), tokenizer).attribute(inp, " Oslo", n_samples=1)
        assert 0 < result.provenance["attention_sink"] < 1
        assert "an attention sink, which the gate of HETA&#39;s Eq. 5 follows" in result.to_html()
    result.save(tmp_path / "it.json")
    assert "an attention sink" in LLMTokenAttributionResult.load(tmp_path / "it.json").to_html()
    found = compare(["targeted", "heta"], tokenizer, inp, " Oslo", model=model, options={"heta": {"n_samples": 1}})
    assert found.to_html().count("an attention sink") == 1
    assert "HETA: The first token has" in found.to_html()
    targeted = LLMTokenAttribution(TargetedHETA(model), tokenizer).attribute(inp, " Oslo")
    assert targeted.provenance["attention_sink"] is None
    assert "attention sink" not in targeted.to_html()


def test_a_page_of_sources_tells_of_it():
    model, tokenizer = load_model()
    inp = DocumentsInput({"one": "Anna lives in Rome.", "two": "Ben lives in Oslo."}, "Where does Ben live?", tokenizer)
    sources = LLMTokenAttribution(TargetedHETA(model), tokenizer).attribute(inp, " Oslo").sources()
    assert "attention sink" not in sources.to_html()
    told = replace(sources, provenance=sources.provenance | {"attention_sink": 0.7})
    assert "The first token has 70% of the attention flow" in told.to_html()
    strange = replace(sources, provenance=sources.provenance | {"attention_sink": "most"})  # of a file
    assert "an attention sink" not in strange.to_html()


def test_of_several_sentences_the_largest_is_told():
    assert _about([{"attention_sink": 0.6}, {"attention_sink": None}])["attention_sink"] == 0.6
    assert _about([{"attention_sink": None}])["attention_sink"] is None
