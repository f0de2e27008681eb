"""A WebSocket source ends soon, whatever its clients do."""

from __future__ import annotations

import socket
import threading
from contextlib import ExitStack

import pytest
from support.live_parts import until
from support.sender import free_port

pytest.importorskip("websockets", reason="wants websockets")

from rtsysid.sources.websocket import _Listening

SILENT = 8
LONG_S = 30.0  # the end took 80 s when each client was waited for, one after the other


def _silent_client(port: int) -> socket.socket:
    """A client that opens a connection and then neither reads nor answers."""
    held = socket.create_connection(("127.0.0.1", port))
    lines = ("GET / HTTP/1.1", f"Host: 127.0.0.1:{port}", "Upgrade: websocket", "Connection: Upgrade",
             "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13", "", "")  # fmt: skip
    held.sendall("\r\n".join(lines).encode())
    return held


def test_clients_that_never_answer_do_not_hold_up_the_end() -> None:
    """Eight clients that answer no closing frame: the server ends without waiting for one after the other."""
    port = free_port(socket.SOCK_STREAM)
    listening = _Listening("127.0.0.1", port, f"ws://:{port}")
    with ExitStack() as held:
        for _ in range(SILENT):
            held.enter_context(_silent_client(port))
        until(lambda: len(listening._peers) == SILENT, "all clients")
        closing = threading.Thread(target=listening.close, daemon=True)
        closing.start()
        closing.join(LONG_S)
        assert not closing.is_alive()
