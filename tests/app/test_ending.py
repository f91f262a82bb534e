import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from http.client import HTTPConnection
from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest

from captum_heta.app.ending import served_until, termination
from captum_heta.app.fields import COUNT, DOCUMENTS, MESSAGES
from captum_heta.app.runs import Runs

posix = pytest.mark.skipif(os.name != "posix", reason="signals are sent as POSIX systems do")


@posix
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_signals_tell_to_end_and_mean_what_they_did_before_afterwards(name):
    number = getattr(signal, name)
    before = signal.getsignal(number)
    with termination() as told:
        assert not told.is_set()
        signal.raise_signal(number)
        assert told.is_set()
    assert signal.getsignal(number) is before


def test_the_page_is_closed_after_what_runs():
    seen = []
    page = SimpleNamespace(is_running=True, close=lambda verbose: seen.append((verbose, runs.ended)))
    runs, told = Runs(), threading.Event()
    threading.Timer(0.05, told.set).start()
    assert served_until(told, page, runs)
    assert seen == [(False, True)]
    page.is_running = False  # closed by itself
    assert served_until(threading.Event(), page, runs)


BUSY = """
import sys, time, torch
from captum_heta.app.explainer import Explainer
from captum_heta.cli import main

def slow(self, prompt, longest):
    print("busy", flush=True)
    until = time.monotonic() + 60
    while time.monotonic() < until:
        torch.ones(1) + 1
        time.sleep(0.001)

Explainer.choices = slow
sys.argv = ["captum-heta", "demo"]
main()
"""


def test_the_process_is_left_though_a_thread_goes_on():
    script = (
        "import threading, time\n"
        "from captum_heta.app.ending import leave\n"
        "threading.Thread(target=time.sleep, args=(60,)).start()\n"
        "print('written')\n"
        "leave()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=50)
    assert (done.returncode, done.stdout, done.stderr) == (0, "written\n", "")


@posix
def test_a_busy_page_ends_soon_and_leaves_nothing(tmp_path):
    pytest.importorskip("gradio", reason="gradio is not here: pip install 'captum-heta[demo]'")
    process = subprocess.Popen(
        [sys.executable, "-c", BUSY],
        env=os.environ | {"TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        line = process.stderr.readline()
        address = urlsplit(re.search(r"http://\S+", line).group()).netloc
        asked = [HTTPConnection(address, timeout=60) for _ in range(4)]
        asked[0].request("GET", "/config")
        config = json.loads(asked[0].getresponse().read())
        number = next(item["id"] for item in config["dependencies"] if len(item["inputs"]) == COUNT + 2)
        data = ["text", "Anna", *["user", ""] * MESSAGES, *[""] * (2 * DOCUMENTS + 1), 20]
        body = json.dumps({"fn_index": number, "session_hash": "one", "data": data})
        asked[1].request("POST", "/gradio_api/queue/join", body, {"Content-Type": "application/json"})
        assert asked[1].getresponse().status == 200
        for connection, path in zip(asked[2:], ("heartbeat/one", "queue/data?session_hash=one"), strict=True):
            connection.request("GET", f"/gradio_api/{path}")
        assert process.stdout.readline() == "busy\n"
        assert list(tmp_path.glob("captum-heta-*"))
        process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        out, errors = process.communicate(timeout=40)
        assert time.monotonic() - began < 30  # the machine may be busy, too; the work takes 60
    finally:
        process.kill()
    assert process.returncode == 0
    assert out + errors == ""
    assert not list(tmp_path.glob("captum-heta-*"))
