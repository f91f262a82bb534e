import inspect
import re
import socket

import pytest

pytest.importorskip("gradio", reason="gradio is not here: pip install 'captum-heta[demo]'")

from captum_heta.app.page import build, serve


def test_a_port_that_is_taken_is_an_error(explainer, tmp_path):
    page = build(explainer, tmp_path, "Anna", "a model")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        message = f"Cannot listen at 127.0.0.1, port {port}: pass another --host or --port."
        with pytest.raises(OSError, match=re.escape(message)):
            serve(page, "127.0.0.1", port, explainer.runs)


def test_the_page_tells_who_waits_and_programs_have_no_interface(explainer, tmp_path):
    page = build(explainer, tmp_path, "Anna", "a model")
    assert not page.analytics_enabled
    events = list(page.fns.values())
    model = [event for event in events if inspect.isgeneratorfunction(event.fn)]
    assert len(model) == 10
    # Gradio lets all begin, and the line has one run at a time
    assert {event.concurrency_limit for event in model} == {None}
    assert {event.trigger_mode for event in model} == {"multiple"}
    assert {event.api_visibility for event in events} == {"private"}
    assert {event._id for event in model} == {number for event in events for number in event.cancels}
