"""Read recordings as a configuration says: channels from a table as they are, or from topics by alignment.

Topics, and tables that are to be resampled, are aligned to even rows (`rtsysid.alignment`). Open keys of a
configuration are chosen from the recordings, and reported: the hold time of a source, and its unit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from rtsysid.alignment.arithmetic import computed
from rtsysid.alignment.plan import AlignmentPlan, Feed, SourceColumns, alignment_plan
from rtsysid.alignment.recorded import AlignedRecording, FeedMessages, align_recording
from rtsysid.alignment.source import ChannelSource
from rtsysid.config import Data
from rtsysid.errors import TraceError
from rtsysid.guards.limits import checked_growth
from rtsysid.guards.stages import with_progress
from rtsysid.guards.text import for_json
from rtsysid.recordings.names import digest_of
from rtsysid.recordings.open_logs import FOR_EVER, OpenLogs, completed_sources, joined_rotations, source_named
from rtsysid.recordings.pieces import Aligned, RolledOver, SourceCounts
from rtsysid.recordings.runs import RunFiles, run_files
from rtsysid.recordings.timeline import check_time_unit
from rtsysid.recordings.topics import Series, Topic, TopicLog, part_of
from rtsysid.recordings.trace import Episode, Trace, clock
from rtsysid.spec import Channel, Doubles, Sample

PERIODS = 2.5  # mean periods that a value of a regular topic is held
ROOM = 1.5e8  # bytes of messages that are kept until they are aligned
ON_CHANGE = 10.0  # median periods: an input with longer gaps is sent when it changes


def read_recordings(paths: Sequence[Path | str], data: Data, channels: Sequence[Channel] | None = None) -> Trace:
    """Read files and folders as one trace, as `data` says. `channels` in place of those of `data`.

    Raises the errors of `Trace.read_all`, and TraceError where a topic or a field does not exist.
    """
    return read_resolved(paths, data, channels)[1]


def each_recording(
    paths: Sequence[Path | str], data: Data, channels: Sequence[Channel] | None = None
) -> Iterator[Trace]:
    """Read files and folders as one trace for each recording; see `read_recordings`. Raises its errors."""
    wanted = data.channels if channels is None else tuple(channels)
    for run in run_files(paths, data):
        yield _resolve_and_align([_raw_recording(run, data, wanted)], data, wanted)[1][0]


def stream_recording(path: Path | str, data: Data, channels: Sequence[Channel]) -> Iterator[Sample]:
    """Stream the samples [C] of one recording. A table is streamed as it is, a block in memory at a time.

    Raises the errors of `read_recordings`.
    """
    runs = run_files([path], data)
    if len(runs) > 1:
        found = f"a folder of {len(runs)} recordings, not one"
        raise TraceError(f"recording {path}", found, f"name one of them, as {next(iter(runs[0].files.values()))}")
    (run,) = runs
    if not _is_aligned(OpenLogs(run, data), data):
        yield from Trace.stream(path, channels, **clock(data.time, data.rate_hz))
        return
    for episode in read_recordings([path], data, channels).episodes:
        yield from map(Sample, episode.t.tolist(), episode.values)


def read_resolved(
    paths: Sequence[Path | str], data: Data, channels: Sequence[Channel] | None = None
) -> tuple[Data, Trace]:
    """Read recordings, and return the settings with everything said that alignment chose from them.

    Raises the errors of `read_recordings`.
    """
    wanted = data.channels if channels is None else tuple(channels)
    runs = run_files(paths, data)
    data, traces = _resolve_and_align(
        [_raw_recording(run, data, wanted) for run in with_progress(runs, "reading recordings", len(runs))],
        data,
        wanted,
    )
    episodes = tuple(episode for trace in traces for episode in trace.episodes)
    sources = tuple(source for trace in traces for source in trace.sources)
    notes = tuple(note for trace in traces for note in trace.notes)
    return data, replace(traces[0], episodes=episodes, sources=sources, notes=notes)


def align_trace(trace: Trace, data: Data) -> Trace:
    """Align the episodes of a table that was read as it is; NaN marks a value without a message.

    Raises ConfigError where a setting is out of its range, TraceError where the rows exceed the limits.
    """
    (aligned,) = _resolve_and_align([_of_table(trace, data)], data, trace.channels)[1]
    return replace(aligned, notes=(*(note for note in trace.notes if not isinstance(note, RolledOver)), *aligned.notes))


_Feeds = Mapping[Feed, Sequence[str]]
_Messages = dict[Feed, FeedMessages]


class _Part(NamedTuple):
    """Hold what is aligned together: a run, or an episode of a table.

    ``read``: messages of the fields of feeds. ``spans``: the spans of time in s within which values are held.
    """

    name: str
    read: Callable[[_Feeds], _Messages]
    spans: Callable[[], list[tuple[float, float]]] = lambda: [(-math.inf, math.inf)]

    def cut(self, messages: _Messages) -> list[tuple[str, _Messages]]:
        """Cut what was read into its spans, with a name for each."""
        spans = self.spans()
        if len(spans) == 1:
            return [(self.name, messages)]
        names = [self.name, *(f"{self.name}#{k}" for k in range(2, len(spans) + 1))]
        return [(name, _within(messages, span)) for name, span in zip(names, spans, strict=True)]


def _within(messages: _Messages, span: tuple[float, float]) -> _Messages:
    return {feed: FeedMessages(*part_of(Series(*each), span)) for feed, each in messages.items()}


class _Unaligned(NamedTuple):
    """Hold a recording that is not aligned yet. ``lost``: what its logs have lost; ``units``: of a topic's fields."""

    name: str
    parts: list[_Part]
    sources: dict[str, ChannelSource]
    digests: tuple[tuple[str, str], ...]
    lost: Callable[[], list[str]]
    units: Callable[[str, str], dict[str, str]]


def _raw_recording(run: RunFiles, data: Data, channels: Sequence[Channel]) -> Trace | _Unaligned:
    """Open a recording; return the rows of a table that is not aligned."""
    logs = OpenLogs(run, data)
    if not data.sources and logs.is_table:
        (path,) = run.files.values()
        (trace,) = Trace.read_each([path], channels, **clock(data.time, data.rate_hz))
        trace = _named_after(trace, run.name)
        return _of_table(trace, data) if data.resample else trace
    sources = dict(data.sources)
    if "" in run.files:
        sources = completed_sources(sources, channels, logs.of(""))
        if not data.sources:
            _require_topics(channels, logs.of(""))
    if "estimate" in data.clock_offsets.values():
        logs.estimate_offsets(sources, channels)
    digests = tuple((for_json(path.name), digest_of(path)) for path in run.files.values())
    return _Unaligned(
        run.name,
        [_Part(run.name, logs.messages, lambda: logs.spans)],
        sources,
        digests,
        lambda: logs.missing,
        logs.units,
    )


def _named_after(trace: Trace, name: str) -> Trace:
    """Name the episodes of one file after its run, which is distinct among all."""
    episodes = tuple(replace(e, name=name + e.name[len(e.recording) :]) for e in trace.episodes)
    return replace(trace, episodes=episodes)


def _of_table(trace: Trace, data: Data) -> _Unaligned:
    for each in trace.episodes:
        check_time_unit(each.name, each.t, data.rate_hz, trace.time)
    said = [note.line for note in trace.notes if isinstance(note, RolledOver)]
    names = [channel.name for channel in trace.channels]

    def reader(episode: Episode) -> Callable[[_Feeds], _Messages]:
        def of_fields(fields: Sequence[str]) -> FeedMessages:
            values = episode.values[:, [names.index(each) for each in fields]].astype(np.float64)
            return FeedMessages(episode.t, np.maximum.accumulate(episode.t), values)

        return lambda feeds: {feed: of_fields(fields) for feed, fields in feeds.items()}

    parts = [_Part(episode.name, reader(episode)) for episode in trace.episodes]
    sources = joined_rotations({each.name: ChannelSource(field=each.name) for each in trace.channels}, trace.channels)
    return _Unaligned(trace.episodes[0].recording, parts, sources, trace.sources, lambda: said, lambda file, topic: {})


class _Kept:
    """Keep the messages that were read to choose settings, so that alignment need not read them again."""

    def __init__(self) -> None:
        self._messages: dict[tuple[str, str], _Messages] = {}
        self._bytes = 0

    def messages(self, recorded: _Unaligned, part: _Part, feeds: _Feeds) -> _Messages:
        """Read a part, and keep it as far as there is room."""
        found = part.read(feeds)
        size = sum(each.values.nbytes + each.t.nbytes for each in found.values())
        if self._bytes + size <= ROOM:
            self._bytes += size
            self._messages[recorded.name, part.name] = found
        return found

    def taken(self, recorded: _Unaligned, part: _Part, feeds: _Feeds) -> _Messages:
        """Return the messages of a part, and keep them no longer."""
        found = self._messages.pop((recorded.name, part.name), None)
        return part.read(feeds) if found is None else found


def _resolve_and_align(
    recorded: Sequence[Trace | _Unaligned], data: Data, channels: Sequence[Channel]
) -> tuple[Data, list[Trace]]:
    kept = _Kept()
    data = _with_ages(data, channels, [each for each in recorded if isinstance(each, _Unaligned)], kept)
    return data, [each if isinstance(each, Trace) else _aligned(each, data, channels, kept) for each in recorded]


def _with_ages(data: Data, channels: Sequence[Channel], recorded: Sequence[_Unaligned], kept: _Kept) -> Data:
    """Say the unit of each source, and how long its value is held, where that is not said."""
    if not recorded:
        return data
    sources = {name: _with_stated_unit(source, recorded[0]) for name, source in recorded[0].sources.items()}
    tracks = alignment_plan(sources, channels, data.rate_hz, data.lateness).tracks
    timings = _timings(tracks, recorded, kept) if data.max_age is None else {}
    quiet = min((max(each.longest for each in own) for track, own in timings.items() if track.mean), default=0.0)
    for track in tracks:
        if track.source.max_age is None:
            pause = FOR_EVER if track.mean else quiet
            age = _held(timings[track], pause, data) if data.max_age is None else data.max_age
            sources[track.name] = msgspec.structs.replace(track.source, max_age=age)
    return msgspec.structs.replace(data, sources=sources)


def _timings(
    tracks: Sequence[SourceColumns], recorded: Sequence[_Unaligned], kept: _Kept
) -> dict[SourceColumns, list[_Timing]]:
    """Measure the periods of the sources whose age is open, in every part."""
    timings: dict[SourceColumns, list[_Timing]] = {track: [] for track in tracks if track.source.max_age is None}
    feeds = AlignmentPlan(0, 0, (), tuple(tracks)).feeds
    parts = [(each, part) for each in recorded for part in each.parts] if timings else []
    for run, part in parts:
        for _, messages in part.cut(kept.messages(run, part, feeds)):
            for track, own in timings.items():
                places = [feeds[track.feed].index(field) for field in track.fields]
                own.append(_timing(messages[track.feed].t, messages[track.feed].values[:, places]))
    return timings


def _with_stated_unit(source: ChannelSource, recorded: _Unaligned) -> ChannelSource:
    """Take the unit that the log states, where the fields of a source have one in common.

    A scale is given in place of a unit; -1 changes the sign alone.
    """
    stated = {recorded.units(source.file, source.topic).get(field, "") for field in source.fields or (source.field,)}
    if source.unit or source.derive or len(stated) != 1 or abs(computed(source.scale)) != 1:
        return source
    return msgspec.structs.replace(source, unit=stated.pop())


class _Timing(NamedTuple):
    """Hold mean, median and longest period of messages in s."""

    mean: float
    median: float
    longest: float


def _timing(t: Doubles, values: Doubles) -> _Timing:
    steps = np.diff(np.sort(t[np.isfinite(values).all(1)]))
    steps = steps[steps > 0]
    return _Timing(float(steps.mean()), float(np.median(steps)), float(steps.max())) if len(steps) else _Timing(0, 0, 0)


def _held(timings: Sequence[_Timing], quiet: float, data: Data) -> float:
    """Return for how long a value is held in s: without end for an input that is sent on change.

    `quiet`: the longest pause of the outputs; in such a pause the log was silent, not the source.
    """
    if any(each.longest > max(ON_CHANGE * each.median, 1.5 * quiet) for each in timings):
        return FOR_EVER
    return float(f"{PERIODS * max(1 / data.rate_hz, float(np.median([each.mean for each in timings]))):.4g}")


def _is_aligned(logs: OpenLogs, data: Data) -> bool:
    return bool(data.sources) or data.resample or not logs.is_table


def _require_topics(channels: Sequence[Channel], log: TopicLog) -> None:
    """Raise TraceError where a channel is not named like a field of a topic, ``topic.field``."""
    for channel in channels:
        if source_named(channel.name, log) is None:
            found = f"no topic of channel {channel.name!r}"
            raise TraceError(f"recording {log.path.name}", found, f"there is {_some_topics(log.topics)}")


def _some_topics(topics: Sequence[Topic]) -> str:
    shown = ", ".join(each.name for each in topics[:8])
    return f"{shown} and {len(topics) - 8} more" if len(topics) > 8 else shown or "none"


def _aligned(recorded: _Unaligned, data: Data, channels: Sequence[Channel], kept: _Kept) -> Trace:
    plan = alignment_plan(data.sources, channels, data.rate_hz, data.lateness, data.max_age)
    episodes, notes = list[Episode](), list[Aligned]()
    for part in recorded.parts:
        for name, messages in part.cut(kept.taken(recorded, part, plan.feeds)):
            held = sum(each.values.nbytes + each.t.nbytes for each in messages.values())
            found = align_recording(plan, messages, partial(_room, name, len(channels), held))
            episodes += _episodes(name, found)
            notes.append(_note(plan, found, messages, recorded.lost()))
    if not episodes:
        counts = notes[0].sources
        silent = next((each.name for each in counts if not each.messages), "one of them")
        found_none = f"no tick at which all sources had spoken; {silent} never did"
        raise TraceError(f"recording {recorded.name}", found_none, "leave the channel out, or correct its source")
    return Trace(tuple(channels), tuple(episodes), recorded.digests, tuple(notes), aligned=True)


def _room(name: str, width: int, held: int, rows: int) -> None:
    checked_growth(f"{name}: alignment", rows * 4 * (6 + width), held)


def _episodes(name: str, found: AlignedRecording) -> list[Episode]:
    several = len(found.pieces) > 1
    names = [f"{name}:{k + 1}" if several else name for k in range(len(found.pieces))]
    return [Episode(each, rows.t, rows.values) for each, rows in zip(names, found.pieces, strict=True)]


def _note(
    plan: AlignmentPlan, found: AlignedRecording, messages: Mapping[Feed, FeedMessages], lost: Sequence[str]
) -> Aligned:
    counts = tuple(
        SourceCounts(track.name, str(track.feed), _rate(messages[track.feed]), **vars(found.counts[track.name]))
        for track in plan.tracks
    )
    return Aligned(plan.rate_hz, sum(len(each.t) for each in found.pieces), found.cut, counts, tuple(lost))


def _rate(messages: FeedMessages) -> float:
    span = float(np.ptp(messages.t)) if len(messages.t) > 1 else 0.0
    return (len(messages.t) - 1) / span if span else 0.0
