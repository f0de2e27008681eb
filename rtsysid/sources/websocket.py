"""WebSocket: one JSON object a message (`rtsysid.sources.json_lines`), predictions as JSON in the other direction.

``ws://HOST:PORT/PATH`` connects to a server, ``wss://`` with TLS. ``ws://:PORT`` is a server on this machine, for this
machine; ``ws://:PORT?host=0.0.0.0`` listens for others, too. ``time=NAME``: see `rtsysid.sources.udp`.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from rtsysid.sources.format import Transport
from rtsysid.sources.json_lines import JsonOptions, JsonSource
from rtsysid.sources.latest import LatestSender
from rtsysid.sources.needs import live_package

_CONNECT_S, _CLOSE_S = 2.0, 1.0  # a peer that does not read answers no close
_MOST_PEERS = 8
_WAITING = 4096  # messages that may wait for the reader
_AT_ONCE = 256
_TAKEN = 1 << 20  # bytes of a message that is taken, and counted as corrupt; more end the connection
_TOO_BIG = 1009  # RFC 6455: a message is too big to process


class WebSocketOptions(JsonOptions, frozen=True, forbid_unknown_fields=True):
    """Options of the address."""

    host: str = "127.0.0.1"


class WebSocketSource(JsonSource):
    """The source for JSON over WebSocket: see the module."""

    OPTIONS = WebSocketOptions

    def connect(self) -> Transport:
        """Connect, or listen where the address has no host. Raises OSError where that fails."""
        host, port = self.url.address({"ws": 80, "wss": 443}[self.url.scheme])
        if not host:
            return _Listening(self.url.choose(WebSocketOptions).host, port, self.url.text)
        return _Connected(f"{self.url.scheme}:{self.url.rest}", self.url.text)


class _Connected:
    """A connection to a server."""

    def __init__(self, address: str, url: str) -> None:
        client = live_package("websockets.sync.client", f"source {url}")
        self._exceptions = live_package("websockets.exceptions", f"source {url}")
        try:
            waits = {"open_timeout": _CONNECT_S, "close_timeout": _CLOSE_S}
            opening = client.connect(address, **waits, max_size=_TAKEN, compression=None, proxy=None)
            self._held = opening.__enter__()  # some releases connect only then
        except self._exceptions.WebSocketException as error:
            raise OSError(f"no WebSocket there: {error}") from None
        self._sender = LatestSender(self._send)

    def receive(self, timeout_s: float) -> Sequence[bytes]:
        """Return the messages that have come."""
        found: list[bytes] = []
        with suppress(TimeoutError):
            while len(found) < _AT_ONCE:
                found.append(self._next(0 if found else timeout_s))
        return found

    def send(self, data: bytes) -> bool:
        """Hand over the latest prediction."""
        return self._sender.put(data)

    def close(self) -> None:
        """Close the connection."""
        self._sender.close()
        self._held.close()

    def _next(self, timeout_s: float) -> bytes:
        try:
            return _as_bytes(self._held.recv(timeout=timeout_s))
        except self._exceptions.ConnectionClosed as error:
            raise OSError(_why_closed(error)) from None

    def _send(self, data: bytes) -> None:
        with suppress(self._exceptions.ConnectionClosed):
            self._held.send(data.decode())


class _Listening:
    """A server; every client may send, and the one that sent last gets the predictions."""

    def __init__(self, host: str, port: int, url: str) -> None:
        server = live_package("websockets.sync.server", f"source {url}")
        self._closed_error = live_package("websockets.exceptions", f"source {url}").ConnectionClosed
        self._waiting: deque[bytes] = deque(maxlen=_WAITING)
        self._came = threading.Event()
        self._peers: set[Any] = set()
        self._latest: Any = None
        self.overflowed = 0
        self.remarks: deque[str] = deque(maxlen=100)
        allowed = {"close_timeout": _CLOSE_S, "max_size": _TAKEN, "compression": None}
        self._server = server.serve(self._serve, host, port, **allowed)
        self._sender = LatestSender(self._send)
        threading.Thread(target=self._server.serve_forever, name="websocket server", daemon=True).start()

    def receive(self, timeout_s: float) -> Sequence[bytes]:
        """Return the messages that have come from any client."""
        if not self._came.wait(timeout_s):
            return ()
        self._came.clear()
        return [self._waiting.popleft() for _ in range(len(self._waiting))]

    def send(self, data: bytes) -> bool:
        """Hand over the latest prediction; return whether anybody is there."""
        return self._latest is not None and self._sender.put(data)

    def close(self) -> None:
        """Close the server and its connections, all at the same time."""
        self._sender.close()
        self._server.shutdown()
        with ThreadPoolExecutor(_MOST_PEERS) as closing:
            list(closing.map(lambda peer: peer.close(), list(self._peers)))

    def _serve(self, peer: Any) -> None:
        if len(self._peers) >= _MOST_PEERS:
            return
        self._peers.add(peer)
        try:
            for message in peer:
                self._latest = peer
                self.overflowed += len(self._waiting) == _WAITING
                self._waiting.append(_as_bytes(message))
                self._came.set()
        except self._closed_error as error:
            self.remarks.append(f"a client is gone: {_why_closed(error)}")
        finally:
            self._peers.discard(peer)
            self._latest = None if self._latest is peer else self._latest

    def _send(self, data: bytes) -> None:
        peer = self._latest
        with suppress(self._closed_error):
            if peer is not None:
                peer.send(data.decode())


def _why_closed(error: Any) -> str:
    """Say why a connection was closed: by a message that is too long for us, or by the other side."""
    ours = error.sent is not None and error.sent.code == _TOO_BIG
    return f"it sent a message of more than {_TAKEN >> 20} MiB" if ours else "the other side closed the connection"


def _as_bytes(message: str | bytes) -> bytes:
    return message.encode("utf-8", "replace") if isinstance(message, str) else message
