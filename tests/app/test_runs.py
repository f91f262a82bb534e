import threading
import time

import pytest
import torch

from captum_heta.app import runs as module
from captum_heta.app.prompts import TextPrompt
from captum_heta.app.runs import Runs, Stopped

PROMPT = TextPrompt("Anna lives in Rome. Anna lives in")


class InThread:
    """A run that asks torch for something until it is stopped."""

    def __init__(self, runs, session, busy=lambda: torch.ones(1) + 1):
        self.began, self.how = threading.Event(), None

        def work():
            try:
                with runs.run(session):
                    self.began.set()
                    while True:
                        busy()
                        time.sleep(0.001)
            except Stopped:
                self.how = "stopped"

        self.thread = threading.Thread(target=work, daemon=True)
        self.thread.start()
        assert self.began.wait(20)

    def ended(self):
        self.thread.join(20)
        return self.how


def test_a_run_is_stopped_by_its_session_alone():
    runs = Runs()
    one, other = InThread(runs, "a"), InThread(runs, "b")
    assert not runs.stop("c")
    assert runs.stop("a")
    assert one.ended() == "stopped"
    assert other.thread.is_alive()
    assert not runs.stop("a")
    assert runs.stop("b")
    assert other.ended() == "stopped"


def test_a_run_is_stopped_alone_by_its_own_event():
    runs, stop = Runs(), threading.Event()
    stop.set()
    with pytest.raises(Stopped), runs.run("a", stop):
        torch.ones(1) + 1
    with runs.run("a"):
        torch.ones(1) + 1


def test_a_stop_is_of_the_runs_there_are_and_not_of_later_ones():
    runs = Runs()
    runs.stop("a")
    with runs.run("a"):
        assert (torch.ones(1) + 1).item() == 2


def test_at_the_end_all_are_stopped_and_none_begins():
    runs = Runs()
    found = [InThread(runs, session) for session in "ab"]
    assert not runs.ended
    assert runs.end(20)
    assert runs.ended
    assert [one.ended() for one in found] == ["stopped"] * 2
    with pytest.raises(Stopped), runs.run("a"):
        raise AssertionError("it began")


def test_an_operation_that_takes_long_is_not_waited_for():
    runs, go_on = Runs(), threading.Event()
    run = InThread(runs, "a", lambda: (go_on.wait(20), torch.ones(1)))
    assert not runs.end(0.05)
    go_on.set()
    assert run.ended() == "stopped"


def test_a_failure_ends_a_run_as_anything_does():
    runs = Runs()
    with pytest.raises(KeyError), runs.run("a"), torch.no_grad():
        raise KeyError
    assert torch.is_grad_enabled()
    assert not runs.stop("a")


def test_wherever_an_explanation_is_stopped_the_next_one_is_as_before(explainer, monkeypatch):
    outputs = explainer.typed(PROMPT, "Rome")

    def explain():
        return explainer.explain(PROMPT, (), outputs, ["heta"], "fisher").results["HETA"].seq_attr

    expected, count = explain(), 0

    class Counted(module._Stoppable):
        def __init__(self, _):
            super().__init__(self.count)

        def count(self):
            nonlocal count
            count += 1
            return count > most

    most = float("inf")
    monkeypatch.setattr(module, "_Stoppable", Counted)
    with Runs().run("a"):
        torch.testing.assert_close(explain(), expected)
    total = count
    assert total > 100
    for place in range(0, total * 9 // 10, total // 6):
        count, most = 0, place
        with pytest.raises(Stopped), Runs().run("a"):
            explain()
        assert torch.is_grad_enabled()
        assert not explainer.model.training
    monkeypatch.undo()
    torch.testing.assert_close(explain(), expected, rtol=0, atol=0)
