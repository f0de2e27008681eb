"""MAVLink through pymavlink: ``mavlink:udp://:14550``, ``mavlink:tcp://HOST:PORT``, ``mavlink:/dev/ttyACM0``.

Messages are topics, by their names (``ATTITUDE``), and fields are theirs (``rollspeed``, ``actuator[0]``). The time is
that of the autopilot since its start: ``time_boot_ms`` or ``time_usec``. Messages without one are not used. Answers to
TIMESYNC put it on the host's clock. The messages of the map are requested at the rate of the model. Predictions go back
as NAMED_VALUE_FLOAT, the status as NAMED_VALUE_INT ``rtsysid``, at most ``answers=50`` of each a second.

Options: ``dialect``, ``baud``, ``system`` (of the autopilot; the first that is heard by default), ``answers``.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from rtsysid.device_clock import host_s
from rtsysid.errors import LinkError
from rtsysid.source.port import Port
from rtsysid.sources.format import Outgoing, StreamFormat, Transport
from rtsysid.sources.messages import LARGEST, TopicMessage, as_number
from rtsysid.sources.needs import live_package
from rtsysid.sources.order import SequenceNumbers
from rtsysid.sources.stream import StreamSource
from rtsysid.sources.udp import UdpTransport
from rtsysid.sources.url import parse
from rtsysid.spec import Channel
from rtsysid.statuses import BY_NAME

_UNIX_S = 1e9  # a time above this is that of day
_BEAT_S, _FAST_S, _SLOW_S = 1.0, 0.1, 1.0  # between heartbeats; between requests for the time, at first and later
_REQUEST_S = 5.0  # between requests for messages that do not come
_CLOSE_S = 10.0  # a time that is further from that of the messages is of another clock
_MOST_SENDERS = 64
_NAME = 10  # characters of the name of a named value
_NO_TIME = {"HEARTBEAT", "TIMESYNC", "PING"}


class MavlinkOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Options of the address."""

    dialect: str = "ardupilotmega"
    baud: int | None = None
    system: int = 0
    answers: float = 50.0


class MavlinkSource(StreamSource):
    """The source for an autopilot: see the module."""

    format: MavlinkFormat

    def make_format(self) -> StreamFormat:
        """Make the format, by the options of the address."""
        options = self.url.choose(MavlinkOptions)
        self._beat_s = self._time_s = self._request_s = -math.inf
        self._requested = False
        whole = parse(self.url.rest).scheme == "udp"
        return MavlinkFormat(options.dialect, options.system, options.answers, whole)

    def connect(self) -> Transport:
        """Open socket or port. Raises OSError where that fails."""
        inner = parse(self.url.rest)
        if inner.scheme == "udp":
            return UdpTransport(inner)
        if inner.scheme == "tcp":
            return _BytePort(f"socket:{inner.rest}", None)
        return _BytePort(self.url.rest.removeprefix("serial:"), self.url.choose(MavlinkOptions).baud)

    def due(self, now_s: float) -> Sequence[bytes]:
        """Return heartbeat, request for the time, and requests for the messages of the map, when they are due."""
        found: list[bytes] = []
        self._learn_time()
        if now_s - self._beat_s >= _BEAT_S:
            self._beat_s = now_s
            found.append(self.format.heartbeat())
        if now_s - self._time_s >= (_SLOW_S if self.intake.clock.converged else _FAST_S):
            self._time_s = now_s
            found.append(self.format.time_request(round(host_s() * 1e9)))
        if now_s - self._request_s >= _REQUEST_S and self.format.system:
            self._request_s = now_s
            missing = [each for each in self.mapping.topics if not (self._requested and each in self.intake.topics)]
            self._requested = True
            found += self.format.requests(missing, self.mapping.rate_hz)
        return found

    def _learn_time(self) -> None:
        clock = self.intake.clock
        while self.format.trips:
            asked_ns, device_ns, now_s = self.format.trips.pop()
            if abs(device_ns * 1e-9 - self.format.newest) < _CLOSE_S:
                clock.round_trip(asked_ns * 1e-9, device_ns // 1000, device_ns // 1000, now_s)


class MavlinkFormat:
    """Decode and encode MAVLink. `system`: of the autopilot, 0: the first that is heard; `answers` in Hz. `whole`: each
    piece holds whole messages, as datagrams do.

    ``system``: the autopilot's number, once it is known. ``trips``: answers to requests for the time, as host time in
    ns when it was asked for, device time in ns, and host time in s of the answer. ``newest``: time of the newest
    message in s. Raises LinkError where the dialect is unknown.
    """

    wants = "send messages with a time, as ATTITUDE, and check the options dialect and system"

    def __init__(
        self, dialect: str = "ardupilotmega", system: int = 0, answers: float = 50.0, whole: bool = False
    ) -> None:
        if not dialect.isidentifier():
            raise LinkError("MAVLink", f"dialect {dialect!r}", "name one of pymavlink, as common")
        os.environ.setdefault("MAVLINK20", "1")
        self._mav: Any = live_package(f"pymavlink.dialects.v20.{dialect}", "MAVLink")
        self._about = {"dialect": dialect, "system": system, "answers": answers, "whole": whole}
        self.system, self._answers, self._whole = system, answers, whole
        self.corrupt = 0
        self.trips: list[tuple[int, int, float]] = []
        self.newest = math.nan
        self._boot_at = math.nan  # time of day at the start of the autopilot
        self._numbers: dict[tuple[int, int], SequenceNumbers] = {}
        self._answered, self._asked_ns = -math.inf, 0
        self._writer = self._mav.MAVLink(None, srcSystem=max(system, 1), srcComponent=191)  # an onboard computer
        self.reset()

    @property
    def lost(self) -> int:
        """Messages that never came, by their numbers."""
        return sum(each.lost for each in self._numbers.values())

    def about(self) -> dict[str, Any]:
        """Return what makes the same format again."""
        return {"format": "mavlink", **self._about}

    def reset(self) -> None:
        """Forget the piece of a message that came last."""
        self._parser = self._mav.MAVLink(None)
        self._parser.robust_parsing = True

    def decode(self, data: bytes, now_s: float) -> Iterator[TopicMessage]:
        """Yield the messages of the autopilot that have a time; pieces that are no message count as corrupt."""
        if len(data) > LARGEST:
            self.corrupt += 1
            return
        for found in self._parse(data):
            if found.get_type() == "BAD_DATA":
                self.corrupt += 1
            elif (message := self._message(found, now_s)) is not None:
                self.newest = message.t
                yield message

    def encode(self, outgoing: Outgoing) -> Sequence[bytes]:
        """Return a NAMED_VALUE_FLOAT for each output, and the status; nothing where the last ones were just sent."""
        if not outgoing.t - self._answered >= 1 / self._answers - 1e-6 and outgoing.t >= self._answered:
            return ()
        self._answered = outgoing.t
        boot_ms = int(outgoing.t * 1e3) % (1 << 32) if math.isfinite(outgoing.t) else 0
        mav, code = self._mav, BY_NAME[outgoing.status].code
        values = zip(_wire_names(outgoing.outputs), outgoing.y.tolist(), strict=False)
        found = [mav.MAVLink_named_value_float_message(boot_ms, name, value) for name, value in values]
        return [self._packed(each) for each in (*found, mav.MAVLink_named_value_int_message(boot_ms, b"rtsysid", code))]

    def heartbeat(self) -> bytes:
        """Return the heartbeat of an onboard computer."""
        mav = self._mav
        return self._packed(
            mav.MAVLink_heartbeat_message(
                mav.MAV_TYPE_ONBOARD_CONTROLLER, mav.MAV_AUTOPILOT_INVALID, 0, 0, mav.MAV_STATE_ACTIVE, 3
            )
        )

    def time_request(self, now_ns: int) -> bytes:
        """Return a request for the autopilot's time, made at `now_ns`."""
        self._asked_ns = now_ns
        return self._packed(self._mav.MAVLink_timesync_message(0, now_ns))

    def requests(self, topics: Sequence[str], rate_hz: float) -> list[bytes]:
        """Return requests for the messages `topics` at `rate_hz`."""
        mav = self._mav
        numbers = {kind.msgname: number for number, kind in mav.mavlink_map.items()}
        interval_us = 1e6 / rate_hz if rate_hz else 0
        return [
            self._packed(mav.MAVLink_command_long_message(
                self.system, 1, mav.MAV_CMD_SET_MESSAGE_INTERVAL, 0, numbers[topic], interval_us, 0, 0, 0, 0, 0
            ))
            for topic in topics if topic in numbers
        ]  # fmt: skip

    def _parse(self, data: bytes) -> Sequence[Any]:
        try:
            found: Sequence[Any] = self._parser.parse_buffer(data) or ()
        except Exception:  # whatever the parser raises, the line starts over
            self.corrupt += 1
            self.reset()
            return ()
        if self._whole and self._parser.buf_len():
            self.corrupt += 1
            self.reset()
        return found

    def _message(self, found: Any, now_s: float) -> TopicMessage | None:
        """Return the message with its time; None for one of another system, or without a time."""
        sender = found.get_srcSystem(), found.get_srcComponent()
        if not self.system and sender[1] == 1:
            self.system = self._writer.srcSystem = sender[0]
        if sender[0] != self.system:
            return None
        if sender in self._numbers or len(self._numbers) < _MOST_SENDERS:
            self._numbers.setdefault(sender, SequenceNumbers(256)).add(found.get_seq())
        self._note_time(found, now_s)
        values = dict(_message_values(found))
        t = math.nan if found.get_type() in _NO_TIME else self._time(values)
        return None if math.isnan(t) else TopicMessage(found.get_type(), t, values)

    def _note_time(self, found: Any, now_s: float) -> None:
        if found.get_type() == "SYSTEM_TIME" and found.time_unix_usec:
            self._boot_at = found.time_unix_usec * 1e-6 - found.time_boot_ms * 1e-3
        elif found.get_type() == "TIMESYNC" and found.tc1 > 0 and found.ts1 == self._asked_ns > 0:
            self.trips.append((found.ts1, found.tc1, now_s))

    def _time(self, values: dict[str, float]) -> float:
        """Return seconds since the start of the autopilot; NaN where they are not known."""
        if "time_boot_ms" in values:
            return values["time_boot_ms"] * 1e-3
        t = values.get("time_usec", math.nan) * 1e-6
        return t - self._boot_at if t > _UNIX_S else t

    def _packed(self, message: Any) -> bytes:
        packed: bytes = message.pack(self._writer)
        self._writer.seq = (self._writer.seq + 1) % 256
        return packed


class _BytePort:
    """A serial port or a TCP connection as a transport."""

    def __init__(self, url: str, baud: int | None) -> None:
        self._port = Port(url, baud)

    def receive(self, timeout_s: float) -> Sequence[bytes]:
        """Return the bytes that have come."""
        data = self._port.read(timeout_s)
        return (data,) if data else ()

    def send(self, data: bytes) -> bool:
        """Write; return whether the line took all of it."""
        return self._port.write(data) == len(data)

    def close(self) -> None:
        """Close the port."""
        self._port.__exit__()


def _message_values(found: Any) -> Iterator[tuple[str, float]]:
    """Yield the numbers of a message by field."""
    for name in found.get_fieldnames():
        value = getattr(found, name)
        if isinstance(value, (int, float)):
            yield name, as_number(value)
        elif isinstance(value, (list, tuple)):
            yield from (
                (f"{name}[{i}]", as_number(each)) for i, each in enumerate(value) if isinstance(each, (int, float))
            )


def _wire_names(outputs: Sequence[Channel]) -> list[bytes]:
    """Return the names of outputs in ten characters; those that are then alike end with the number of the output."""
    names = [each.name.encode("ascii", "replace")[:_NAME] for each in outputs]
    count = Counter(names)
    return [
        name if count[name] == 1 else name[: _NAME - len(str(number))] + str(number).encode()
        for number, name in enumerate(names)
    ]
