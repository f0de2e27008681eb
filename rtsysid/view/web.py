"""WebView: one page with charts, served by the standard library. Everything it needs is in the page.

The page gets snapshots as server-sent events. A client that takes nothing loses snapshots, and then its connection.
"""

from __future__ import annotations

import base64
import hashlib
import json
import queue
import threading
from contextlib import suppress
from functools import cache
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from string import Template
from typing import Any

from rtsysid.errors import LinkError
from rtsysid.guards.text import for_json
from rtsysid.view.snapshot import SessionAbout, ViewSnapshot

_UPLOT = Path(__file__).parents[1] / "evaluation" / "report" / "assets" / "uplot"
_ASSETS = Path(__file__).parent / "assets"
_MOST_CLIENTS = 8
_WAITING = 50  # snapshots that may wait for a client: five seconds
_PATIENCE_S = 5.0  # for a request, and for a client to take an event
_POLICY = "default-src 'none'; script-src {}; style-src 'unsafe-inline'; connect-src 'self'; base-uri 'none'"
_LOCAL = {"localhost", "127.0.0.1", "[::1]"}


class WebView:
    """A server at `host`, `port` (0: any). ``url``: where the page is. Raises LinkError where it cannot listen."""

    def __init__(self, about: SessionAbout, host: str = "127.0.0.1", port: int = 8766) -> None:
        self.about = about
        self.clients: list[queue.Queue[bytes | None]] = []
        try:
            self._server = _Server((host, port), self)
        except OSError as error:
            raise LinkError(f"web view at {host}:{port}", error.strerror or str(error), "give another port") from None
        self.url = f"http://{host}:{self._server.server_address[1]}/"
        self.hosts = _LOCAL | {host} if host in ("127.0.0.1", "::1", "localhost") else None
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.2,), name="web view", daemon=True)
        self._thread.start()

    @property
    def watched(self) -> bool:
        """Whether a page is open."""
        return bool(self.clients)

    def show(self, snapshot: ViewSnapshot) -> None:
        """Queue a snapshot for each client; the oldest makes room where one has stopped to take them."""
        event = _event(snapshot.plain(self.about))
        for client in list(self.clients):
            with suppress(queue.Empty):
                if client.full():
                    client.get_nowait()
            with suppress(queue.Full):
                client.put_nowait(event)

    def close(self) -> None:
        """End the server and its connections."""
        for client in list(self.clients):
            with suppress(queue.Full):
                client.put_nowait(None)
        self._server.shutdown()
        self._server.server_close()

    def page(self) -> bytes:
        """Return the page."""
        return _live_page(self.about)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, address: tuple[str, int], view: WebView) -> None:
        self.view = view
        super().__init__(address, _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a connection that breaks is no event of the session."""


class _Handler(BaseHTTPRequestHandler):
    timeout = _PATIENCE_S
    server: _Server
    protocol_version = "HTTP/1.0"

    def do_GET(self) -> None:
        view = self.server.view
        host = self.headers.get("Host", "").rpartition(":")[0] or self.headers.get("Host", "")
        if view.hosts is not None and host not in view.hosts:  # a page of another site that asks under its own name
            self.send_error(HTTPStatus.FORBIDDEN)
        elif self.path == "/":
            self._answer(view.page(), "text/html; charset=utf-8")
        elif self.path == "/events":
            self._stream(view)
        else:
            self.send_error(HTTPStatus.NOT_FOUND)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def _answer(self, body: bytes, kind: str) -> None:
        self._head(kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _stream(self, view: WebView) -> None:
        if len(view.clients) >= _MOST_CLIENTS:
            self.send_error(HTTPStatus.SERVICE_UNAVAILABLE)
            return
        self._head("text/event-stream")
        self.end_headers()
        waiting: queue.Queue[bytes | None] = queue.Queue(_WAITING)
        view.clients.append(waiting)
        try:
            while (event := waiting.get()) is not None:
                self.wfile.write(event)
        finally:
            view.clients.remove(waiting)

    def _head(self, kind: str) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Security-Policy", _POLICY.format(" ".join(map(_hash, _scripts()))))
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Cache-Control", "no-store")


def _event(values: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(values, separators=(",", ":"), allow_nan=False).encode() + b"\n\n"


@cache
def _scripts() -> tuple[str, str]:
    """Return the text of the two scripts, which the page may run and no other."""
    return (_UPLOT / "uPlot.iife.min.js").read_text(), (_ASSETS / "view.js").read_text()


@cache
def _hash(script: str) -> str:
    digest = hashlib.sha256(script.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


@cache
def _live_page(about: SessionAbout) -> bytes:
    told = for_json(json.dumps(about.plain())).replace("<", "\\u003c")
    uplot_js, js = _scripts()
    styles = {"uplot_css": (_UPLOT / "uPlot.min.css").read_text(), "css": (_ASSETS / "view.css").read_text()}
    parts = {**styles, "uplot_js": uplot_js, "js": js, "about": told}
    return Template((_ASSETS / "view.html").read_text()).substitute(parts).encode()
