"""What is let in to the page: its own requests alone, made at the address that it is served at."""

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from ipaddress import ip_address
from typing import Any
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse

from captum_heta.app.runs import Runs

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]

MOST = 2**21  # bytes of what a page sends: texts, which it then finds too long by itself

_LOOK = 0.2  # seconds between looks at whether the page ends

# What the page asks for in Gradio 6. Gradio has much more: uploads, a proxy, an interface for programs, ...
_API = "/gradio_api"
_STREAM = re.compile(rf"{_API}/(?:heartbeat/(?P<hash>\w+)|queue/data)")
_ROUTES = {
    "GET": re.compile(
        r"/|/(?:config|theme\.css|favicon\.ico|manifest\.json|robots\.txt)|/(?:assets|static|svelte)/.+"
        rf"|{_API}/(?:startup-events|file=.+)|{_STREAM.pattern}"
    ),
    "POST": re.compile(rf"{_API}/(?:queue/join|run/predict|cancel|reset)/?"),
}


class Gate:
    """ASGI middleware that refuses what the page does not need, and notices who goes away.

    A page of somebody else, open in the same browser, can send requests here: it must not upload files, nor run the
    model. If its name is made to lead to this machine (DNS rebinding), it could read the answers too; a browser then
    still says in ``Host`` which name it asked for. So the name must be an address of this machine:

    * listening at one address, that address or the name that was given for it, and on this machine alone also
      ``localhost``, ``127.0.0.1`` and ``[::1]``; each with the port;
    * listening at all addresses (``0.0.0.0`` or ``::``), ``localhost``, this machine's own names, and any address in
      numbers, which no name can be made to lead to. The port may be another one there, as containers and routers
      translate addresses and ports.

    Args:
        app: what is served.
        host: the address that is listened at, as it was given.
        runs: those of a session are stopped when its page was closed, or its connection broke.
    """

    def __init__(self, app: Any, host: str, runs: Runs) -> None:
        self._app, self._runs = app, runs
        self._host = host.strip("[]").lower()
        self._everywhere = self._host in ("0.0.0.0", "::")
        self._names = _own_names() if self._everywhere else {self._host}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or let it through."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] != "http":  # the page has no web sockets
            await send({"type": "websocket.close"})
        elif (refusal := self._refusal(scope)) is not None:
            await refusal(scope, receive, send)
        elif (stream := _STREAM.fullmatch(scope["path"])) is not None:
            await self._watched(stream, scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _refusal(self, scope: Scope) -> PlainTextResponse | None:
        headers = Headers(scope=scope)
        if not self._is_here(headers.get("host", ""), scope):
            told = "This page is served at another address: open it at the one that the terminal says"
            return PlainTextResponse(f"{told}{', or by a number' if self._everywhere else ''}.\n", 403)
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc.lower() != headers["host"].lower():
            return PlainTextResponse("This page takes no requests from other pages.\n", 403)
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        if method not in _ROUTES or _ROUTES[method].fullmatch(scope["path"]) is None:
            return PlainTextResponse("There is nothing here.\n", 404)
        if method == "POST":
            length = headers.get("content-length", "")
            if not length.isdecimal():
                return PlainTextResponse("Say how long the request is.\n", 411)
            if int(length) > MOST:
                return PlainTextResponse(f"A request may have {MOST} bytes.\n", 413)
        return None

    def _is_here(self, asked: str, scope: Scope) -> bool:
        """Whether the ``Host`` that was asked for is this page's."""
        try:
            parts = urlsplit(f"//{asked}")
            name, port = parts.hostname, parts.port or 80
        except ValueError:
            return False
        # where the connection really goes to, whatever name led to it
        server, own_port = scope["server"] or (None, None)
        if name is None or server is None or parts.netloc != asked or "@" in asked:
            return False
        if self._everywhere:
            return name in self._names or _is_address(name)
        names = self._names | {server.lower()}
        if _is_address(server) and ip_address(server).is_loopback:
            names |= {"localhost", "127.0.0.1", "::1"}
        return port == own_port and name in names

    async def _watched(self, stream: "re.Match[str]", scope: Scope, receive: Receive, send: Send) -> None:
        """Let a stream through that is open as long as a page waits for something, or is there (the heartbeat)."""
        begun = complete = False

        async def sent(message: Any) -> None:
            nonlocal begun, complete
            begun = True
            complete = message["type"] == "http.response.body" and not message.get("more_body", False)
            await send(message)

        answer = asyncio.ensure_future(self._app(scope, receive, sent))
        try:
            while not answer.done() and not self._runs.ended:
                await asyncio.wait([answer], timeout=_LOOK)
            if answer.done():
                return answer.result()
            # the server waits for streams at its end, and these wait for it
            answer.cancel()
            await asyncio.wait([answer])
            if not begun:
                await PlainTextResponse("The page ends.\n", 503)(scope, receive, send)
            elif not complete:
                await send({"type": "http.response.body"})
        finally:
            answer.cancel()
            # Gradio ends a stream of results itself when there are no more, but a heartbeat never.
            if stream["hash"] or not complete:
                query = parse_qs(scope["query_string"].decode("latin-1"))
                self._runs.stop(stream["hash"] or query.get("session_hash", [""])[0])


def _own_names() -> set[str]:
    name = socket.gethostname()
    return {part.lower() for part in ("localhost", name, f"{name}.local", socket.getfqdn()) if part}


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
