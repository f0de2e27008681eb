"""SessionFile: write a live session as ROS 2 messages in an MCAP file.

============ ========================================= ==================== ============
topic        content                                   log_time             publish_time
============ ========================================= ==================== ============
/wire        the bytes read and written                of the read or write the same
/samples     seq, boot, and one field per channel      of the read          device time
/predictions outputs, t, age, sent, status, flags      of the answer        device time
/health      counters of link and session              of the report        the same
/TOPIC       numbers of a message, without a model     of the read          device time
/updates     what became of a new bundle               of the event         the same
============ ========================================= ==================== ============

Nanoseconds everywhere: the host's of its monotonic clock, the device's of its own clock since it started.
`docs/recording.md` shows how to open such a file.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from firmware_bridge.mcap_file import McapFile
from rtsysid.guards.text import message_fields
from rtsysid.rosmsg import TIME, MessageType, Value
from rtsysid.spec import Arrival, Channel, Floats

_VERSIONS, _NAMES = 100, 4000  # types of one topic, and figures of one type

DIRECTIONS = ("rx", "tx", "open")  # the code of each is its index
_STAMP = "builtin_interfaces/Time stamp\n"
_WIRE = "uint8 RX=0\nuint8 TX=1\nuint8 OPEN=2\nuint8 direction\nuint8[] data\n"
_SAMPLE = "uint32 seq\nuint32 boot\n"
_PREDICTION = "float64 t\nfloat64 age\nuint32 seq\nuint32 boot\nbool sent\n"
_STATUS = "string status\nstring flags\n"
_UPDATE = "string outcome\nstring bundle\nstring model\nstring text\nuint32 boot\nuint64 device_us\nuint32 seq\n"
_HOST = {"clock": "log_time, publish_time and stamp: host, monotonic"}
_DEVICE = {"clock": "log_time: host, monotonic; publish_time and stamp: device, since it started"}


class Noted(Protocol):
    """What became of a new bundle: `rtsysid.live.updates.Note`."""

    @property
    def outcome(self) -> str: ...
    @property
    def bundle(self) -> str: ...
    @property
    def model(self) -> str: ...
    @property
    def text(self) -> str: ...
    @property
    def at(self) -> tuple[int, int, int]: ...


class Predicted(Protocol):
    """A prediction with outputs `y` [ny]: `rtsysid.live.session.Prediction`."""

    @property
    def t(self) -> float: ...
    @property
    def y(self) -> Floats: ...
    @property
    def flags(self) -> Sequence[str]: ...


class Answered(Protocol):
    """An answer: `rtsysid.live.loop.Answer`. `status` may be graver than the status of the prediction."""

    @property
    def arrival(self) -> Arrival: ...
    @property
    def prediction(self) -> Predicted: ...
    @property
    def age_s(self) -> float: ...
    @property
    def status(self) -> str: ...
    @property
    def sent(self) -> bool: ...


class Named(Protocol):
    """A message of a topic with numbers by name, at ``t`` in s: `rtsysid.sources.messages.Message`."""

    @property
    def topic(self) -> str: ...
    @property
    def t(self) -> float: ...
    @property
    def values(self) -> Mapping[str, float]: ...


class SessionFile:
    """The topics of a recording; writes into `file`, in the order of the calls. Without channels: of messages."""

    def __init__(self, file: McapFile, channels: Sequence[Channel], outputs: Sequence[Channel]) -> None:
        self.file = file
        self._wire = _Topic(file, "/wire", "Wire", _STAMP + _WIRE, _HOST)
        if channels:
            self._samples = _channel_topic(file, "/samples", "Sample", _STAMP + _SAMPLE, channels, "")
        self._predictions = _channel_topic(file, "/predictions", "Prediction", _STAMP + _PREDICTION, outputs, _STATUS)
        self._health = _Figures(file, "/health", "Health", _HOST)
        self._messages: dict[str, _Figures] = {}
        self._updates: _Topic | None = None

    def wire(self, direction: str, host_ns: int, data: bytes) -> None:
        """Write raw bytes, as a link's tap gets them; `direction` is one of `DIRECTIONS`."""
        self._wire.add(host_ns, host_ns, DIRECTIONS.index(direction), data)

    def sample(self, arrival: Arrival) -> None:
        """Write a sample that was fed to the session."""
        host_ns, device_ns = round(arrival.received_s * 1e9), arrival.device_t_us * 1000
        self._samples.add(host_ns, device_ns, arrival.seq, arrival.boot, *arrival.sample.values.tolist())

    def prediction(self, answer: Answered, host_ns: int) -> None:
        """Write the prediction for a sample, and whether it was sent to the device."""
        arrival, prediction = answer.arrival, answer.prediction
        head = (prediction.t, answer.age_s, arrival.seq, arrival.boot, answer.sent)
        flags = " ".join(prediction.flags)
        self._predictions.add(host_ns, arrival.device_t_us * 1000, *head, *prediction.y.tolist(), answer.status, flags)

    def update(self, note: Noted, host_ns: int) -> None:
        """Write what became of a new bundle."""
        if self._updates is None:
            self._updates = _Topic(self.file, "/updates", "Update", _STAMP + _UPDATE, _HOST)
        self._updates.add(host_ns, host_ns, note.outcome, note.bundle, note.model, note.text, *note.at)

    def health(self, figures: Mapping[str, Any], host_ns: int) -> None:
        """Write figures and texts by name; names missing in later calls become NaN or empty."""
        self._health.add(host_ns, host_ns, figures)

    def message(self, message: Named, host_ns: int) -> None:
        """Write the numbers of a message to a topic of its own."""
        topic = self._messages.get(message.topic)
        if topic is None:
            number = len(self._messages)
            topic = _Figures(self.file, f"/{message.topic.strip('/') or 'messages'}", f"Message{number}x", _DEVICE)
            self._messages[message.topic] = topic
        topic.add(host_ns, round(message.t * 1e9), message.values)


class _Figures:
    """A topic of figures by name. New names need a new type of message: one never changes."""

    def __init__(self, file: McapFile, topic: str, name: str, metadata: Mapping[str, str]) -> None:
        self._file, self._name, self._type, self._metadata = file, topic, name, metadata
        self._topic: _Topic | None = None
        self._texts: dict[str, bool] = {}  # whether a figure is a text
        self._versions = 0

    def add(self, log_ns: int, publish_ns: int, figures: Mapping[str, Any]) -> None:
        """Write figures; those that are missing become NaN or empty. New names beyond the limits are left out."""
        new = {name: isinstance(value, str) for name, value in figures.items() if name not in self._texts}
        room = self._versions < _VERSIONS and len(self._texts) + len(new) <= _NAMES
        if self._topic is None or (new and room):
            self._texts |= dict(list(new.items())[:_NAMES])
            self._versions += 1
            self._topic = self._make_topic()
        values = (_figure(figures.get(name), text) for name, text in self._texts.items())
        self._topic.add(log_ns, publish_ns, *values)

    def _make_topic(self) -> _Topic:
        kinds = ["string" if text else "float64" for text in self._texts.values()]
        names = message_fields(list(self._texts), {"stamp"})
        lines = "".join(f"{kind} {name}\n" for kind, name in zip(kinds, names, strict=True))
        version = str(self._versions) if self._versions > 1 else ""
        return _Topic(self._file, self._name, f"{self._type}{version}", _STAMP + lines, self._metadata)


class _Topic:
    """A topic and the type of its messages."""

    def __init__(self, file: McapFile, topic: str, name: str, fields: str, metadata: Mapping[str, str]) -> None:
        name, definition = f"rtsysid_msgs/msg/{name}", fields + TIME
        self._file, self._type = file, MessageType(name, definition)
        self._channel = file.channel(topic, name, definition, metadata)

    def add(self, log_ns: int, publish_ns: int, *values: Value) -> None:
        """Write a message stamped with `publish_ns`."""
        stamp = divmod(publish_ns, 1_000_000_000)
        self._file.add(self._channel, log_ns, publish_ns, self._type.pack(*stamp, *values))


def _channel_topic(file: McapFile, topic: str, name: str, head: str, channels: Sequence[Channel], tail: str) -> _Topic:
    """Return a topic with a float for each channel; its metadata maps fields to channels, as JSON."""
    taken = {line.split()[1] for line in (head + tail).splitlines()}
    fields = message_fields([channel.name for channel in channels], taken)
    table = [
        {"field": field, "name": c.name, "unit": c.unit, "role": c.role, "group": c.group}
        for field, c in zip(fields, channels, strict=True)
    ]
    lines = "".join(f"float32 {field}\n" for field in fields)
    return _Topic(file, topic, name, head + lines + tail, {"channels": json.dumps(table), **_DEVICE})


def _figure(value: Any, text: bool) -> float | str:
    if text:
        return "" if value is None else str(value)
    return float(value) if isinstance(value, (int, float)) else math.nan
