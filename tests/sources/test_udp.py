"""Datagrams that the system drops, since nobody fetches them, are counted."""

from __future__ import annotations

import json
import socket
import sys

import pytest
from support.live_parts import until
from support.streams import SPEC

from rtsysid.sources.udp import UdpSource, UdpTransport
from rtsysid.sources.url import parse

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems do not say what they dropped")
SENT = 20_000  # more than the system keeps for a socket


def flood(port: int) -> None:
    """Send objects that hold a time alone."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        for k in range(SENT):
            out.sendto(json.dumps({"t": k}).encode(), ("127.0.0.1", port))


def test_what_the_system_dropped_is_counted_also_at_the_end() -> None:
    """Datagrams received and dropped are those that were sent, though nothing came after the last one."""
    transport = UdpTransport(parse("udp://127.0.0.1:0"))
    try:
        flood(transport.port)
        came = 0
        while found := transport.receive(0.0):
            came += len(found)
        assert 0 < came < SENT
        assert came + transport.overflowed == SENT
    finally:
        transport.close()
    assert came + transport.overflowed == SENT


def test_the_count_of_a_closed_source_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was dropped while a source was open is in its counts after it was closed."""
    monkeypatch.setattr(UdpTransport, "receive", lambda self, timeout_s: ())  # a reader that fetches nothing
    with UdpSource("udp://127.0.0.1:0", spec=SPEC) as source:
        until(lambda: source._transport is not None, "the open socket")
        transport = source._transport
        assert isinstance(transport, UdpTransport)
        flood(transport.port)
        dropped = source.health().overflowed
        assert 0 < dropped < SENT
    assert source.health().overflowed == dropped
