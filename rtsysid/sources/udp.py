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
from typing import Any

from rtsysid.errors import LinkError
from rtsysid.sources.format import Transport
from rtsysid.sources.json_lines import JsonOptions, JsonSource
from rtsysid.sources.messages import LARGEST
from rtsysid.sources.url import SourceUrl

_ROOM = 1 << 20  # bytes that the system keeps for us
_AT_ONCE = 256  # datagrams
_MEMINFO, _DROPS, _COUNTERS = 55, 8, 9  # Linux, SO_MEMINFO: counters of a socket, of which one is that of drops


class UdpOptions(JsonOptions, frozen=True, forbid_unknown_fields=True):
    """Options of the address."""

    to: str = ""


class UdpSource(JsonSource):
    """The source for JSON lines in datagrams: see the module."""

    OPTIONS = UdpOptions

    def connect(self) -> Transport:
        """Bind the socket. Raises OSError where another program holds it."""
        return UdpTransport(self.url, self.url.choose(UdpOptions).to)


class UdpTransport:
    """A bound socket."""

    def __init__(self, url: SourceUrl, to: str = "") -> None:
        host, port = url.address()
        self._overflowed = 0
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._fixed = _receiver(to, family, url.text) if to else None
        self._peer = self._fixed
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

    @property
    def overflowed(self) -> int:
        """Count the datagrams that the system dropped, also after the last one that came; 0 where it does not say."""
        with suppress(OSError):
            found = self._socket.getsockopt(socket.SOL_SOCKET, _MEMINFO, 4 * _COUNTERS)
            if len(found) == 4 * _COUNTERS:
                self._overflowed = struct.unpack(f"={_COUNTERS}I", found)[_DROPS]
        return self._overflowed

    def receive(self, timeout_s: float) -> Sequence[bytes]:
        """Return the datagrams that have come, waiting up to `timeout_s` seconds for the first."""
        if not self._poll.poll(timeout_s * 1e3):
            return ()
        found: list[bytes] = []
        with suppress(BlockingIOError):
            while len(found) < _AT_ONCE:
                data, peer = self._socket.recvfrom(LARGEST + 1)
                self._peer = self._fixed or peer
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
        """Close the socket; the count of drops stays."""
        _ = self.overflowed
        self._socket.close()

    def _set_up(self, host: str, port: int) -> None:
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _ROOM)
        self._socket.bind((host, port))
        self._socket.setblocking(False)
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)


def _receiver(text: str, family: int, url: str) -> Any:
    """Return the address to send to. A name is looked up once, here: sending may not wait."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise LinkError(f"source {url}", f"to={text}", "write to=HOST:PORT")
    try:
        return socket.getaddrinfo(host.strip("[]"), int(port), family, socket.SOCK_DGRAM)[0][4]
    except (OSError, UnicodeError) as error:
        raise LinkError(f"source {url}", f"to={text}: {error}", "give a host that this machine can find") from None
