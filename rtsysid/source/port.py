"""A serial port as a file descriptor: device paths, ``/dev/serial/by-id/...``, ``hwgrep://...``, ``socket://host:port``.

pyserial opens and configures the port. Reading and writing use the descriptor, where one call takes all there is.
"""

from __future__ import annotations

import errno
import os
import re
import select
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

from rtsysid.errors import LinkError

if TYPE_CHECKING:
    import serial

_USUAL_BAUD = 921_600
_CONNECT_S = 2.0
_CHUNK = 65_536  # more than any driver holds
_HELD = "another program holds this port"
_FORMS = "give a path, hwgrep://PATTERN or socket://HOST:PORT"


class Port:
    """An open port; `with` closes it. Reading and writing raise OSError when the device is gone.

    `baudrate`: None is the usual one, for a line that ignores it (USB, a pty, a socket). Raises OSError where the port
    cannot be opened, LinkError where `url` is not valid.
    """

    def __init__(self, url: str, baudrate: int | None = None) -> None:
        self._held: serial.Serial | socket.socket = (
            _connect(url) if url.startswith("socket://") else _open(url, baudrate or _USUAL_BAUD)
        )
        self.fd: int = self._held.fileno()
        self._poll = select.poll()
        self._poll.register(self.fd, select.POLLIN)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):  # closing a device that is gone may fail
            self._held.close()

    def read(self, timeout_s: float) -> bytes:
        """Return all received bytes, waiting up to `timeout_s` seconds for the first. Raises OSError at a hang-up."""
        if not self._poll.poll(timeout_s * 1e3):
            return b""
        try:
            data = os.read(self.fd, _CHUNK)
        except BlockingIOError:
            return b""
        if not data:
            raise OSError("the other side closed the connection")
        return data

    def write(self, data: bytes) -> int:
        """Write without waiting; return how many bytes of `data` the line took. Raises OSError at a hang-up."""
        try:
            return os.write(self.fd, data)
        except BlockingIOError:
            return 0


def described(error: OSError) -> str:
    """Return the text of an error, without the name of the library, and of its cause where pyserial quotes one."""
    text = error.strerror or str(error)
    if "exclusively lock" in text:
        return _HELD
    if "Could not configure port" in text:
        return "it is no serial line"
    cause = re.search(r"could not open port .*\[Errno \d+\] ([^:]+)", text)
    return cause[1] if cause else text


def remedy_for(found: str, usual: str) -> str:
    """Return what to do where a port or socket cannot be opened, by the text of the error; `usual`: any other one."""
    return "end that program first" if found.startswith((_HELD, os.strerror(errno.EADDRINUSE))) else usual


def _open(url: str, baudrate: int) -> serial.Serial:
    import serial

    if "://" in url and not url.lower().startswith("hwgrep://"):  # others of pyserial write files, or are no device
        raise LinkError(f"port {url}", "unknown kind of address", _FORMS)
    try:
        port = serial.serial_for_url(url, baudrate=baudrate, exclusive=True, do_not_open=True)
    except (ValueError, re.error) as error:
        raise LinkError(f"port {url}", str(error), _FORMS) from None
    port.dtr = port.rts = True  # before opening: USB devices send to a terminal that is ready, and no edge resets them
    port.open()
    with suppress(ValueError, AttributeError, NotImplementedError):  # a pty and many drivers have no such mode
        port.set_low_latency_mode(True)
    return port


def _connect(url: str) -> socket.socket:
    try:
        parts = urlsplit(url)
        address = parts.hostname or "", parts.port or 0
    except ValueError:
        address = "", 0
    if not all(address):
        raise LinkError(f"port {url}", "no host and port", "give socket://HOST:PORT")
    connected = socket.create_connection(address, timeout=_CONNECT_S)
    connected.setblocking(False)
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # send each prediction at once
    return connected
