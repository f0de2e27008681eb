"""Messages of a recorded live session, checked for the fields that a live session writes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from rtsysid.errors import TraceError
from rtsysid.spec import Arrival, Floats, Sample

if TYPE_CHECKING:  # a live session names its samples by `Key`, and reads no recording
    from rtsysid.recordings.bag import Bag
    from rtsysid.recordings.mcap_records import BagMessage
    from rtsysid.rosmsg import Value


class Key(NamedTuple):
    """What names a sample in a recording: boot of the device, device time in us, and its number."""

    boot: int
    device_us: int
    seq: int

    @classmethod
    def of(cls, arrival: Arrival) -> Key:
        """Return what names a sample."""
        return cls(arrival.boot, arrival.device_t_us, arrival.seq)


def read_topic(bag: Bag, topic: str, fields: Mapping[str, type]) -> Iterator[tuple[BagMessage, dict[str, Value]]]:
    """Stream the messages of a topic. Raises TraceError where one lacks a field of a live session, or its type."""
    for message, values in bag.read(topic):
        for field, kind in fields.items():
            if not isinstance(values.get(field), kind):
                found = f"{topic} has no {field} of type {kind.__name__}"
                raise TraceError(f"recording {bag.path.name}", found, "name a file that rtsysid run wrote")
        yield message, values


def recorded_arrivals(bag: Bag) -> Iterator[Arrival]:
    """Yield the samples that were fed, for a source that recorded no bytes. Raises TraceError as `read_topic` does."""
    fields = _channel_fields(bag, "/samples")
    for message, row in read_topic(bag, "/samples", {"seq": int, "boot": int, **dict.fromkeys(fields, float)}):
        device_us = message.publish_ns // 1000
        sample = Sample(device_us * 1e-6, np.array([row[field] for field in fields], np.float32))
        yield Arrival(sample, device_us, math.nan, message.log_ns * 1e-9, row["seq"], row["boot"])


def _channel_fields(bag: Bag, topic: str) -> list[str]:
    with bag.damage():
        return [row.field for each in bag.topics.values() if each.name == topic for row in each.table()]


class RecordedTopic:
    """Messages of one topic, matched with arrivals in order."""

    def __init__(self, bag: Bag, topic: str, **kinds: type) -> None:
        self._fields = _channel_fields(bag, topic)
        known = {"seq": int, "boot": int, **dict.fromkeys(self._fields, float), **kinds}
        self._messages = read_topic(bag, topic, known)
        self._passed = 0
        self._next = next(self._messages, None)

    def match(self, arrival: Arrival) -> dict[str, Value] | None:
        """Return the message about this arrival; None where there is none."""
        wanted = Key.of(arrival)
        while self._next is not None:
            message, values = self._next
            found = Key(values["boot"], message.publish_ns // 1000, values["seq"])
            if found == wanted:
                self._next = next(self._messages, None)
                return values
            if found.boot != wanted.boot or found.device_us >= wanted.device_us:
                return None
            self._passed += 1
            self._next = next(self._messages, None)
        return None

    def values(self, message: dict[str, Value]) -> Floats:
        """Return the channels of a message [C]."""
        return np.array([message[field] for field in self._fields], np.float32)

    def missing(self) -> int:
        """Count the messages without an arrival; call it once, at the end."""
        rest = sum(1 for _ in self._messages) + (self._next is not None)
        return self._passed + rest
