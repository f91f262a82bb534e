import sys
import threading

import pytest
import torch
from transformers.models.llama import modeling_llama

from captum_heta import HETA
from captum_heta.models.interface import listening, uses_interface
from captum_heta.testing.architectures import CONFIGS, tiny_model

IDS = torch.tensor([[2, 5, 9, 23]])
OWN_CODE = ("gptj", "bloom", "falcon", "stablelm")  # in some transformers their attention calls no interface


@pytest.mark.parametrize("name", CONFIGS)
def test_the_function_of_the_interface_has_not_moved(name):
    found = [module for module in tiny_model(name).modules() if uses_interface(module)]
    assert len(found) == 2 or name in OWN_CODE


def test_what_is_heard():
    model = tiny_model("llama", attn_implementation="eager")
    attention, heard = model.model.layers[1].self_attn, []
    with listening([(attention, heard.append)]):
        model(IDS)
    model(IDS)
    assert len(heard) == 1
    assert heard[0].values.shape == (1, 2, 4, 8)
    assert heard[0].weights.shape == (1, 4, 4, 4)
    torch.testing.assert_close(heard[0].product(), heard[0].gathered[0])


def test_what_a_listener_returns_stands_for_what_was_gathered():
    model = tiny_model("llama", attn_implementation="eager")
    listeners = [(layer.self_attn, lambda found: torch.zeros_like(found.gathered)) for layer in model.model.layers]
    with torch.no_grad(), listening(listeners):
        silent = model(IDS).logits
    other = tiny_model("llama", attn_implementation="eager")
    for layer in other.model.layers:
        layer.self_attn.o_proj.weight.data.zero_()
    torch.testing.assert_close(silent, other(IDS).logits)


def test_it_is_put_back_after_an_interruption_and_beside_another():
    own = modeling_llama.eager_attention_forward
    model = tiny_model("llama", attn_implementation="eager")
    first, second = (layer.self_attn for layer in model.model.layers)

    def interrupt(_):
        raise KeyboardInterrupt

    with listening([(second, lambda _: None)]):
        assert modeling_llama.eager_attention_forward is not own
        with pytest.raises(KeyboardInterrupt), listening([(first, interrupt)]):
            model(IDS)
        assert modeling_llama.eager_attention_forward is not own
    assert modeling_llama.eager_attention_forward is own
    HETA(model).attribute(IDS, n_samples=1)
    assert modeling_llama.eager_attention_forward is own


def test_threads_hear_their_own_models():
    expected = [HETA(tiny_model("llama", seed=seed)).attribute(IDS, target=3, n_samples=2) for seed in range(3)]
    models = [tiny_model("llama", seed=seed) for seed in range(3)]
    found = {}
    switch = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        threads = [
            threading.Thread(
                target=lambda n=n: found.update({n: HETA(models[n]).attribute(IDS, target=3, n_samples=2)})
            )
            for n in range(3)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(switch)
    for number, scores in enumerate(expected):
        torch.testing.assert_close(found[number], scores)
    assert modeling_llama.eager_attention_forward.__module__ == modeling_llama.__name__
