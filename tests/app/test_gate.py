import asyncio
import http.client
import json
import socket
import threading
from urllib.parse import urlsplit

import pytest

pytest.importorskip("gradio", reason="gradio is not here: pip install 'captum-heta[demo]'")

from captum_heta.app import gate as module
from captum_heta.app.fields import COUNT, DOCUMENTS, MESSAGES
from captum_heta.app.gate import MOST, Gate
from captum_heta.app.page import build, serve
from captum_heta.app.runs import Runs


@pytest.fixture(scope="module")
def address(explainer, tmp_path_factory):
    page = build(explainer, tmp_path_factory.mktemp("files"), "Anna", "a model")
    yield urlsplit(serve(page, "127.0.0.1", None, explainer.runs)).netloc
    page.close(verbose=False)


def answer(address, method, path, body=None, **headers):
    connection = http.client.HTTPConnection(address, timeout=20)
    try:
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


FILE = (
    b'--b\r\nContent-Disposition: form-data; name="files"; filename="a.txt"\r\nContent-Type: text/plain\r\n\r\nxxx'
    b"\r\n--b--\r\n"
)


def test_nothing_can_be_uploaded(address):
    for headers in ({}, {"Origin": "http://evil.example"}, {"Origin": f"http://{address}"}):
        told = answer(
            address, "POST", "/gradio_api/upload", FILE, Content_Type="multipart/form-data; boundary=b", **headers
        )
        assert told[0] in (403, 404)


def test_gradio_itself_would_take_no_large_file(explainer, tmp_path):
    page = build(explainer, tmp_path, "Anna", "a model")
    serve(page, "127.0.0.1", None, explainer.runs)
    page.close(verbose=False)
    assert page.max_file_size == MOST


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/gradio_api/info"),
        ("GET", "/gradio_api/openapi.json"),
        ("GET", "/gradio_api/proxy=http://127.0.0.1/"),
        ("GET", "/gradio_api/queue/status"),
        ("GET", "/monitoring"),
        ("GET", "/docs"),
        ("GET", "/gradio_api/upload_progress?upload_id=1"),
        ("POST", "/gradio_api/call/predict"),
        ("POST", "/gradio_api/run/explain"),
        ("POST", "/gradio_api/component_server"),
        ("POST", "/login"),
        ("PUT", "/gradio_api/queue/join"),
        ("DELETE", "/"),
        ("GET", "/gradio_api/queue/join/../upload"),
    ],
)
def test_what_the_page_does_not_use_is_not_there(address, method, path):
    assert answer(address, method, path, b"{}" if method == "POST" else None) == (404, "There is nothing here.\n")


@pytest.mark.parametrize("path", ["/", "/config", "/theme.css"])
def test_what_the_page_uses_is_there(address, path):
    assert answer(address, "GET", path)[0] == 200


def test_requests_of_other_pages_are_refused(address):
    body = json.dumps({"fn_index": 0, "session_hash": "x", "data": ["Anna"]})
    for origin in ("http://evil.example", "null", "http://127.0.0.1:1", "https://localhost"):
        told = answer(address, "POST", "/gradio_api/queue/join", body, Origin=origin, Content_Type="text/plain")
        assert told == (403, "This page takes no requests from other pages.\n")
    assert answer(address, "GET", "/config", Origin=f"http://{address}")[0] == 200


def test_a_request_says_how_long_it_is_and_is_not_long(address):
    path = "/gradio_api/queue/join"
    assert answer(address, "POST", path, iter([b"{}"]), Transfer_Encoding="chunked")[0] == 411
    connection = http.client.HTTPConnection(address, timeout=20)
    connection.putrequest("POST", path)
    connection.putheader("Content-Length", str(MOST + 1))
    connection.endheaders()  # nothing of it is sent, or read
    assert connection.getresponse().status == 413
    connection.close()


def test_a_name_that_is_made_to_lead_here_is_refused(address):
    port = address.split(":")[1]
    for name in ("evil.example", f"evil.example:{port}", f"192.0.2.1:{port}", "127.0.0.1", "127.0.0.1:1", ""):
        status, told = answer(address, "GET", "/", Host=name)
        assert status == 403, name
        assert told == "This page is served at another address: open it at the one that the terminal says.\n"
    for name in (f"localhost:{port}", f"LocalHost:{port}", f"[::1]:{port}", f"127.0.0.1:{port}"):
        assert answer(address, "GET", "/", Host=name)[0] == 200, name


def asked(gate, host, server, path="/"):
    """The status of an answer to a request that came to ``server``."""
    sent = []

    async def send(message):
        sent.append(message)

    headers = [(b"host", host.encode())]
    scope = {"type": "http", "method": "GET", "path": path, "query_string": b"", "headers": headers, "server": server}
    asyncio.run(gate(scope, None, send))
    return sent[0]["status"]


async def yes(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body"})


LOCAL, LAN = ("127.0.0.1", 7860), ("192.0.2.7", 7860)


@pytest.mark.parametrize(
    ("host", "server", "name", "status"),
    [
        # at one address
        ("127.0.0.1", LOCAL, "127.0.0.1:7860", 200),
        ("127.0.0.1", LOCAL, "user@127.0.0.1:7860", 403),
        ("127.0.0.1", LOCAL, "127.0.0.1:7860/x", 403),
        ("127.0.0.1", LOCAL, "127.0.0.1:x", 403),
        ("127.0.0.1", LOCAL, "[", 403),
        ("127.0.0.1", ("127.0.0.1", 80), "localhost", 200),
        ("127.0.0.1", None, "127.0.0.1:7860", 403),
        ("[::1]", ("::1", 7860), "[::1]:7860", 200),
        ("localhost", LOCAL, "localhost:7860", 200),
        ("box.lan", LAN, "BOX.lan:7860", 200),
        ("box.lan", LAN, "192.0.2.7:7860", 200),
        ("box.lan", LAN, "localhost:7860", 403),
        ("192.0.2.7", LAN, "192.0.2.7:7860", 200),
        ("192.0.2.7", LAN, "box.lan:7860", 403),
        # at all
        ("0.0.0.0", LAN, "192.0.2.7:7860", 200),
        ("0.0.0.0", LAN, "198.51.100.1:80", 200),
        ("0.0.0.0", LAN, "localhost:8080", 200),
        ("0.0.0.0", LAN, "Box:7860", 200),
        ("0.0.0.0", LAN, "box.local:7860", 200),
        ("0.0.0.0", LAN, "box.example:7860", 200),
        ("0.0.0.0", LAN, "evil.example:7860", 403),
        ("0.0.0.0", LAN, "127.0.0.1.evil.example:7860", 403),
        ("::", ("2001:db8::1", 7860), "[2001:db8::1]:7860", 200),
        ("::", ("2001:db8::1", 7860), "evil.example", 403),
    ],
)
def test_which_names_are_this_machine(monkeypatch, host, server, name, status):
    monkeypatch.setattr(socket, "gethostname", lambda: "box")
    monkeypatch.setattr(socket, "getfqdn", lambda: "box.example")
    assert asked(Gate(yes, host, Runs()), name, server) == status


def test_web_sockets_are_closed():
    sent = []

    async def send(message):
        sent.append(message)

    asyncio.run(Gate(yes, "127.0.0.1", Runs())({"type": "websocket", "path": "/"}, None, send))
    assert sent == [{"type": "websocket.close"}]


@pytest.fixture
def endless(explainer, until_stopped, monkeypatch):
    """Predictions that go on until they are stopped."""
    began, ended = threading.Event(), threading.Event()
    monkeypatch.setattr(explainer, "choices", lambda prompt, longest: until_stopped(began, ended))
    return began, ended


@pytest.mark.parametrize("stream", ["queue/data?session_hash=one", "heartbeat/one"])
def test_a_client_that_goes_away_frees_the_model(address, endless, stream):
    began, ended = endless
    config = json.loads(answer(address, "GET", "/config")[1])
    # to predict: of the tab, the fields, and how long the answer may be
    number = next(item["id"] for item in config["dependencies"] if len(item["inputs"]) == COUNT + 2)
    data = ["text", "Anna", *["user", ""] * MESSAGES, *[""] * (2 * DOCUMENTS + 1), 20]
    body = json.dumps({"fn_index": number, "session_hash": "one", "data": data})
    assert answer(address, "POST", "/gradio_api/queue/join", body, Content_Type="application/json")[0] == 200
    connection = http.client.HTTPConnection(address, timeout=20)
    connection.request("GET", f"/gradio_api/{stream}")
    response = connection.getresponse()
    assert response.status == 200
    assert began.wait(20)
    assert not ended.wait(0.3)
    response.close()
    connection.close()
    assert ended.wait(20)


def test_streams_end_when_the_page_does(monkeypatch):
    monkeypatch.setattr(module, "_LOOK", 0.01)
    runs, sent = Runs(), []

    async def forever(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x", "more_body": True})
        runs.end(0)
        await asyncio.sleep(20)

    async def send(message):
        sent.append(message)

    async def ask(app):
        path = "/gradio_api/heartbeat/a"
        headers = [(b"host", b"127.0.0.1:7860")]
        scope = {
            "type": "http",
            "method": "GET",
            "path": path,
            "query_string": b"",
            "headers": headers,
            "server": LOCAL,
        }
        await asyncio.wait_for(Gate(app, "127.0.0.1", runs)(scope, None, send), 10)

    asyncio.run(ask(forever))
    assert [message.get("more_body") for message in sent] == [None, True, None]  # complete
    sent.clear()
    asyncio.run(ask(lambda *_: asyncio.sleep(20)))
    assert sent[0]["status"] == 503
