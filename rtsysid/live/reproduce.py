"""Reproduce a recorded live session from the bytes on the wire, and compare the predictions with the recorded ones.

The decoder of the live session decodes the recorded bytes. The samples that the session was fed are fed to a session
with the same settings. Only the age of each answer is taken from the recording.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import msgspec
import numpy as np

from rtsysid.errors import TraceError
from rtsysid.live.loop import SessionFeeder
from rtsysid.live.replay import Comparator, Comparison
from rtsysid.live.settings import Settings
from rtsysid.recordings.bag import Bag
from rtsysid.recordings.mcap_records import BagMessage
from rtsysid.rosmsg import Value
from rtsysid.spec import Arrival, Floats

__all__ = ["Reproduction", "Settings", "read_topic", "reproduce"]


class Reproduction(msgspec.Struct, frozen=True, kw_only=True):
    """Result of a reproduction.

    ``decoded``: samples in the bytes. ``dropped_live``: of these, not fed live, since the queue was full or the session
    had ended. ``missing``: samples fed live that are not in the bytes. ``changed``: samples whose values differ.
    ``predictions``: comparison with the recorded predictions.
    """

    decoded: int
    dropped_live: int
    missing: int
    changed: int
    predictions: Comparison

    @property
    def equal(self) -> bool:
        """Whether every sample, prediction and status equals the recorded one, to the last bit."""
        return self.predictions.equal and not self.missing and not self.changed


def read_topic(bag: Bag, topic: str, fields: Mapping[str, type]) -> Iterator[tuple[BagMessage, dict[str, Value]]]:
    """Stream the messages of a topic. Raises TraceError where one lacks a field of a live session, or its type."""
    for message, values in bag.read(topic):
        for field, kind in fields.items():
            if not isinstance(values.get(field), kind):
                found = f"{topic} has no {field} of type {kind.__name__}"
                raise TraceError(f"recording {bag.path.name}", found, "name a file that rtsysid run wrote")
        yield message, values


def reproduce(bag: Bag, arrivals: Iterable[Arrival], feeder: SessionFeeder) -> Reproduction:
    """Feed the samples that were fed live, and compare. `arrivals`: samples decoded from the recorded bytes.

    Raises TraceError where the recording cannot be read or has another number of outputs.
    """
    samples, answers = _Recorded(bag, "/samples"), _Recorded(bag, "/predictions", age=float, status=str)
    comparator, decoded, dropped_live, changed = Comparator(), 0, 0, 0
    for arrival in arrivals:
        decoded += 1
        sample = samples.match(arrival)
        if sample is None:
            dropped_live += 1
            continue
        changed += not np.array_equal(samples.values(sample), arrival.sample.values, equal_nan=True)
        prediction, recorded = feeder.feed(arrival), answers.match(arrival)
        if recorded is None:
            comparator.add_unmatched()
            continue
        status = feeder.timed(prediction, recorded["age"]).status
        comparator.add(prediction.t, prediction.y, answers.values(recorded), changed=status != recorded["status"])
    comparator.add_unmatched(answers.missing())
    return Reproduction(
        decoded=decoded,
        dropped_live=dropped_live,
        missing=samples.missing(),
        changed=changed,
        predictions=comparator.result(),
    )


class _Recorded:
    """Messages of one topic, matched with arrivals in order."""

    def __init__(self, bag: Bag, topic: str, **kinds: type) -> None:
        with bag.damage():
            self._fields = [row.field for each in bag.topics.values() if each.name == topic for row in each.table()]
        known = {"seq": int, "boot": int, **dict.fromkeys(self._fields, float), **kinds}
        self._messages = read_topic(bag, topic, known)
        self._passed = 0
        self._next = next(self._messages, None)

    def match(self, arrival: Arrival) -> dict[str, Value] | None:
        """Return the message about this arrival; None where there is none."""
        while self._next is not None:
            message, values = self._next
            device_us = message.publish_ns // 1000
            same_boot = values["boot"] == arrival.boot
            if same_boot and (device_us, values["seq"]) == (arrival.device_t_us, arrival.seq):
                self._next = next(self._messages, None)
                return values
            if not same_boot or device_us >= arrival.device_t_us:
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
