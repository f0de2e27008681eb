"""Relive: a recorded live session once more, from the bytes on the wire to the predictions, beside what was said then.

The samples come out of the recorded bytes by the decoder that took them live. Those that the session was fed with then
are fed to one with the same settings; only the age of each answer is the recorded one.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import numpy as np

from rtsysid.errors import TraceError
from rtsysid.live.loop import SessionFeeder
from rtsysid.live.replay import Comparator, Comparison
from rtsysid.live.session import SessionSettings
from rtsysid.recordings.bag import Bag
from rtsysid.ros2msg import Value
from rtsysid.spec import Arrival, Floats

_GROUP = "rtsysid.session"  # of the metadata


class Settings(SessionSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of a recorded session, and the model it ran: id of the bundle and name of the backend."""

    bundle: str
    backend: str
    budget_s: float

    def metadata(self) -> dict[str, dict[str, str]]:
        """Return the settings as a group of texts, as a recorder takes it."""
        names = ("bundle", "backend", *SessionSettings.__struct_fields__)
        return {_GROUP: {name: str(getattr(self, name)) for name in names}}

    @classmethod
    def of(cls, bag: Bag) -> Settings | None:
        """Those of a recording; None where no session took part in it."""
        found = bag.metadata().get(_GROUP)
        try:
            return None if found is None else msgspec.convert(found, cls, strict=False)
        except msgspec.ValidationError as error:
            remedy = "replay it with the release that recorded it"
            raise TraceError(f"recording {bag.path.name}", str(error), remedy) from None


class Reproduction(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it.

    ``decoded``: samples in the bytes. ``dropped_live``: of these, not fed live: they gave way to newer ones, or came
    after the end. ``missing``: samples fed live that the bytes do not hold. ``changed``: that they hold with other
    values. ``predictions``: the answers beside those of then.
    """

    decoded: int
    dropped_live: int
    missing: int
    changed: int
    predictions: Comparison

    @property
    def equal(self) -> bool:
        """Whether every sample, every prediction and every status is that of then, to the last bit."""
        return self.predictions.equal and not self.missing and not self.changed


def reproduce(bag: Bag, arrivals: Iterable[Arrival], feeder: SessionFeeder) -> Reproduction:
    """Feed what was fed then, and compare. `arrivals` are what the recorded bytes decode to."""
    samples, answers = _Recorded(bag, "/samples"), _Recorded(bag, "/predictions")
    comparator, decoded, dropped_live, changed = Comparator(), 0, 0, 0
    for arrival in arrivals:
        decoded += 1
        sample = samples.meet(arrival)
        if sample is None:
            dropped_live += 1
            continue
        changed += not np.array_equal(samples.values(sample), arrival.sample.values, equal_nan=True)
        prediction, said = feeder.feed(arrival), answers.meet(arrival)
        if said is None:
            comparator.add_unmatched()
            continue
        status = feeder.status(prediction, said["age"])
        comparator.add(prediction.t, prediction.y, answers.values(said), changed=status != said["status"])
    comparator.add_unmatched(answers.missing())
    return Reproduction(
        decoded=decoded,
        dropped_live=dropped_live,
        missing=samples.missing(),
        changed=changed,
        predictions=comparator.result(),
    )


class _Recorded:
    """Messages of one topic, each to be met by the arrival that it is about."""

    def __init__(self, bag: Bag, topic: str) -> None:
        self._fields = [row.field for each in bag.topics.values() if each.name == topic for row in each.table()]
        self._messages = bag.read(topic)
        self._passed = 0
        self._next = next(self._messages, None)

    def meet(self, arrival: Arrival) -> dict[str, Value] | None:
        """The message about this arrival; None where there is none, or its turn is yet to come."""
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
        """Its channels [C]."""
        return np.array([message[field] for field in self._fields], np.float32)

    def missing(self) -> int:
        """How many no arrival was about; the end."""
        rest = sum(1 for _ in self._messages) + (self._next is not None)
        return self._passed + rest
