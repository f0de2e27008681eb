"""MessageIntake: messages become samples on both clocks, by a channel map; what is lost, late or impossible is counted.

All decisions follow from the messages and the times at which they were read, so that `rtsysid.sources.playback` makes
the same samples again from a recording.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

import numpy as np

from rtsysid.alignment.aligner import Aligner
from rtsysid.alignment.plan import AlignmentPlan, Feed
from rtsysid.device_clock import DeviceClock
from rtsysid.sources.channel_map import ChannelMap
from rtsysid.sources.messages import MOST_TOPICS, TopicMessage
from rtsysid.sources.order import ClockPace, Recent, StampGuard, TickCount
from rtsysid.spec import Arrival, Floats, Sample

_SEQUENCE = 1 << 16
_MANY = 30  # refused messages, after which it is said


class _RowMaker(Protocol):
    """Make rows of the messages of one clock."""

    def take(self, message: TopicMessage) -> Iterator[Sample]: ...
    def counts(self) -> dict[str, dict[str, int]]: ...


class MessageIntake:
    """Make samples of messages. `ahead_s`: how far a stamp may lead (`StampGuard`).

    ``clock``: of the device. ``boot``: grows when the device's clock jumps. ``samples``, ``refused``, ``duplicates``,
    ``jumps``, ``unused`` (messages of which no channel comes) and ``received`` count; ``ticks`` counts gaps and late
    samples.
    """

    def __init__(self, mapping: ChannelMap, ahead_s: float, divider: int = 1) -> None:
        self.mapping, self.clock = mapping, DeviceClock()
        self.ticks = TickCount(mapping.rate_hz)
        self.samples = self.refused = self.duplicates = self.jumps = self.unused = self.received = 0
        self.boot = 1
        self.topics = Counter[str]()
        self.ahead_s, self.divider, self._made = ahead_s, max(divider, 1), 0
        self._guard, self._recent = StampGuard(ahead_s), dict[str, Recent]()
        self._pace = ClockPace()
        self._remarks: list[str] = []
        self._rows = _row_maker(mapping)
        self._stamps = _stamps_of(mapping)

    def take(self, message: TopicMessage, now_s: float) -> Iterator[Arrival]:
        """Yield the samples that a message received at `now_s` completes."""
        self._count(message.topic)
        feed = self._stamps.get(message.topic)
        if not self._in_time(message.topic, message.t if feed is None else stamp_of(message, feed), now_s):
            return
        used = False
        for sample in self._rows.take(message):
            used = True
            self._made += 1
            if (self._made - 1) % self.divider == 0:
                yield self._arrival(sample, now_s)
        self.unused += not used and not self.mapping.aligned

    def counts(self) -> dict[str, dict[str, int]]:
        """Return the counts of each topic, or source where rows are aligned."""
        return {**{topic: {"messages": count} for topic, count in self.topics.items()}, **self._rows.counts()}

    def remarks(self) -> list[str]:
        """Return what there is to say about the times of the source since the last call."""
        found, self._remarks = self._remarks, []
        return found

    def _count(self, topic: str) -> None:
        self.received += 1
        if topic in self.topics or len(self.topics) < MOST_TOPICS:
            self.topics[topic] += 1

    def _in_time(self, topic: str, t: float, now_s: float) -> bool:
        """Return whether the stamp of a message is possible and new; start over where the clock has jumped."""
        verdict = self._guard.judge(t, now_s)
        if verdict == "refused":
            self._refuse()
            return False
        if verdict == "jump":
            self._remarks.append(f"the clock of the source has jumped to {t:.3f} s: the state of the model starts over")
            self._restart()
        if topic not in self._recent and len(self._recent) == MOST_TOPICS:
            self._recent.clear()
        if self._recent.setdefault(topic, Recent()).add(t):
            self.duplicates += 1
            return False
        return True

    def _refuse(self) -> None:
        self.refused += 1
        if self.refused == _MANY:
            found = "their times do not follow the time that passes; give seconds of one clock"
            self._remarks.append(f"{_MANY} messages were refused: {found}")

    def _restart(self) -> None:
        self.jumps += 1
        self._pace = ClockPace()
        self.boot += 1
        self.clock.reset()
        self.ticks.restart()
        self._recent.clear()
        self._rows = _row_maker(self.mapping)

    def _arrival(self, sample: Sample, now_s: float) -> Arrival:
        self.samples += 1
        self.ticks.add(sample.t)
        t_us = round(sample.t * 1e6)
        self.clock.one_way(t_us, now_s)
        if math.isfinite(self.ahead_s) and (remark := self._pace.add(sample.t, now_s)):
            self._remarks.append(remark)
        return Arrival(sample, t_us, self.clock.host_time(t_us), now_s, self.samples % _SEQUENCE, self.boot)


def _stamps_of(mapping: ChannelMap) -> dict[str, Feed]:
    """Return the stamp that counts for each topic of a map: that of its first source."""
    feeds: dict[str, Feed] = {}
    for feed in mapping.plan.feeds if mapping.sources else ():
        feeds.setdefault(feed.topic, feed)
    return feeds


def _row_maker(mapping: ChannelMap) -> _RowMaker:
    if not mapping.channels:
        return _NoRows()
    if mapping.aligned:
        return _AlignedRows(mapping.plan)
    return _MappedRows(mapping.plan) if mapping.sources else _NamedRows(mapping)


class _NoRows:
    """Make no rows: the messages themselves are recorded."""

    def take(self, message: TopicMessage) -> Iterator[Sample]:
        return iter(())

    def counts(self) -> dict[str, dict[str, int]]:
        return {}


class _NamedRows:
    """Make a row of each message that holds channels by their names; those that it lacks are NaN."""

    def __init__(self, mapping: ChannelMap) -> None:
        self._names = [each.name for each in mapping.channels]

    def take(self, message: TopicMessage) -> Iterator[Sample]:
        row = row_of(message.values, self._names)
        if row is not None:
            yield Sample(message.t, row)

    def counts(self) -> dict[str, dict[str, int]]:
        return {}


class _MappedRows:
    """Make a row of each message of the one topic of a map."""

    def __init__(self, plan: AlignmentPlan) -> None:
        self._plan = plan
        self._conversions = [(list(track.columns), track.fields, track.conversion()) for track in plan.tracks]
        (self._feed,) = plan.feeds

    def take(self, message: TopicMessage) -> Iterator[Sample]:
        t = stamp_of(message, self._feed)
        if message.topic != self._feed.topic or not math.isfinite(t):
            return
        row = np.full(len(self._plan.channels), np.nan, np.float32)
        for columns, fields, conversion in self._conversions:
            raw = np.array([[message.values.get(name, math.nan) for name in fields]])
            with np.errstate(over="ignore"):  # what float32 does not hold is refused by the session
                row[columns] = conversion.apply(np.array([t]), raw)[0]
        yield Sample(t, row)

    def counts(self) -> dict[str, dict[str, int]]:
        return {}


class _AlignedRows:
    """Make even rows of the messages of several topics."""

    def __init__(self, plan: AlignmentPlan) -> None:
        self._aligner = Aligner(plan)
        self._feeds: dict[str, list[Feed]] = {}
        for feed in plan.feeds:
            self._feeds.setdefault(feed.topic, []).append(feed)

    def take(self, message: TopicMessage) -> Iterator[Sample]:
        for feed in self._feeds.get(message.topic, ()):
            t = stamp_of(message, feed)
            if math.isfinite(t):
                self._aligner.push(feed, t - feed.shift_s, message.values)
        while (sample := self._aligner.tick()) is not None:
            yield sample

    def counts(self) -> dict[str, dict[str, int]]:
        return {name: dict(vars(count)) for name, count in self._aligner.counts.items()}


def stamp_of(message: TopicMessage, feed: Feed) -> float:
    """Return the time in s that counts for a feed, with its shift; NaN where the message lacks the stamp."""
    t = message.stamps.get(feed.stamp, message.values.get(feed.stamp, math.nan)) if feed.stamp else message.t
    return t + feed.shift_s


def row_of(values: Mapping[str, float], names: Sequence[str]) -> Floats | None:
    """Return the row [C] of values by name, NaN for those that are missing; None where all are missing."""
    found = [values.get(name, math.nan) for name in names]
    if not any(name in values for name in names):
        return None
    with np.errstate(over="ignore"):
        return np.array(found, np.float32)
