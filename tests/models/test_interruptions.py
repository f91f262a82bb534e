"""Ctrl-C at any moment leaves no model changed."""

import gc
import os
import random
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

import captum_heta.models
from captum_heta import HETA
from captum_heta.attr import AttnLRP, NormXLogit, Peering
from captum_heta.metrics import gaussian_sensitivity
from captum_heta.testing.architectures import tiny_model

IDS = torch.tensor([[2, 5, 9, 23, 7, 9]])
# hooks, flags and locks are in here, and nowhere else
FOLDER = str(Path(captum_heta.models.__file__).parent)


@pytest.fixture
def _young_garbage():
    """Garbage is collected after each of many calls, and there are millions of older objects that are none."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def unusual():
    model = tiny_model("gpt2").train()
    model.transformer.h[1].eval()
    model.transformer.wte.weight.requires_grad_(False)
    return model


def snapshot(model):
    return (
        model.config._attn_implementation,
        tuple(module.training for module in model.modules()),
        tuple(parameter.requires_grad for parameter in model.parameters()),
        tuple(parameter.grad is None for parameter in model.parameters()),
        sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()),
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
    )


CALLS = {
    "fisher": lambda model: HETA(model).attribute(IDS, target=3, curvature="fisher", rank=2),
    "last layers": lambda model: HETA(model).attribute(IDS, target=3, curvature="exact", n_samples=1, last_n_layers=1),
    "no target": lambda model: HETA(model).attribute(IDS, curvature="low_rank", rank=2),
    "relevance": lambda model: AttnLRP(model).attribute(IDS, target=3),
    "states": lambda model: NormXLogit(model).attribute(IDS, layer=1),
    "peering": lambda model: Peering(model).attribute(IDS, target=3),
    "noise": lambda model: gaussian_sensitivity(
        lambda ids: NormXLogit(model).attribute(ids, target=3), model, IDS, n_draws=1
    ),
}


def interrupted_at(call, line):
    """Run a call, and raise KeyboardInterrupt at its so-manieth line in the folder; how many lines there were."""
    count = 0

    def in_frame(frame, event, argument):
        nonlocal count
        if event == "line":
            count += 1
            if count == line:
                raise KeyboardInterrupt
        return in_frame

    sys.settrace(lambda frame, event, argument: in_frame if frame.f_code.co_filename.startswith(FOLDER) else None)
    try:
        call()
    except KeyboardInterrupt:
        pass
    finally:
        sys.settrace(None)
    return count


@pytest.mark.usefixtures("_young_garbage")
@pytest.mark.parametrize("name", CALLS)
def test_at_random_lines(name):
    call, chance = CALLS[name], random.Random(name)
    lines = interrupted_at(lambda: call(unusual()), line=-1)
    # the last lines undo what the others did
    for line in [*chance.sample(range(1, lines), 7), *range(lines - 4, lines + 1)]:
        model = unusual()
        before = snapshot(model)
        interrupted_at(lambda model=model: call(model), line)
        gc.collect()
        assert snapshot(model) == before, f"at line {line} of {lines}"
        torch.set_grad_enabled(True)


def test_the_model_works_afterwards_and_for_other_threads():
    model = unusual()
    expected = CALLS["fisher"](unusual())
    lines = interrupted_at(lambda: CALLS["fisher"](unusual()), line=-1)
    for line in random.Random(1).sample(range(1, lines), 5):
        interrupted_at(lambda: CALLS["fisher"](model), line)
        with ThreadPoolExecutor(1) as pool:
            found = pool.submit(CALLS["fisher"], model).result(timeout=60)  # which has its lock back
        torch.testing.assert_close(found, expected)


@pytest.mark.usefixtures("_young_garbage")
@pytest.mark.skipif(threading.current_thread() is not threading.main_thread(), reason="signals reach the main thread")
def test_real_signals():
    def call(model):
        HETA(model).attribute(IDS, target=3, curvature="exact", n_samples=2)

    start = time.perf_counter()
    call(unusual())
    duration = time.perf_counter() - start
    chance, interrupted, tried = random.Random(0), 0, 0
    while tried < 8 or (not interrupted and tried < 80):  # on a busy machine the first call may take far longer
        tried += 1
        model = unusual()
        before = snapshot(model)
        timer = threading.Timer(chance.uniform(0, duration), lambda: os.kill(os.getpid(), signal.SIGINT))
        try:
            timer.start()
            call(model)
            timer.cancel()
            timer.join()
            time.sleep(0.001)  # a signal that was under way
        except KeyboardInterrupt:
            interrupted += 1
        timer.join()
        gc.collect()
        assert snapshot(model) == before
    assert interrupted


def test_errors_while_something_is_undone_hide_nothing(monkeypatch):
    model = unusual()
    before = snapshot(model)
    monkeypatch.setattr("captum_heta.attr.sequence_terms.MaskedCopies.of", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        HETA(model).attribute(IDS, target=3)
    assert snapshot(model) == before
