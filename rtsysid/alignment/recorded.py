"""Align a whole recording in one go: `rtsysid.alignment.aligner.Aligner`, message by message, gives equal bits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rtsysid.alignment.aligner import SLACK, Counts, Grid, means_of
from rtsysid.alignment.plan import AlignmentPlan, Feed, SourceColumns
from rtsysid.errors import TraceError
from rtsysid.spec import Doubles, Floats

RESTARTS = 10_000  # grids of one recording, at most

Numbers = NDArray[np.int64]
Flags = NDArray[np.bool_]


class FeedMessages(NamedTuple):
    """Hold n messages of a feed in order of arrival: stamps [n] s, arrival [n] s, values [n, F] of its fields."""

    t: Doubles
    arrival: Doubles
    values: Doubles


class AlignedRows(NamedTuple):
    """Hold even rows: times [m] s and values [m, C], NaN where a source is silent."""

    t: Doubles
    values: Floats


class AlignedRecording(NamedTuple):
    """Hold the rows of a recording: a piece for each grid. ``cut``: ticks before every source had spoken."""

    pieces: list[AlignedRows]
    counts: dict[str, Counts]
    cut: int


class _Messages(NamedTuple):
    """Hold the messages of one source on one grid, sorted by stamp: stamps [n], values [n, k], ticks [n]."""

    t: Doubles
    values: Doubles
    cell: Numbers

    def upto(self, last: int) -> _Messages:
        stop = int(np.searchsorted(self.cell, last, side="right"))
        return _Messages(self.t[:stop], self.values[:stop], self.cell[:stop])

    def sorted(self) -> _Messages:
        order = np.argsort(self.t, kind="stable")
        if (order[1:] > order[:-1]).all():
            return self
        return _Messages(self.t[order], self.values[order], self.cell[order])


def align_recording(
    plan: AlignmentPlan, recorded: Mapping[Feed, FeedMessages], room: Callable[[int], None] = lambda rows: None
) -> AlignedRecording:
    """Align the messages of all feeds of a plan.

    `room` is called with a number of rows before they are made, and may raise. Raises TraceError where the stamps
    start over all the time.
    """
    messages = _Merged(plan, recorded)
    counts = {track.name: Counts() for track in plan.tracks}
    carried: list[_Messages | None] = [None] * len(plan.tracks)
    pieces, cut = [], 0
    for start, stop, restarted in messages.grids():
        carried = [None if restarted else each for each in carried]
        rows, carried, silent = _align_grid(plan, messages, slice(start, stop), carried, counts, room)
        cut += silent
        if len(rows.t):
            pieces.append(rows)
    return AlignedRecording(pieces, counts, cut)


class _Merged:
    """Hold the messages of all feeds in order of arrival, and the values that each source makes of its own."""

    def __init__(self, plan: AlignmentPlan, recorded: Mapping[Feed, FeedMessages]) -> None:
        self.plan = plan
        feeds = {feed: _with_stamps(each, feed.shift_s) for feed, each in recorded.items()}
        arrival = np.concatenate([each.arrival for each in feeds.values()])
        order = np.argsort(arrival, kind="stable")
        self.t = np.concatenate([each.t for each in feeds.values()])[order]
        places, start = np.empty(len(order), np.int64), 0
        places[order] = np.arange(len(order))
        self._place: dict[Feed, Numbers] = {}  # of each message among all
        for feed, each in feeds.items():
            self._place[feed] = places[start : start + len(each.t)]
            start += len(each.t)
        self._values = [_converted(track, feeds[track.feed], plan.feeds[track.feed]) for track in plan.tracks]

    def grids(self) -> Iterator[tuple[int, int, bool]]:
        """Yield the messages of each grid as start and stop, and whether the sources start over there."""
        start, restarted, far = 0, True, Grid(0.0, self.plan.rate_hz, self.plan.lateness).far
        for _ in range(RESTARTS):
            if start == len(self.t):
                return
            t = self.t[start:]
            newest = np.maximum.accumulate(t)[:-1]
            off = np.flatnonzero((t[1:] > newest + far) | (t[1:] < newest - far))
            stop = start + int(off[0]) + 1 if len(off) else len(self.t)
            yield start, stop, restarted
            if stop < len(self.t):
                restarted = bool(self.t[stop] < newest[stop - start - 1])
            start = stop
        raise TraceError("alignment", f"the stamps start over more than {RESTARTS} times", "choose another time stamp")

    def of_track(self, number: int, part: slice) -> tuple[Numbers, Doubles]:
        """Return the places [n] of a source's messages in a part of all, and their values [n, k]."""
        track = self.plan.tracks[number]
        place = self._place[track.feed]
        first, last = np.searchsorted(place, (part.start, part.stop))
        return place[first:last], self._values[number][first:last]


def _with_stamps(messages: FeedMessages, shift_s: float) -> FeedMessages:
    finite = np.isfinite(messages.t)
    messages = messages._replace(t=messages.t + shift_s) if shift_s else messages
    return messages if finite.all() else FeedMessages(*(each[finite] for each in messages))


def _converted(track: SourceColumns, messages: FeedMessages, fields: tuple[str, ...]) -> Doubles:
    raw = messages.values[:, [fields.index(name) for name in track.fields]]
    return track.conversion().apply(messages.t, raw)


def _align_grid(
    plan: AlignmentPlan, messages: _Merged, part: slice, carried: list[_Messages | None], counts: dict[str, Counts],
    room: Callable[[int], None],
) -> tuple[AlignedRows, list[_Messages | None], int]:  # fmt: skip
    """Align the messages of one grid. Return its rows, what each source said last, and the ticks without a row."""
    t = messages.t[part]
    grid, newest = Grid(float(t[0]), plan.rate_hz, plan.lateness), np.maximum.accumulate(t)
    last = grid.last(float(newest[-1]))
    room(last + 1)
    cell = np.maximum(np.ceil((t - grid.t0) * grid.rate_hz - grid.slack), 0).astype(np.int64)
    closed = np.floor((newest[:-1] - grid.lateness - grid.t0) * grid.rate_hz + grid.slack)
    late = np.concatenate(([False], cell[1:] <= closed))
    times = grid.t0 + np.arange(last + 1) / grid.rate_hz
    values, columns = np.empty((last + 1, len(plan.channels)), np.float32), []
    begin = 0
    for number, track in enumerate(plan.tracks):
        place, own = messages.of_track(number, part)
        place = place - part.start
        said = np.isfinite(own).all(1)
        counts[track.name].messages += int(said.sum())
        counts[track.name].late += int((said & late[place]).sum())
        kept = said & ~late[place]
        said_in_time = _Messages(t[place[kept]], own if kept.all() else own[kept], cell[place[kept]])
        column = _Column.of(track, said_in_time.sorted(), carried[number], times, grid.rate_hz)
        values[:, list(track.columns)] = column.values
        begin, carried[number] = max(begin, column.begin), column.last
        columns.append(column)
    for track, column in zip(plan.tracks, columns, strict=True):
        column.add_to(counts[track.name], begin)
    return AlignedRows(times[begin:], values[begin:]), carried, min(begin, last + 1)


class _Column(NamedTuple):
    """Hold the values [m, k] of a source at m ticks. ``begin``: first tick after it has spoken.

    ``arrived`` [m]: messages of each tick; ``known`` [m]: whether the values count; ``last``: its newest message.
    """

    values: Doubles
    begin: int
    arrived: Numbers
    known: Flags
    mean: bool
    last: _Messages | None

    @classmethod
    def of(
        cls,
        track: SourceColumns,
        said: _Messages,
        carried: _Messages | None,
        times: Doubles,
        rate_hz: float,
    ) -> _Column:
        points = len(times)
        said = said.upto(points - 1)
        arrived = np.bincount(said.cell, minlength=points).astype(np.int64)
        if carried is not None:  # before the first tick
            said = _Messages(*(np.concatenate(pair) for pair in zip(carried, said, strict=True)))
        if not len(said.t):
            nothing = np.full((points, len(track.columns)), np.nan)
            return cls(nothing, points, arrived, np.zeros(points, bool), track.mean, None)
        upto = np.cumsum(arrived) + (carried is not None)
        newest = np.maximum(upto - 1, 0)
        oldest = track.max_age + SLACK / rate_hz
        known = (upto > 0) & ((arrived > 0) | (times - said.t[newest] <= oldest))
        column = np.where(known[:, None], said.values[newest], np.nan)
        if track.mean and (arrived > 1).any():
            several = np.flatnonzero(arrived > 1)
            number = np.full(points, -1)
            number[several] = np.arange(len(several))
            own = number[np.maximum(said.cell, 0)]
            inside = (own >= 0) & (said.cell >= 0)
            part = (said.values, own) if inside.all() else (said.values[inside], own[inside])
            column[several] = means_of(*part, arrived[several], said.values[newest[several]], track)
        end = _Messages(said.t[-1:], said.values[-1:], np.array([-1]))
        return cls(column, int(np.argmax(upto > 0)), arrived, known, track.mean, end)

    def add_to(self, counts: Counts, begin: int) -> None:
        """Count what became of the values, from the first row on."""
        known, arrived = self.known[begin:], self.arrived[begin:]
        counts.missing += int((~known).sum())
        counts.held += int((known & (arrived == 0)).sum())
        counts.averaged += int(arrived[arrived > 1].sum()) if self.mean else 0
