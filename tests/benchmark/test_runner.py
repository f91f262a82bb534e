import importlib
import multiprocessing
import os
import random
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from captum_heta.attr import HETA, NormXLogit
from captum_heta.benchmark import runner
from captum_heta.benchmark.lines import read_lines
from captum_heta.benchmark.runner import chosen
from captum_heta.demo import examples

sys.path.insert(0, str(Path(__file__).parent))  # where the process that is killed finds what it runs, too
killed = importlib.import_module("killed")


def timeless(lines):
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The lines of a run that nothing interrupts."""
    run = killed.benchmark(tmp_path_factory.mktemp("whole"))
    steps = list(run.run())
    assert steps == list(range(run.attributions + 1))
    return timeless(run.results())


def test_there_is_a_line_for_each_row_of_each_example(whole):
    assert len(whole) == 6 * 4
    assert [line["method"] for line in whole[:4]] == ["NormXLogit", "Attention Rollout", "LIME", "random"]
    assert [line["data"] for line in whole[::4]] == ["one"] * 4 + ["two"] * 2
    for line in whole:
        assert set(line["metrics"]) == {"soft_nc", "dsa"}
        assert len(line["scores"]) == line["tokens"]


def test_lines_are_what_the_method_gives(whole, demo):
    model, tokenizer = demo
    for item, line in zip(examples(4), whole[::4], strict=False):
        ids = torch.tensor([tokenizer.encode(item.prompt)])
        (target,) = tokenizer.encode(item.target, add_special_tokens=False)
        expected = NormXLogit(model).attribute(ids, target=target)[0, 1:]
        torch.testing.assert_close(torch.tensor(line["scores"]), expected, rtol=1e-4, atol=1e-4)
        assert line["target"] == item.target


def test_ten_kills_lose_and_change_nothing(whole, tmp_path):
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["captum_heta.benchmark.runner", "captum_heta.demo"])
    rng, last, within = random.Random(0), 0, 0
    for _ in range(10):
        process = context.Process(target=killed.main, args=(str(tmp_path),))
        process.start()
        # from before the first line to some lines later; what is killed late enough has finished
        until = time.monotonic() + 60
        more = rng.randrange(0, 4)
        while process.is_alive() and time.monotonic() < until and _lines(tmp_path) < last + more:
            time.sleep(0.001)
        time.sleep(rng.random() * 0.02)
        if process.pid is not None and process.is_alive():
            os.kill(process.pid, signal.SIGKILL)
        process.join()
        within += process.exitcode == -signal.SIGKILL and 0 < _lines(tmp_path) < len(whole)
        last = _lines(tmp_path)
    assert within  # a kill fell within the run; on a fast machine the last ones may find it done
    run = killed.benchmark(tmp_path)
    for _ in run.run():
        pass
    assert timeless(run.results()) == whole
    # none was computed twice
    written = (tmp_path / "lines-0.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(written) == len(whole)


def _lines(folder):
    path = folder / "lines-0.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def test_two_processes_have_the_lines_of_one(whole, tmp_path):
    first, second = (killed.benchmark(tmp_path, rank=rank, processes=2) for rank in range(2))
    for _ in second.run():
        pass
    assert second.results() is None
    assert len(read_lines(tmp_path)) == 12
    for _ in first.run():
        pass
    assert timeless(first.results()) == whole == timeless(second.results())


def test_the_order_of_rows_does_not_matter(whole, tmp_path):
    run = killed.benchmark(tmp_path, rows=killed.ROWS[::-1])
    for _ in run.run():
        pass
    assert sorted(map(str, timeless(run.results()))) == sorted(map(str, whole))


def test_rows_can_be_added_and_nothing_is_run_again(tmp_path, monkeypatch):
    rows = ("heta:fisher", "random")
    for _ in killed.benchmark(tmp_path, rows).run():
        pass
    calls = []
    attribute = HETA.attribute_outputs
    monkeypatch.setattr(
        HETA, "attribute_outputs", lambda *args, **kwargs: calls.append(1) or attribute(*args, **kwargs)
    )
    run = killed.benchmark(tmp_path, (*rows, "heta:fisher/gate", "heta:fisher/curvature"))
    for _ in run.run():
        pass
    assert len(calls) == 6  # one attribution for both
    assert len(run.results()) == 6 * 4
    assert list(run.run())[-1] == run.attributions
    assert len(calls) == 6


def test_a_method_that_fails_is_a_line_and_may_be_tried_again(tmp_path, monkeypatch):
    def broken(*args, **kwargs):
        raise RuntimeError("no memory")

    with monkeypatch.context() as patched:
        patched.setattr(NormXLogit, "attribute_outputs", broken)
        run = killed.benchmark(tmp_path, ("normxlogit", "random"))
        for _ in run.run():
            pass
    failed = [line for line in run.results() if "error" in line]
    assert {line["method"] for line in failed} == {"NormXLogit"}
    assert {line["error"] for line in failed} == {"RuntimeError: no memory"}
    for _ in run.run():
        pass
    assert [line for line in run.results() if "error" in line] == failed
    for _ in run.run(retry_failed=True):
        pass
    assert not [line for line in run.results() if "error" in line]


def test_a_metric_that_fails_is_a_line(tmp_path, monkeypatch):
    def broken(found):
        raise ValueError("there is no such number")

    monkeypatch.setitem(runner.MEASURES, "dsa", broken)
    run = killed.benchmark(tmp_path, ("normxlogit",))
    for _ in run.run():
        pass
    assert {line["error"] for line in run.results()} == {"ValueError: there is no such number"}


def test_scores_that_are_not_finite_are_told(tmp_path):
    run = killed.benchmark(tmp_path, ("random",))
    run._sources[0].rows["random"] = lambda result: result.seq_attr * float("nan")
    for _ in run.run():
        pass
    assert {line["error"] for line in run.results()} == {"ValueError: its scores are not finite."}


def test_an_example_that_does_not_fit_is_left_out(tmp_path):
    run = killed.benchmark(tmp_path, ("random",), settings=replace(killed.SETTINGS, max_tokens=20))
    for _ in run.run():
        pass
    assert any("its evidence is not in the last 20 tokens" in line.get("skipped", "") for line in run.results())


def test_examples_need_different_ids(tmp_path, demo):
    items = [*examples(1), *examples(1)]
    with pytest.raises(ValueError, match="Two examples of one have the same id"):
        runner.Benchmark(*demo, {"one": items}, ("random",), killed.SETTINGS, tmp_path)


def test_a_limit_takes_random_examples_in_their_order():
    items = list(examples(30))
    some = chosen(items, 10, seed=3)
    assert [items.index(item) for item in some] == sorted(items.index(item) for item in some)
    assert some == chosen(items, 10, seed=3)
    assert some not in (chosen(items, 10, seed=4), items[:10])
    assert chosen(items, None, 0) == chosen(items, 30, 0) == items
