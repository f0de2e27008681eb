"""Open the files of a run, read their messages, and bring their clocks together."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise
from pathlib import Path

import msgspec
import numpy as np

from rtsysid.alignment.offset import ClockOffset, estimate_offset
from rtsysid.alignment.plan import AlignmentPlan, Feed, alignment_plan
from rtsysid.alignment.recorded import AlignedRows, FeedMessages, align_recording
from rtsysid.alignment.source import ChannelSource
from rtsysid.config import Data
from rtsysid.errors import TraceError
from rtsysid.recordings.runs import RunFiles
from rtsysid.recordings.topic_logs import TABLE, TableLog, open_topics
from rtsysid.recordings.topics import TopicLog, TopicRequest, read_each, spans_of
from rtsysid.spec import Channel, rotation_columns

FOR_EVER = 1e8  # s that a value is held until its next message


class OpenLogs:
    """Open the files of a run, each once, and read their messages."""

    def __init__(self, run: RunFiles, data: Data) -> None:
        self.run, self._data = run, data
        self._open: dict[Path, TopicLog] = {}
        self.remarks: list[str] = []
        self._offsets = {name: each for name, each in data.clock_offsets.items() if isinstance(each, float | int)}

    def of(self, pattern: str) -> TopicLog:
        """Return the log that a source's file pattern names."""
        path = self.run.file(pattern)
        if path not in self._open:
            time = self._data.time or None
            self._open[path] = open_topics(path, time, None if time else self._data.rate_hz)
        return self._open[path]

    @property
    def is_table(self) -> bool:
        """Tell whether the run is one table."""
        return list(self.run.files) == [""] and isinstance(self.of(""), TableLog)

    def messages(self, feeds: Mapping[Feed, Sequence[str]]) -> dict[Feed, FeedMessages]:
        """Read fields of feeds, each log in one pass; see `FeedMessages`."""
        found: dict[Feed, FeedMessages] = {}
        for pattern in dict.fromkeys(feed.file for feed in feeds):
            own, offset = [feed for feed in feeds if feed.file == pattern], self._offsets.get(pattern, 0.0)
            requests = [TopicRequest(feed.topic, feeds[feed], feed.stamp) for feed in own]
            for feed, series in zip(own, read_each(self.of(pattern), requests), strict=True):
                t, arrival = (series.t + offset, series.arrival + offset) if offset else (series.t, series.arrival)
                found[feed] = FeedMessages(t, arrival, series.values)
        return {feed: found[feed] for feed in feeds}

    @property
    def spans(self) -> list[tuple[float, float]]:
        """Return the spans of time in s that belong together, of a run in one file; see `spans_of`."""
        return spans_of(self.of("")) if list(self.run.files) == [""] else [(-math.inf, math.inf)]

    def estimate_offsets(self, sources: Mapping[str, ChannelSource], channels: Sequence[Channel]) -> None:
        """Estimate the offset of each file whose clock is to be estimated, against the first file; remark on it.

        Raises TraceError where a file has no tick at which all its sources have spoken.
        """
        plan = alignment_plan(sources, channels, self._data.rate_hz, self._data.lateness, FOR_EVER)
        first, *others = dict.fromkeys(track.feed.file for track in plan.tracks)
        for pattern in others:
            if self._data.clock_offsets.get(pattern) == "estimate":
                found = _offset_between(_rows_of(plan, self, first), _rows_of(plan, self, pattern), plan.rate_hz)
                self._offsets[pattern] = found.seconds
                words = f"clock of {self.run.file(pattern).name}: {found.seconds:+.4g} s, "
                doubt = "" if found.clear else ", but the correlation has no clear peak"
                self.remarks.append(f"{words}90 % between {found.low:+.4g} and {found.high:+.4g} s{doubt}")

    def units(self, pattern: str, topic: str) -> dict[str, str]:
        """Return the units that the log states of a topic's fields."""
        return {
            field.name: field.unit for each in self.of(pattern).topics if each.name == topic for field in each.fields
        }

    @property
    def missing(self) -> list[str]:
        """Describe what the logs have lost."""
        lost = [f"{path.name}: {log.missing}" for path, log in self._open.items() if log.missing]
        return [*lost, *self.remarks]


def completed_sources(
    sources: Mapping[str, ChannelSource], channels: Sequence[Channel], log: TopicLog
) -> dict[str, ChannelSource]:
    """Complete sources of channels that are named like a column of a table, or ``topic.field``.

    A channel without a source is read as it is, and so is a field that a source does not say.
    """
    if any(each.file for each in sources.values()):
        return dict(sources)
    sources = {
        name: each if each.field or each.fields else _with_field(name, each, log) for name, each in sources.items()
    }
    rest = [each for each in channels if each.name not in sources and each.group not in sources]
    found = {each.name: source_named(each.name, log) for each in rest}
    return dict(sources) | joined_rotations({k: source for k, source in found.items() if source}, channels)


def _with_field(name: str, source: ChannelSource, log: TopicLog) -> ChannelSource:
    found = None if source.field or source.fields else source_named(name, log)
    return source if found is None else msgspec.structs.replace(source, topic=found.topic, field=found.field)


def source_named(name: str, log: TopicLog) -> ChannelSource | None:
    """Find the column of a table, or the field of a topic, ``topic.field``; None where there is no such topic."""
    if [each.name for each in log.topics] == [TABLE]:
        return ChannelSource(field=name)
    owners = [each.name for each in log.topics if name.startswith(f"{each.name}.")]
    topic = max(owners, key=len, default="")
    return ChannelSource(topic=topic, field=name[len(topic) + 1 :]) if owners else None


def joined_rotations(sources: dict[str, ChannelSource], channels: Sequence[Channel]) -> dict[str, ChannelSource]:
    """Join the components of each quaternion: they are averaged as one rotation."""
    for columns in rotation_columns(channels):
        names = [channels[column].name for column in columns]
        own, group = [sources[name] for name in names if name in sources], channels[columns[0]].group
        if group and len(own) == len(names) and len({each.topic for each in own}) == 1:
            sources[group] = ChannelSource(topic=own[0].topic, fields=tuple(each.field for each in own))
            for name in names:
                del sources[name]
    return sources


def _rows_of(plan: AlignmentPlan, logs: OpenLogs, pattern: str) -> AlignedRows:
    """Align the sources of one file alone; return its longest piece."""
    tracks = [track for track in plan.tracks if track.feed.file == pattern]
    channels = tuple(channel for track in tracks for channel in track.channels)
    ends = list(accumulate((len(track.channels) for track in tracks), initial=0))
    moved = [track._replace(columns=tuple(range(a, b))) for track, (a, b) in zip(tracks, pairwise(ends), strict=True)]
    own = plan._replace(channels=channels, tracks=tuple(moved))
    pieces = align_recording(own, logs.messages(own.feeds)).pieces
    if not pieces:
        raise TraceError(f"run {logs.run.name}", f"no tick at which all sources of {pattern!r} had spoken",
                         "give clock_offsets in seconds")  # fmt: skip
    return max(pieces, key=lambda piece: len(piece.t))


def _offset_between(first: AlignedRows, second: AlignedRows, rate_hz: float) -> ClockOffset:
    apart = float(second.t[0] - first.t[0])
    return estimate_offset(first.values.astype(np.float64), second.values.astype(np.float64), rate_hz, apart)
