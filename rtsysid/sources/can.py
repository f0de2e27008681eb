"""CAN through python-can and a DBC file: ``can:can0?dbc=robot.dbc``.

Messages of the DBC are topics, signals are fields, in the units of the DBC. Options: ``interface`` of python-can
(socketcan by default), ``bitrate``; ``answer=MESSAGE`` is sent with each prediction, its signals named as the outputs.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from rtsysid.errors import LinkError
from rtsysid.guards.limits import limit
from rtsysid.sources.format import Outgoing, StreamFormat, Transport
from rtsysid.sources.messages import TopicMessage, as_number
from rtsysid.sources.needs import live_package
from rtsysid.sources.stream import StreamSource

_FRAME = struct.Struct("<dIB")  # time in s, identifier, flags; the data follow
_EXTENDED, _ERROR, _REMOTE = 1, 2, 4  # flags
_LONGEST = 64  # bytes of a frame of CAN FD
_AT_ONCE = 256


class CanOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Options of the address."""

    dbc: str
    interface: str = "socketcan"
    bitrate: int | None = None
    answer: str = ""


class CanSource(StreamSource):
    """The source for a CAN bus: see the module."""

    def make_format(self) -> StreamFormat:
        """Read the DBC file. Raises LinkError where it cannot be read."""
        options = self.url.choose(CanOptions)
        try:
            with Path(options.dbc).open("rb") as file:
                text = file.read(limit("definition_bytes") + 1)
        except OSError as error:
            raise LinkError(f"DBC file {options.dbc}", str(error.strerror), "check its path") from None
        if len(text) > limit("definition_bytes"):
            raise LinkError(f"DBC file {options.dbc}", "too long", f"give at most {limit('definition_bytes')} bytes")
        return CanFormat(text.decode("cp1252", "replace"), options.answer)

    def connect(self) -> Transport:
        """Open the bus. Raises OSError where that fails."""
        return _Bus(self.url.rest.removeprefix("//"), self.url.choose(CanOptions), self.url.text)


class CanFormat:
    """Decode frames by the text of a DBC file. Raises LinkError where that cannot be read, or lacks the answer."""

    wants = "name the DBC file of this bus"

    def __init__(self, dbc: str, answer: str = "") -> None:
        cantools = live_package("cantools", "DBC file")
        self._dbc, self._answer = dbc, answer
        self.corrupt = self.lost = 0
        try:
            self._database = cantools.database.load_string(dbc, database_format="dbc", strict=False)
            self._frame = self._database.get_message_by_name(answer) if answer else None
        except KeyError as error:
            raise LinkError("DBC file", f"it has no message {error}", "name one of it with answer=MESSAGE") from None
        except Exception as error:  # the parser has errors of its own
            raise LinkError("DBC file", " ".join(str(error).split())[:200], "check it with cantools") from None
        self._known = {each.frame_id: each for each in self._database.messages}

    def about(self) -> dict[str, Any]:
        """Return what makes the same format again: the whole DBC."""
        return {"format": "can", "dbc": self._dbc, "answer": self._answer}

    def reset(self) -> None:
        """Do nothing: each frame is whole."""

    def decode(self, data: bytes, now_s: float) -> Iterator[TopicMessage]:
        """Yield the message of a frame; nothing for one that the DBC does not know."""
        if not _FRAME.size <= len(data) <= _FRAME.size + _LONGEST:
            self.corrupt += 1
            return
        t, identifier, flags = _FRAME.unpack_from(data)
        known = self._known.get(identifier)
        if flags & _ERROR:
            self.corrupt += 1
        if flags & (_ERROR | _REMOTE) or known is None or known.is_extended_frame != bool(flags & _EXTENDED):
            return
        try:
            signals = known.decode(data[_FRAME.size :], decode_choices=False)
        except Exception:  # whatever the codec raises, the frame is not one of this message
            self.corrupt += 1
            return
        yield TopicMessage(known.name, t, {name: as_number(value) for name, value in signals.items()})

    def encode(self, outgoing: Outgoing) -> Sequence[bytes]:
        """Return the frame of the message ``answer``; nothing where a value does not fit it."""
        if self._frame is None:
            return ()
        values = {each.name: value for each, value in zip(outgoing.outputs, outgoing.y.tolist(), strict=False)}
        try:
            data = self._frame.encode({signal.name: values[signal.name] for signal in self._frame.signals}, strict=True)
        except Exception:  # a value outside the signal's range, or NaN
            return ()
        flags = _EXTENDED if self._frame.is_extended_frame else 0
        return (_FRAME.pack(outgoing.t, self._frame.frame_id, flags) + bytes(data),)


class _Bus:
    """An open bus of python-can."""

    def __init__(self, channel: str, options: CanOptions, url: str) -> None:
        self._can = live_package("can", f"source {url}")
        more = {} if options.bitrate is None else {"bitrate": options.bitrate}
        more |= {"preserve_timestamps": True} if options.interface == "virtual" else {}
        try:
            self._bus = self._can.Bus(interface=options.interface, channel=channel, **more)
        except (self._can.CanError, ValueError, TypeError) as error:
            raise OSError(str(error)) from None

    def receive(self, timeout_s: float) -> Sequence[bytes]:
        """Return the frames that have come. Raises OSError where the bus is down."""
        found: list[bytes] = []
        try:
            while len(found) < _AT_ONCE and (frame := self._bus.recv(0 if found else timeout_s)) is not None:
                flags = (
                    frame.is_extended_id * _EXTENDED | frame.is_error_frame * _ERROR | frame.is_remote_frame * _REMOTE
                )
                found.append(_FRAME.pack(frame.timestamp, frame.arbitration_id, flags) + bytes(frame.data))
        except self._can.CanError as error:
            raise OSError(str(error)) from None
        return found

    def send(self, data: bytes) -> bool:
        """Send a frame that `CanFormat.encode` made; return whether the bus took it."""
        _, identifier, flags = _FRAME.unpack_from(data)
        frame = self._can.Message(
            arbitration_id=identifier, is_extended_id=bool(flags & _EXTENDED), data=data[_FRAME.size :],
            is_fd=len(data) > _FRAME.size + 8,
        )  # fmt: skip
        try:
            self._bus.send(frame, timeout=0)
        except self._can.CanError:
            return False
        return True

    def close(self) -> None:
        """Close the bus."""
        self._bus.shutdown()
