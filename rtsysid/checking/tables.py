"""Read recordings as they are, in float64 and before any alignment: one table of each topic."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from fnmatch import fnmatchcase
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rtsysid.alignment.plan import alignment_plan
from rtsysid.config import Data
from rtsysid.errors import TraceError
from rtsysid.recordings import formats
from rtsysid.recordings.formats.sparse import TopicTable
from rtsysid.recordings.open_logs import completed_sources
from rtsysid.recordings.rollover import unrolled_times
from rtsysid.recordings.survey import topic_groups
from rtsysid.recordings.survey_table import guessed_time
from rtsysid.recordings.topic_logs import open_topics
from rtsysid.recordings.topics import Series, Topic, TopicLog, TopicRequest, part_of, read_each, spans_of
from rtsysid.recordings.trace import clock
from rtsysid.spec import Channel, Doubles


class RawTable(NamedTuple):
    """Hold the rows of one topic: times [n] in s as recorded, and values [n, C] in float64.

    ``recording``: name of the recording, with the number of the episode where it has several. ``topic``: "" of a table.
    ``timed``: whether the times come from the recording; otherwise rows are evenly spaced by assumption. ``suffix``:
    of the file.
    """

    recording: str
    topic: str
    t: Doubles
    values: Doubles
    channels: tuple[Channel, ...]
    timed: bool
    suffix: str

    @property
    def name(self) -> str:
        """Name the recording, with its topic."""
        return f"{self.recording} {self.topic}".strip()


def raw_tables(path: Path, name: str, data: Data | None, time: str | None = None) -> Iterator[RawTable]:
    """Read the channels of a configuration from a file; without one, every column of numbers.

    `name`: of the recording. `time`: its time column where there is no configuration, "" where there is none; it is
    guessed for None. Raises TraceError where the file cannot be read or lacks a channel.
    """
    opened = formats.open_log(path)
    if data is not None and data.sources:
        yield from _sources(open_topics(path, data.time or None, None if data.time else data.rate_hz), name, data)
    elif isinstance(opened, TopicTable):
        yield from _topics(opened.log, name, data)
    else:
        yield from _episode_tables(opened, name, data, guessed_time(opened) or "" if time is None else time)


def _episode_tables(log: formats.LogFile, name: str, data: Data | None, time: str) -> Iterator[RawTable]:
    """Read a table, cut into its episodes."""
    wanted = None if data is None else data.channels
    own = clock(time, 1.0) if data is None else clock(data.time, data.rate_hz)
    selection = formats.select_columns(log, wanted, own["time"], own["rate_hz"])
    rows = formats.gather(selection._replace(exact=(*selection.exact, *selection.values), values=())).exact
    before = len(selection.exact)
    t, _ = unrolled_times(formats.times(selection, rows, 0), selection.time.seconds)
    number = rows[:, before - 1] if selection.episodes else np.zeros(len(rows))
    cuts = (0, *(np.flatnonzero(np.diff(np.nan_to_num(number))) + 1), len(rows))
    for k, (start, stop) in enumerate(pairwise(cuts), 1):
        title = name if k == 1 else f"{name}#{k}"
        part = rows[start:stop, before:]
        yield RawTable(
            title, "", t[start:stop], part, selection.channels, bool(own["time"]), "".join(log.path.suffixes)
        )


def _topics(log: TopicLog, name: str, data: Data | None) -> Iterator[RawTable]:
    """Read each topic with the fields that a configuration names, or all of them."""
    named = {} if data is None else {channel.name: channel for channel in data.channels}
    for group in topic_groups(log.topics):
        kept = {topic.name: _channels_of(topic, named) for topic in group}
        requests = [TopicRequest(topic, tuple(fields)) for topic, fields in kept.items() if fields]
        for request, series in _read_what_can_be(log, requests, data is None):
            channels = tuple(kept[request.topic].values())
            yield from _cut_tables(log, name, request.topic, series, channels)


def _read_what_can_be(
    log: TopicLog, requests: Sequence[TopicRequest], forgiving: bool
) -> Iterator[tuple[TopicRequest, Series]]:
    """Read topics; where nobody named them, those that can be read."""
    try:
        yield from zip(requests, read_each(log, requests), strict=True)
    except TraceError:
        if not forgiving:
            raise
        for request in requests:
            with suppress(TraceError):
                yield request, log.read(*request)


def _channels_of(topic: Topic, named: Mapping[str, Channel]) -> dict[str, Channel]:
    """Return the channels of a topic by field: those that are named `topic.field`, or all."""
    prefix = f"{topic.name}." if topic.name else ""
    own = {field.name: Channel(f"{prefix}{field.name}", field.unit) for field in topic.fields}
    return {field: named.get(c.name, c) for field, c in own.items() if not named or c.name in named}


def _sources(log: TopicLog, name: str, data: Data) -> Iterator[RawTable]:
    """Read the topics of sources, each with the channels that come from it, converted."""
    sources = completed_sources(data.sources, data.channels, log)
    plan = alignment_plan(sources, data.channels, data.rate_hz, data.lateness, data.max_age)
    here = {topic.name for topic in log.topics}
    feeds = {
        feed: fields
        for feed, fields in plan.feeds.items()
        if feed.topic in here and (not feed.file or fnmatchcase(log.path.name, feed.file))
    }
    found = read_each(log, [TopicRequest(feed.topic, fields, feed.stamp) for feed, fields in feeds.items()])
    for (feed, fields), series in zip(feeds.items(), found, strict=True):
        tracks = [track for track in plan.tracks if track.feed == feed]
        values = [
            track.conversion().apply(series.t, series.values[:, [fields.index(each) for each in track.fields]])
            for track in tracks
        ]
        channels = tuple(channel for track in tracks for channel in track.channels)
        yield from _cut_tables(log, name, feed.topic, series._replace(values=np.concatenate(values, 1)), channels)


def _cut_tables(
    log: TopicLog, name: str, topic: str, series: Series, channels: tuple[Channel, ...]
) -> Iterator[RawTable]:
    """Cut the messages of a topic into the recordings that a log holds."""
    for k, span in enumerate(spans_of(log), 1):
        t, _, values = part_of(series, span)
        yield RawTable(name if k == 1 else f"{name}#{k}", topic, t, values, channels, True, log.path.suffix)
