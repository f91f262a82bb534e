"""One run at a time, in the order in which they were asked for."""

import threading
import time

import pytest
import torch

from captum_heta.app.line import Line
from captum_heta.app.runs import Runs, Stopped
from captum_heta.app.standing import Standing
from captum_heta.attr.watching import watcher


@pytest.fixture
def line():
    return Line(Runs())


class Work:
    """Goes on until it is let go, or stopped."""

    def __init__(self, answer=None):
        self.began, self.go_on, self.answer, self.watcher = threading.Event(), threading.Event(), answer, None

    def __call__(self):
        self.watcher = watcher()
        self.began.set()
        until = time.monotonic() + 20
        while not self.go_on.is_set() and time.monotonic() < until:
            torch.ones(1) + 1
            time.sleep(0.001)
        return self.answer


def drained(run):
    """What a run returns."""
    while True:
        try:
            next(run)
        except StopIteration as done:
            return done.value


def test_a_run_is_told_to_its_standing_and_returns(line):
    one, work = Standing("a", "x"), Work(5)
    run = line.run(one, work)
    next(run)
    assert work.began.wait(20)
    assert work.watcher is one
    assert line.ahead(one) == []
    work.go_on.set()
    assert drained(run) == 5


def test_a_second_one_waits_and_knows_whom_for(line):
    first, second, third = (Standing(name, "x") for name in "abc")
    works = [Work(number) for number in range(3)]
    runs = [line.run(one, work) for one, work in zip((first, second, third), works, strict=True)]
    for run in runs:
        next(run)
    assert works[0].began.wait(20)
    assert line.ahead(second) == [first]
    assert line.ahead(third) == [first, second]
    assert not works[1].began.wait(0.6)
    works[0].go_on.set()
    assert drained(runs[0]) == 0
    assert works[1].began.wait(20)
    assert line.ahead(third) == [second]
    assert line.ahead(first) == []
    assert not works[2].began.is_set()
    for work in works:
        work.go_on.set()
    assert [drained(run) for run in runs[1:]] == [1, 2]


def test_one_that_waits_is_stopped_by_its_session(line):
    first, second = Standing("a", "x"), Standing("b", "x")
    work, never = Work(), Work()
    runs = [line.run(first, work), line.run(second, never)]
    for run in runs:
        next(run)
    assert work.began.wait(20)
    assert line._runs.stop("b")
    with pytest.raises(Stopped):
        drained(runs[1])
    assert not never.began.is_set()
    assert line.ahead(second) == []
    work.go_on.set()
    drained(runs[0])


def test_another_choice_takes_the_place_of_the_one_before(line):
    first, other, second = Standing("a", "explain"), Standing("a", "predict"), Standing("a", "explain")
    works = [Work(number) for number in range(3)]
    runs = [line.run(one, work) for one, work in zip((first, other, second), works, strict=True)]
    for run in runs:
        next(run)
    with pytest.raises(Stopped):
        drained(runs[0])
    assert (first.replaced, other.replaced, second.replaced) == (True, False, False)
    for work in works:
        work.go_on.set()
    assert [drained(run) for run in runs[1:]] == [1, 2]


def test_a_failure_is_raised_where_it_was_asked_for(line):
    def fail():
        raise KeyError("x")

    with pytest.raises(KeyError, match="x"):
        drained(line.run(Standing("a", "x"), fail))
    assert drained(line.run(Standing("a", "x"), lambda: 3)) == 3  # the model is free


def test_who_no_longer_asks_frees_the_model(line):
    work = Work()
    run = line.run(Standing("a", "x"), work)
    next(run)
    assert work.began.wait(20)
    run.close()
    assert drained(line.run(Standing("b", "x"), lambda: 3)) == 3
