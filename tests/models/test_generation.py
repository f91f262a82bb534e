"""What a model goes on with is its own greedy answer, whatever state it is in and however it is asked."""

import pytest
import torch
from captum.attr import TextTokenInput

from captum_heta import HETA, LLMTokenAttribution, compare
from captum_heta.attr import TDD
from captum_heta.inputs import TextInput
from captum_heta.models import GREEDY, generated
from captum_heta.testing.architectures import tiny_model

IDS = torch.tensor([[0, 5, 9, 23, 7]])
FIVE = GREEDY | {"max_new_tokens": 5, "eos_token_id": None}


@torch.no_grad()
def greedy(model, count=5):
    ids = IDS[0]
    for _ in range(count):
        ids = torch.cat([ids, model(ids[None], use_cache=False).logits[0, -1].argmax()[None]])
    return ids[IDS.shape[1] :]


def test_in_train_mode_without_dropout():
    model = tiny_model("gpt2", attn_pdrop=0.5, resid_pdrop=0.5, embd_pdrop=0.5)
    expected = greedy(model)
    found = [generated(model.train(), IDS, **FIVE) for _ in range(3)]
    assert all(torch.equal(one, expected) for one in found)
    assert model.training


@pytest.mark.parametrize("seed", range(3))
def test_tokens_that_equal_padding_are_read(seed):
    # pad_token = bos_token is common, and transformers masks what looks like padding
    model = tiny_model("llama", seed=seed, pad_token_id=0)
    assert torch.equal(generated(model, IDS, **FIVE), greedy(model))


def test_no_more_than_there_is_room_for(demo):
    model, tokenizer = demo
    long = tokenizer.decode(tokenizer.encode("Anna lives in Rome. " * 200)[1:])
    most = model.config.max_position_embeddings
    ids = tokenizer.encode(long)[: most - 3]
    llm = LLMTokenAttribution(TDD(model), tokenizer)
    inp = TextInput(ids, tokenizer, skip_tokens=[])
    assert len(llm.attribute(inp, direction="forward").output_tokens) <= 4


@pytest.mark.parametrize("where", ["config", "arguments"])
def test_answers_in_a_dictionary(demo, where):
    model, tokenizer = demo
    expected = generated(model, IDS, **FIVE)
    inp = TextTokenInput("Anna lives in Rome. Anna lives in", tokenizer)
    arguments = {"max_new_tokens": 2, "do_sample": False}
    plain = LLMTokenAttribution(HETA(model), tokenizer).attribute(inp, gen_args=arguments, curvature="fisher")
    if where == "config":
        model.generation_config.return_dict_in_generate = True
    else:
        arguments = arguments | {"return_dict_in_generate": True}
    try:
        assert torch.equal(generated(model, IDS, **FIVE), expected)
        found = LLMTokenAttribution(HETA(model), tokenizer).attribute(inp, gen_args=arguments, curvature="fisher")
        other = compare({"HETA": HETA(model)}, tokenizer, inp, gen_args=arguments)
    finally:
        model.generation_config.return_dict_in_generate = None
    assert found.output_tokens == plain.output_tokens == other.results["HETA"].output_tokens
