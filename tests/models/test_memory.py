import itertools

import pytest
import torch

from captum_heta import HETA
from captum_heta.attr import ReAGent
from captum_heta.features import Features
from captum_heta.metrics import soft_nc
from captum_heta.models import Batch, CausalLM, trace_of
from captum_heta.models.memory import MEMORY_VARIABLE
from captum_heta.options import CurvatureOptions
from captum_heta.terms.curvature import curvature
from captum_heta.testing.architectures import tiny_model


@pytest.fixture(scope="module")
def model():
    return tiny_model("llama")


def test_longer_rows_and_products_leave_room_for_fewer(model):
    lm = CausalLM(model)
    sizes = [
        lm.batch_size(64, keep=1),
        lm.batch_size(512, keep=1),
        lm.batch_size(512, keep=1, products=True),
        lm.batch_size(10**6, keep=1),
    ]
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == len(sizes)
    assert sizes[-1] == 1


def test_variable_sets_the_budget(model, monkeypatch):
    lm = CausalLM(model)
    usual = lm.batch_size(512, keep=1)
    monkeypatch.setenv(MEMORY_VARIABLE, str(10 * 192))
    assert 10 * usual <= lm.batch_size(512, keep=1) < 10 * (usual + 1)
    for wrong in ("0", "1.5", "much"):
        monkeypatch.setenv(MEMORY_VARIABLE, wrong)
        with pytest.raises(ValueError, match=f"{MEMORY_VARIABLE} must be a whole number of MiB above 0, got '{wrong}'"):
            lm.batch_size(512, keep=1)


class Scarce:
    """Doubles rows, and has memory for some at a time."""

    def __init__(self, most, error):
        self.most, self.error, self.calls = most, error, []

    def __call__(self, rows):
        self.calls.append(len(rows))
        if len(rows) > self.most:
            raise self.error
        return [2 * row for row in rows]


GPU_ERROR = torch.OutOfMemoryError("CUDA out of memory")
CPU_ERROR = RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: 9 bytes")


@pytest.mark.parametrize("error", [GPU_ERROR, CPU_ERROR])
def test_goes_on_with_half_after_memory_ran_out_and_loses_nothing(error):
    scarce = Scarce(3, error)
    batch = Batch(8)
    with pytest.warns(UserWarning, match="Memory ran out") as warned:
        results = batch.run(range(20), scarce)
    assert [str(warning.message)[:58] for warning in warned] == [
        "Memory ran out with 8 rows at once; going on with 4. Nothi",
        "Memory ran out with 4 rows at once; going on with 2. Nothi",
    ]
    assert [value for part in results for value in part] == [2 * row for row in range(20)]
    assert scarce.calls == [8, 4, *[2] * 10]
    # and starts there the next time
    batch.run(range(4), scarce)
    assert scarce.calls[-2:] == [2, 2]


@pytest.mark.parametrize("scale", [1.0, 1.4, 3.0, 40.0])
def test_shorter_rows_go_on_with_half_too(scale):
    scarce = Scarce(1, CPU_ERROR)
    batch = Batch(2)
    with pytest.warns(UserWarning, match="Memory ran out"):
        results = batch.run(range(20), scarce, scale=scale)
    assert [value for part in results for value in part] == [2 * row for row in range(20)]
    assert scarce.calls[0] == min(20, int(2 * scale))
    assert all(later <= max(1, earlier) for earlier, later in itertools.pairwise(scarce.calls))


def test_memory_for_no_row_at_all_is_an_error_that_says_what_to_do():
    with pytest.raises(RuntimeError, match="one row at a time. Use a shorter prompt or a model in bfloat16."):
        Batch(1).run(range(4), Scarce(0, GPU_ERROR))
    with pytest.raises(RuntimeError, match="one row at a time. Use fewer, a shorter prompt or a model in bfloat16."):
        Batch(1).run(range(4), Scarce(0, GPU_ERROR), cheaper="fewer")


def test_a_size_that_a_person_chose_does_not_grow():
    assert Batch(2).at_least(8).size == 8
    assert Batch(9).at_least(8).size == 9
    assert Batch(2, chosen=True).at_least(8).size == 2


def test_long_graphs_do_not_fit(model, monkeypatch):
    lm = CausalLM(model)
    assert lm.graph_fits(64)
    assert not lm.graph_fits(100_000)
    assert lm.layer_rows(64) > lm.layer_rows(512) >= 1
    assert lm.gradient_rows(512) > lm.layer_rows(512)
    assert lm.gradient_rows(64) > lm.gradient_rows(512) >= lm.gradient_rows(10**9) == 1


def test_other_errors_are_not_swallowed():
    scarce = Scarce(1, RuntimeError("shapes do not match"))
    with pytest.raises(RuntimeError, match="shapes do not match"):
        Batch(8).run(range(4), scarce)
    assert scarce.calls == [4]


def with_memory_for(monkeypatch, most):
    """From now on so many rows at once fit."""
    run = Batch.run

    def scarce(batch, rows, compute, *advice, **scale):
        def limited(part):
            if len(part) > most:
                raise GPU_ERROR
            return compute(part)

        return run(batch, rows, limited, *advice, **scale)

    monkeypatch.setattr(Batch, "run", scarce)


@pytest.mark.parametrize("curvature", ["exact", "low_rank", "gauss_newton", "fisher"])
def test_a_whole_call_survives_running_out(model, monkeypatch, curvature):
    ids = torch.arange(40)[None]
    options = {"target": 3, "curvature": curvature, "n_samples": 3, "rank": 6}
    expected = HETA(model).attribute(ids, **options)
    with_memory_for(monkeypatch, 2)
    with pytest.warns(UserWarning, match="Memory ran out"):
        torch.testing.assert_close(HETA(model).attribute(ids, **options), expected)


@pytest.mark.parametrize("mode", ["exact", "low_rank", "gauss_newton", "fisher"])
def test_only_second_derivatives_are_told_of_a_cheaper_mode(model, monkeypatch, mode):
    lm, features = CausalLM(model), Features.of_tokens(range(4))
    with lm.ready():
        trace = trace_of(lm, lm.embed(torch.arange(4)), 1)
        with_memory_for(monkeypatch, 0)
        with pytest.raises(RuntimeError, match="one row at a time") as raised:
            curvature(trace, features, [3], CurvatureOptions(curvature=mode), Batch(1))
    assert ("Use curvature='fisher', a shorter prompt" in str(raised.value)) == (mode != "fisher")


def test_other_methods_and_metrics_are_not_advised_to_take_a_mode_of_heta(model, monkeypatch):
    ids = torch.arange(4)[None]
    with_memory_for(monkeypatch, 0)
    with pytest.raises(RuntimeError, match=r"Use a shorter prompt or a model in bfloat16\.$"):
        soft_nc(model, ids, torch.ones(1, 4), perturbations_per_eval=1)
    with pytest.raises(RuntimeError, match=r"Use a shorter prompt or a model in bfloat16\.$"):
        ReAGent(model).attribute(ids, target=3, perturbations_per_eval=1)
