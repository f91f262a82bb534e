import importlib
import json
import multiprocessing
import os
import random
import re
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
from captum_heta.benchmark.metrics import Metric
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
    # what each process would import again, before its first line and at its first LIME
    model_and_lasso = ["transformers.models.llama.modeling_llama", "sklearn.linear_model"]
    context.set_forkserver_preload(["captum_heta.benchmark.runner", "captum_heta.demo", *model_and_lasso])
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
    # and its time is told once
    assert {line["method"] for line in run.results() if "seconds" in line} == {"HETA (fisher)"}
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
    def broken(explained):
        raise ValueError("there is no such number")

    monkeypatch.setitem(runner.METRICS, "dsa", Metric("DSA", "higher", broken))
    run = killed.benchmark(tmp_path, ("normxlogit",))
    for _ in run.run():
        pass
    lines = run.results()
    assert {line["error"] for line in lines} == {"dsa: ValueError: there is no such number"}
    # and the others keep what was computed
    assert {line["metrics"]["dsa"] for line in lines} == {None}
    assert all(isinstance(line["metrics"]["soft_nc"], float) and line["scores"] for line in lines)


def test_scores_that_are_not_finite_are_told(tmp_path):
    run = killed.benchmark(tmp_path, ("random",))
    run._groups[0].rows["random"] = lambda result: result.seq_attr * float("nan")
    for _ in run.run():
        pass
    assert {line["error"] for line in run.results()} == {"ValueError: its scores are not finite."}


def test_an_example_that_does_not_fit_is_left_out(tmp_path):
    run = killed.benchmark(tmp_path, ("random",), settings=replace(killed.SETTINGS, max_tokens=20))
    for _ in run.run():
        pass
    assert any("its evidence is not in the last 20 tokens" in line.get("skipped", "") for line in run.results())


def bad_records():
    """Examples with half a character wherever a text may have one, and a sound one before and after."""
    first, *middle, last = examples(5)
    bad = [
        replace(middle[0], prompt="Who \ud800?"),
        replace(middle[1], target=" \ud800"),
        replace(middle[2], id="\udc00 id", paraphrase="\ud800"),
    ]
    return [first, *bad, last]


def test_a_bad_record_stops_nothing(demo, tmp_path):
    items = bad_records()
    settings = replace(killed.SETTINGS, metrics=("dsa", "paraphrase"))

    def run(**how):
        found = runner.Benchmark(*demo, {"one": items}, ("normxlogit", "random"), settings, tmp_path)
        list(found.run(**how))
        return found.results()

    lines = run()
    assert [line["example"] for line in lines[::2]] == [item.id for item in items]
    told = [line.get("skipped", line.get("error")) for line in lines[::2]]
    assert told[0] is told[4] is None
    assert told[1:3] == [
        r"its prompt has half a character, '\ud800' at 4", r"its target has half a character, '\ud800' at 1"
    ]  # fmt: skip
    assert told[3].startswith("paraphrase: TypeError: ")
    assert lines[6]["metrics"]["dsa"] is not None
    for name in ("lines-0.jsonl", "results.jsonl", "settings.json"):
        (tmp_path / name).read_text(encoding="utf-8")
    # on resume nothing is run again, and the last one still is
    written = (tmp_path / "lines-0.jsonl").read_bytes()
    assert run() == lines
    assert (tmp_path / "lines-0.jsonl").read_bytes() == written
    cut = b"".join(line for line in written.splitlines(keepends=True) if items[4].id.encode() not in line)
    (tmp_path / "lines-0.jsonl").write_bytes(cut)
    assert timeless(run(retry_failed=True)) == timeless(lines)


@pytest.mark.parametrize("error", [MemoryError("none left"), KeyError("\ud800"), RuntimeError("no such token")])
def test_an_example_that_cannot_be_read_is_a_line(tmp_path, monkeypatch, error):
    real = runner.case_of

    def broken(item, *arguments):
        if item.id == "demo-0-1":
            raise error
        return real(item, *arguments)

    monkeypatch.setattr(runner, "case_of", broken)
    run = killed.benchmark(tmp_path, ("random",))
    list(run.run())
    lines = run.results()
    assert [line.get("error") for line in lines if line["example"] != "demo-0-1"] == [None] * 5
    (told,) = [line["error"] for line in lines if line["example"] == "demo-0-1"]
    assert told.startswith(f"{type(error).__name__}: ")
    told.encode()


def test_a_row_that_cannot_be_made_is_a_line(tmp_path, monkeypatch):
    run = killed.benchmark(tmp_path, ("random",))
    run._groups[0].rows["random"] = lambda result: result.terms
    list(run.run())
    assert all(line["error"].startswith("AttributeError: ") for line in run.results())

    def refuse(*_, **__):
        raise ValueError("nothing to compare")

    monkeypatch.setattr(runner, "compare", refuse)
    list(run.run(retry_failed=True))
    assert {line["error"] for line in run.results()} == {"ValueError: nothing to compare"}


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"data": "three"}, "is not of this benchmark: no example 'demo-0-0' of 'three' joined this folder"),
        ({"example": "demo-9-9"}, "is not of this benchmark: no example 'demo-9-9' of 'one' joined this folder"),
        ({"method": "hetta"}, "is not of this benchmark: there is no row 'hetta'"),
        ({"metrics": {"dsa": 0.5}}, "is not of this benchmark: its metrics are dsa, and not soft_nc, dsa"),
        ({"metrics": {"soft_nc": "0.5", "dsa": 1}}, "must have an object of numbers as 'metrics', got"),
        ({"example": ["demo-0-0"]}, "must have a text as 'example', got"),
    ],
)
def test_foreign_lines_are_told_before_the_model_runs(tmp_path, changed, told):
    list(killed.benchmark(tmp_path, ("random",)).run())
    path = tmp_path / "lines-0.jsonl"
    first, rest = path.read_text().split("\n", 1)
    path.write_text("\n".join([first, json.dumps(json.loads(first) | changed), rest]))
    before = path.read_bytes()
    with pytest.raises(ValueError, match=f"lines-0.jsonl, line 2 {re.escape(told)}.*Remove the line and run again"):
        killed.benchmark(tmp_path, ("random",))
    assert path.read_bytes() == before


def test_lines_of_other_rows_and_data_that_joined_are_not_foreign(demo, tmp_path):
    list(killed.benchmark(tmp_path, ("rollout",)).run())
    run = runner.Benchmark(*demo, {"more": list(examples(1))}, ("random",), killed.SETTINGS, tmp_path)
    list(run.run())
    assert len(run.results()) == 1


def test_a_folder_of_results_that_lost_its_settings_is_refused(tmp_path):
    list(killed.benchmark(tmp_path, ("random",)).run())
    (tmp_path / "settings.json").unlink()
    with pytest.raises(ValueError, match="has lines-0.jsonl but no settings.json"):
        killed.benchmark(tmp_path, ("random",))


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"rank": 2, "processes": 2}, "rank must be below processes, 2, got 2"),
        ({"rank": -1}, "rank must be at least 0, got -1"),
        ({"processes": 0}, "processes must be at least 1, got 0"),
        ({"settings": replace(killed.SETTINGS, metrics=("dsb",))}, "There is no metric 'dsb'"),
    ],
)
def test_a_benchmark_of_nothing_is_refused_before_its_folder_is_made(tmp_path, arguments, told):
    with pytest.raises(ValueError, match=told):
        killed.benchmark(tmp_path / "out", **arguments)
    assert not (tmp_path / "out").exists()


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
    with pytest.raises(ValueError, match="limit must be at least 1, got -1"):
        chosen(items, -1, 0)
