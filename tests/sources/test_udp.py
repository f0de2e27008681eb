"""Datagrams: what the system drops is counted, and what cannot be used is said."""

from __future__ import annotations

import json
import socket
import sys

import pytest
from support.live_parts import until
from support.streams import SPEC

from rtsysid.errors import LinkError
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


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "no message for 0.1 s; check the address"),
        (b'{"u": 1, "x": 2, "v": 3}', r"in \d+ packets, \d+ of them corrupt; send .* \?time=receipt"),
        (b'{"t": 1, "volts": 1, "m": 2}', "with a channel of the model; the fields are volts, m; correct the names"),
    ],
)
def test_a_source_without_a_message_says_what_came(data: bytes, said: str) -> None:
    """A silent source, one that nobody can read, and one with other names have different lines."""
    with UdpSource("udp://127.0.0.1:0", spec=SPEC) as source, socket.socket(type=socket.SOCK_DGRAM) as out:
        until(lambda: source._transport is not None, "the open socket")
        assert isinstance(source._transport, UdpTransport)
        if data:
            out.sendto(data, ("127.0.0.1", source._transport.port))
            until(lambda: source._pieces > 0, "the datagram")
        with pytest.raises(LinkError, match=said):
            source.describe(0.1)


def test_a_port_that_another_session_holds_is_said() -> None:
    """A second session on one port is refused, and told that another program has it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as holder:
        holder.bind(("127.0.0.1", 0))
        address = f"udp://127.0.0.1:{holder.getsockname()[1]}"
        with pytest.raises(LinkError, match="Address already in use; end that program first"), UdpSource(address):
            pass


def test_the_receiver_of_predictions_is_looked_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name after to= becomes an address when the source opens: sending, which may not wait, looks nothing up."""
    transport = UdpTransport(parse("udp://127.0.0.1:0"), "localhost:9")
    try:
        assert transport._peer == ("127.0.0.1", 9)
    finally:
        transport.close()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: (_ for _ in ()).throw(socket.gaierror("not known")))
    with pytest.raises(LinkError, match="give a host"):
        UdpTransport(parse("udp://127.0.0.1:0"), "robot:9")
