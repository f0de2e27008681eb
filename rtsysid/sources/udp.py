"""UDP: one JSON object a datagram (`rtsysid.sources.json_lines`). Predictions go back to the last sender.

``udp://:9000`` listens on all addresses of this machine, ``udp://127.0.0.1:9000`` on one. Options: ``time=NAME`` is the
field with the time, ``time=receipt`` the time of receipt; ``to=HOST:PORT`` gets the predictions.
"""

from __future__ import annotations

import select
import socket
import struct
from collections.abc import Sequence
from contextlib import suppress

import msgspec

from rtsysid.errors import LinkError
from rtsysid.sources.format import StreamFormat, Transport
from rtsysid.sources.json_lines import JsonLines
from rtsysid.sources.messages import LARGEST
from rtsysid.sources.stream import StreamSource
from rtsysid.sources.url import SourceUrl

_ROOM = 1 << 20  # bytes that the system keeps for us
_AT_ONCE = 256  # datagrams
_OVERFLOW = getattr(socket, "SO_RXQ_OVFL", 40)  # Linux: each datagram tells how many were dropped before it
_ANCILLARY = socket.CMSG_SPACE(4)


class UdpOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Options of the address."""

    time: str = "t"
    to: str = ""


class UdpSource(StreamSource):
    """The source for JSON lines in datagrams: see the module."""

    def make_format(self) -> StreamFormat:
        """Make the format by the option ``time``."""
        return JsonLines(self.url.choose(UdpOptions).time)

    def connect(self) -> Transport:
        """Bind the socket. Raises OSError where another program holds it."""
        return UdpTransport(self.url, self.url.choose(UdpOptions).to)


class UdpTransport:
    """A bound socket. ``overflowed``: datagrams that the system dropped, where it says so."""

    def __init__(self, url: SourceUrl, to: str = "") -> None:
        host, port = url.address()
        self.overflowed = 0
        self._fixed = _receiver(to, url.text) if to else None
        self._peer = self._fixed
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_DGRAM)
        try:
            self._set_up(host, port)
        except BaseException:
            self._socket.close()
            raise

    @property
    def port(self) -> int:
        """The number of the bound port."""
        found: int = self._socket.getsockname()[1]
        return found

    def receive(self, timeout_s: float) -> Sequence[bytes]:
        """Return the datagrams that have come, waiting up to `timeout_s` seconds for the first."""
        if not self._poll.poll(timeout_s * 1e3):
            return ()
        found: list[bytes] = []
        with suppress(BlockingIOError):
            while len(found) < _AT_ONCE:
                data, ancillary, _, peer = self._socket.recvmsg(LARGEST + 1, _ANCILLARY)
                self._peer = self._fixed or peer
                self._count(ancillary)
                found.append(data)
        return found

    def send(self, data: bytes) -> bool:
        """Send a datagram to the receiver; return whether there is one and the system took it."""
        if self._peer is None:
            return False
        try:
            self._socket.sendto(data, self._peer)
        except (BlockingIOError, ConnectionError, PermissionError):  # nobody listens there
            return False
        return True

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def _set_up(self, host: str, port: int) -> None:
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _ROOM)
        with suppress(OSError):
            self._socket.setsockopt(socket.SOL_SOCKET, _OVERFLOW, 1)
        self._socket.bind((host, port))
        self._socket.setblocking(False)
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)

    def _count(self, ancillary: Sequence[tuple[int, int, bytes]]) -> None:
        for level, kind, data in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, _OVERFLOW) and len(data) == 4:
                (self.overflowed,) = struct.unpack("=I", data)


def _receiver(text: str, url: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise LinkError(f"source {url}", f"to={text}", "write to=HOST:PORT")
    return host, int(port)
