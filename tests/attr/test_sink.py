import warnings

import pytest
import torch

from captum_heta import HETA, TargetedHETA
from captum_heta.attr.base import Task
from captum_heta.attr.sink import warn_of_sink
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
        warn_of_sink(lm, MOST, task())
    message = str(told[0].message)
    assert "does not begin with its beginning-of-text token (0)" in message
    assert "TargetedHETA or flow='contribution'" in message
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_sink(lm, MOST, task())
        warn_of_sink(CausalLM(lm.model), MOST, task())  # another view of the same model


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
        warn_of_sink(lm, flow, asked)


def test_a_model_without_a_beginning_is_told_of_too():
    lm = CausalLM(tiny_model("llama", bos_token_id=None))
    lm.model.generation_config.bos_token_id = None
    with pytest.warns(UserWarning, match="does not begin with a special token"):
        warn_of_sink(lm, MOST, task())


def test_the_flow_of_attention_alone_is_looked_at(monkeypatch):
    monkeypatch.setattr("captum_heta.attr.sink._MOST", 0.0)
    model = tiny_model("llama")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        TargetedHETA(model).attribute(IDS[None], target=3, rank=4)
    with pytest.warns(UserWarning, match="an attention sink, which the gate of HETA's Eq. 5 follows"):
        HETA(model).attribute(IDS[None], target=3, n_samples=1)
