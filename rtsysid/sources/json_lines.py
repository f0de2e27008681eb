"""JSON lines: one object a line or a datagram, with ``t`` in seconds and numbers by name: PlotJuggler's habit.

``{"t": 12.34, "vx": 0.5, "motor": {"left": 3, "right": 4}}`` has the fields ``vx``, ``motor.left``, ``motor.right``. A
text under ``topic`` names the topic of the message. An unknown value is ``null``, or ``NaN`` as Python writes it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import msgspec

from rtsysid.sources.format import Outgoing, StreamFormat
from rtsysid.sources.messages import LARGEST, LONGEST_NAME, MOST_VALUES, TopicMessage, as_number, flat_numbers
from rtsysid.sources.stream import StreamSource

RECEIPT = "receipt"  # instead of the name of the field with the time


class JsonOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Options of the address of a source of JSON lines."""

    time: str = "t"


class JsonSource(StreamSource):
    """A source whose messages are JSON lines. ``OPTIONS``: the options of its address."""

    OPTIONS: ClassVar[type[JsonOptions]] = JsonOptions

    def make_format(self) -> StreamFormat:
        """Make the format by the option ``time``."""
        return JsonLines(self.url.choose(self.OPTIONS).time)


class JsonLines:
    """Decode and encode JSON lines. `time`: name of the field with the time in s, or ``receipt``."""

    wants = 'send {"t": seconds, "name": number}, name another field by ?time=NAME, or use ?time=receipt'

    def __init__(self, time: str = "t") -> None:
        self._time = time
        self.corrupt = self.lost = 0
        self._decoder = msgspec.json.Decoder()

    def about(self) -> dict[str, Any]:
        """Return what makes the same format again."""
        return {"format": "json", "time": self._time}

    def reset(self) -> None:
        """Do nothing: each datagram is whole."""

    def decode(self, data: bytes, now_s: float) -> Iterator[TopicMessage]:
        """Yield the messages of a datagram or line of text; what cannot be read counts as corrupt."""
        if len(data) > LARGEST:
            self.corrupt += 1
            return
        for line in data.splitlines():
            if line.strip():
                message = self._message(line, now_s)
                self.corrupt += message is None
                if message is not None:
                    yield message

    def encode(self, outgoing: Outgoing) -> Sequence[bytes]:
        """Return a prediction as one line: the outputs by name, and what `docs/sources.md` lists."""
        outputs = {
            each.name: _or_none(value) for each, value in zip(outgoing.outputs, outgoing.y.tolist(), strict=False)
        }
        head = {"t": _or_none(outgoing.t), "seq": outgoing.seq, "status": outgoing.status}
        ages = {"age": _or_none(outgoing.age_s), "horizon": _or_none(outgoing.horizon_s)}
        return [msgspec.json.encode({**head, **ages, "predicted": outputs})]

    def _message(self, line: bytes, now_s: float) -> TopicMessage | None:
        try:
            found = self._object(line)
            if not isinstance(found, dict):
                return None
            topic, t = found.pop("topic", ""), self._stamp(found, now_s)
            values = dict(flat_numbers(found))
        except (ValueError, RecursionError, msgspec.MsgspecError):
            return None
        wrong = not isinstance(topic, str) or len(topic) > LONGEST_NAME or len(values) > MOST_VALUES or t is None
        return None if wrong or t is None else TopicMessage(topic, t, values)

    def _object(self, line: bytes) -> Any:
        """Parse a line. NaN and Infinity are no JSON, and what many writers of it send."""
        lenient = b"NaN" in line or b"Infinity" in line
        return json.loads(line) if lenient else self._decoder.decode(line)

    def _stamp(self, found: dict[str, Any], now_s: float) -> float | None:
        """Return the time of a message, and remove it from the values; None where it has none."""
        if self._time == RECEIPT:
            return now_s
        t = found.pop(self._time, None)
        return as_number(t) if isinstance(t, (int, float)) else None


def line_of(topic: str, t: float, values: dict[str, float]) -> bytes:
    """Return a message as a line that `JsonLines` reads to equal numbers; NaN and infinity become null."""
    head: dict[str, Any] = {"topic": topic, "t": t} if topic else {"t": t}
    return msgspec.json.encode({**head, **{name: _or_none(value) for name, value in values.items()}})


def _or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None
