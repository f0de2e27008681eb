"""Recorder: everything that a live session hears and says, as one MCAP file of ROS 2 messages.

============ ========================================= ==================== ============
topic        content                                   log_time             publish_time
============ ========================================= ==================== ============
/wire        the bytes as they came and went           of the read or write the same
/samples     seq, boot, and one field per channel      of the read          device time
/predictions outputs, t, age, sent, status, flags        of the answer        device time
/health      counters of link and session              of the report        the same
============ ========================================= ==================== ============

Nanoseconds everywhere: the host's of its monotonic clock, the device's of its own clock since it started.
`docs/recording.md` shows how to open such a file.
"""

from __future__ import annotations

import json
import logging
import math
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Protocol, Self, TypeAlias

from firmware_bridge.mcap_file import McapFile
from rtsysid.errors import StorageError
from rtsysid.ros2msg import TIME, MessageType, Value
from rtsysid.spec import Channel, Floats, Sample

Direction: TypeAlias = Literal["rx", "tx", "open"]

DIRECTIONS: tuple[Direction, ...] = ("rx", "tx", "open")  # the code of each is its place
LIMIT = 65_536  # messages that may wait for the disk: 20 s of 1,000 samples a second and what goes with them
_TURN_S = 0.02  # between turns of the writing thread: short ones hold up the other threads for a short time
_WIRE = """builtin_interfaces/Time stamp
uint8 RX=0
uint8 TX=1
uint8 OPEN=2
uint8 direction
uint8[] data
"""
_SAMPLE = """builtin_interfaces/Time stamp
uint32 seq
uint32 boot
"""
_PREDICTION = """builtin_interfaces/Time stamp
float64 t
float64 age
uint32 seq
uint32 boot
bool sent
"""
_STATUS = """string status
string flags
"""
_log = logging.getLogger(__name__)


class Arrived(Protocol):
    """A sample as the link hands it over: `device_t_us` extended beyond 32 bits, `received_s` on the host's clock."""

    @property
    def sample(self) -> Sample: ...
    @property
    def device_t_us(self) -> int: ...
    @property
    def received_s(self) -> float: ...
    @property
    def seq(self) -> int: ...
    @property
    def boot(self) -> int: ...


class Predicted(Protocol):
    """What a session makes of a sample: `rtsysid.session.Prediction`."""

    @property
    def t(self) -> float: ...
    @property
    def y(self) -> Floats: ...
    @property
    def flags(self) -> Sequence[str]: ...


class Answered(Protocol):
    """What came of an arrival: `rtsysid.live.Answer`. `status` may be graver than the prediction's own."""

    @property
    def arrival(self) -> Arrived: ...
    @property
    def prediction(self) -> Predicted: ...
    @property
    def age_s(self) -> float: ...
    @property
    def status(self) -> str: ...
    @property
    def sent(self) -> bool: ...


class Recorder:
    """A recording under way; no call waits for the disk.

    Messages wait in a bounded queue for a thread that writes them; what finds it full is dropped and counted. Where
    the disk fails, that is said once in the log, `error` says it from then on, and every message counts as dropped.
    """

    def __init__(
        self,
        file: McapFile,
        channels: Sequence[Channel],
        outputs: Sequence[Channel],
        clock: Callable[[], int],
        limit: int,
    ) -> None:
        self._file, self._clock, self._limit = file, clock, limit
        self._queue: deque[tuple[_Topic, int, int, bytes]] = deque()
        self._full = 0
        self._told = False
        self._counting = threading.Lock()
        self._wire = _Topic("/wire", "Wire", _WIRE, {"clock": "host monotonic"})
        self._samples = _channel_topic("/samples", "Sample", _SAMPLE, channels, "")
        self._predictions = _channel_topic("/predictions", "Prediction", _PREDICTION, outputs, _STATUS)
        self._health: _Topic | None = None
        self._health_kinds: dict[str, bool] = {}  # by name, whether it is a text
        self._health_versions = 0
        self._numbers = {topic: topic.register(file) for topic in (self._wire, self._samples, self._predictions)}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._thread.start()

    @classmethod
    def open(
        cls,
        path: Path | str,
        *,
        channels: Sequence[Channel],
        outputs: Sequence[Channel] = (),
        metadata: Mapping[str, Mapping[str, str]] | None = None,
        clock: Callable[[], int] = time.monotonic_ns,
        wall: Callable[[], int] = time.time_ns,
        limit: int = LIMIT,
    ) -> Self:
        """Begin a recording of samples of `channels` and predictions of `outputs`.

        `metadata`, named groups of texts, stands at the start of the file: bundle, channel table, configuration.
        `clock` is the one that host times are of, `wall` says once what it shows at what time of day. Raises
        StorageError where the file cannot be begun, or exists.
        """
        begun = {"format": "1", "monotonic_ns": str(clock()), "unix_ns": str(wall())}
        file = McapFile(path, {"rtsysid.recording": begun, **(metadata or {})}, "rtsysid", clock())
        return cls(file, channels, outputs, clock, limit)

    @property
    def path(self) -> Path:
        return self._file.path

    @property
    def error(self) -> StorageError | None:
        """Why nothing is recorded any more."""
        return self._file.error

    @property
    def dropped(self) -> int:
        """Messages that are not in the file and never will be."""
        return self._full + (self._file.added - self._file.kept if self.error is not None else 0)

    def wire(self, direction: Direction, host_ns: int, data: bytes) -> None:
        """Bytes as one read gave or one write took them; ``open``: a port was opened, and a session begins on it."""
        self._put(self._wire, host_ns, host_ns, (*divmod(host_ns, 10**9), DIRECTIONS.index(direction), data))

    def sample(self, arrival: Arrived) -> None:
        """A sample that the session is fed with."""
        host_ns, device_ns = round(arrival.received_s * 1e9), arrival.device_t_us * 1000
        stamp = divmod(device_ns, 10**9)
        self._put(
            self._samples, host_ns, device_ns, (*stamp, arrival.seq, arrival.boot, *arrival.sample.values.tolist())
        )

    def prediction(self, answer: Answered) -> None:
        """What the session said to a sample, and whether it went to the device."""
        arrival, prediction = answer.arrival, answer.prediction
        device_ns = arrival.device_t_us * 1000
        head = (*divmod(device_ns, 10**9), prediction.t, answer.age_s, arrival.seq, arrival.boot, answer.sent)
        values = (*head, *prediction.y.tolist(), answer.status, " ".join(prediction.flags))
        self._put(self._predictions, self._clock(), device_ns, values)

    def health(self, figures: Mapping[str, Any]) -> None:
        """Figures and texts by name, nested or not; what is missing from a later one is NaN or empty there."""
        flat = dict(_flat("", figures))
        new = {name: isinstance(value, str) for name, value in flat.items() if name not in self._health_kinds}
        if new or self._health is None:  # a type never changes, so new names make a new one
            self._health_kinds |= new
            self._health_versions += 1
            self._health = _health_topic(self._health_kinds, self._health_versions)
        values = (_fit(flat.get(name), text) for name, text in self._health_kinds.items())
        host_ns = self._clock()
        self._put(self._health, host_ns, host_ns, (*divmod(host_ns, 10**9), *values))

    def close(self) -> None:
        """Write what waits, the index, and close the file."""
        self._stop.set()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _put(self, topic: _Topic, log_ns: int, publish_ns: int, values: tuple[Value, ...]) -> None:
        if len(self._queue) < self._limit:
            self._queue.append((topic, log_ns, publish_ns, topic.type.pack(*values)))
        else:
            with self._counting:
                self._full += 1

    def _run(self) -> None:
        while not self._stop.wait(_TURN_S):
            self._drain()
            self._file.flush_due(self._clock())
            self._tell()
        self._drain()
        self._file.close()
        self._tell()

    def _drain(self) -> None:
        for _ in range(len(self._queue)):
            topic, log_ns, publish_ns, payload = self._queue.popleft()
            if topic not in self._numbers:
                self._numbers[topic] = topic.register(self._file)
            self._file.add(self._numbers[topic], log_ns, publish_ns, payload)

    def _tell(self) -> None:
        if self.error is not None and not self._told:
            self._told = True
            _log.error("%s", self.error)


class _Topic:
    """A topic and the type of its messages."""

    def __init__(self, topic: str, name: str, fields: str, metadata: Mapping[str, str]) -> None:
        self._topic, self._name, self._definition = topic, f"rtsysid_msgs/msg/{name}", fields + TIME
        self._metadata = metadata
        self.type = MessageType(self._name, self._definition)

    def register(self, file: McapFile) -> int:
        return file.channel(self._topic, self._name, self._definition, self._metadata)


def _channel_topic(topic: str, name: str, head: str, channels: Sequence[Channel], tail: str) -> _Topic:
    """A topic with a float for each channel; its metadata says which field is which channel, as JSON."""
    taken = {line.split()[1] for line in (head + tail).splitlines()}
    fields = _field_names([channel.name for channel in channels], taken)
    table = [
        {"field": field, "name": c.name, "unit": c.unit, "role": c.role, "group": c.group}
        for field, c in zip(fields, channels, strict=True)
    ]
    lines = "".join(f"float32 {field}\n" for field in fields)
    clocks = "log_time: host monotonic; publish_time and stamp: device"
    return _Topic(topic, name, head + lines + tail, {"channels": json.dumps(table), "clock": clocks})


def _health_topic(kinds: Mapping[str, bool], version: int) -> _Topic:
    names = _field_names(list(kinds), {"stamp"})
    lines = [f"{'string' if text else 'float64'} {name}\n" for name, text in zip(names, kinds.values(), strict=True)]
    name = "Health" if version == 1 else f"Health{version}"
    return _Topic("/health", name, "builtin_interfaces/Time stamp\n" + "".join(lines), {"clock": "host monotonic"})


def _flat(prefix: str, figures: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in figures.items():
        if isinstance(value, Mapping):
            yield from _flat(f"{prefix}{name}_", value)
        else:
            yield prefix + name, value


def _fit(value: Any, text: bool) -> float | str:
    if text:
        return "" if value is None else str(value)
    return float(value) if isinstance(value, (int, float)) else math.nan


def _field_names(names: Sequence[str], taken: set[str]) -> list[str]:
    """Names as ROS 2 allows them, a to z, 0 to 9 and single underscores, each of them once."""
    fields: list[str] = []
    for name in names:
        plain = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
        field = plain = plain if plain[:1].isalpha() else f"x_{plain}".rstrip("_")
        number = 1
        while field in taken or field in fields:
            number += 1
            field = f"{plain}_{number}"
        fields.append(field)
    return fields
