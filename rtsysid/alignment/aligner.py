"""Align messages of several topics to even rows, in time: as they arrive, or a whole recording at once.

A row is made for each tick t0 + k / rate. A message belongs to the first tick that is not before its stamp. An input
is its newest value; an output is the mean of the messages of the tick, or its newest value, up to the source's
`max_age`; NaN otherwise. Rows begin when every source has spoken. A tick is answered `lateness` after its time, as
the stamps say; a message that arrives later is dropped and counted.

A stamp that is far ahead of all before begins a new grid; one that is far behind starts over, as after a restart.
`rtsysid.alignment.recorded` computes the same for a recording in one go, to equal bits.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from rtsysid.alignment.plan import AlignmentPlan, Feed, SourceColumns
from rtsysid.errors import SpecError
from rtsysid.spec import Doubles, Sample

SLACK = 1e-6  # ticks: a stamp that is late by at most this, from rounding, belongs to its tick
FAR = 1000  # ticks: a stamp that is further ahead, or behind, does not belong to the same grid

Values = tuple[float, ...]


class Grid(NamedTuple):
    """Hold the times of ticks, t0 + k / rate in s."""

    t0: float
    rate_hz: float
    lateness: float

    @property
    def slack(self) -> float:
        """Return the ticks by which rounding may move a stamp: times in epoch seconds are exact to about 1e-7 s."""
        return max(SLACK, 4 * math.ulp(abs(self.t0)) * self.rate_hz)

    def cell(self, t: float) -> int:
        """Return the tick of a stamp."""
        return max(math.ceil((t - self.t0) * self.rate_hz - self.slack), 0)

    def closed(self, newest: float) -> int:
        """Return the last tick that is answered once a stamp `newest` has been seen; -1 for none."""
        return math.floor((newest - self.lateness - self.t0) * self.rate_hz + self.slack)

    def last(self, newest: float) -> int:
        """Return the last tick up to a stamp."""
        return math.floor((newest - self.t0) * self.rate_hz + self.slack)

    def t(self, tick: int) -> float:
        """Return the time of a tick in s."""
        return self.t0 + tick / self.rate_hz

    @property
    def far(self) -> float:
        """Return the seconds beyond which a stamp does not belong to this grid."""
        return FAR / self.rate_hz + self.lateness


class Counts:
    """Count what happened to the messages of one source, and to its values in the rows."""

    def __init__(self) -> None:
        self.messages = self.late = self.averaged = self.held = self.missing = 0


class _State:
    """Hold what one source has said: values by tick that are not used yet, and the newest that is."""

    def __init__(self, track: SourceColumns) -> None:
        self.track, self.conversion = track, track.conversion()
        self.counts = Counts()
        self.pending: dict[int, list[tuple[float, Values]]] = {}
        self.last: tuple[float, Values] | None = None
        self.arrived = 0  # messages of the tick

    @property
    def spoken(self) -> bool:
        return self.last is not None

    def value(self, tick: int, t: float, oldest: float) -> Values | None:
        """Return the values of a tick at time t; None where there are none that count."""
        arrived = self.pending.pop(tick, [])
        self.arrived = len(arrived)
        if arrived:
            arrived.sort(key=lambda each: each[0])
            self.last = arrived[-1]
            if self.track.mean and len(arrived) > 1:
                return mean_of([values for _, values in arrived], self.track)
            return self.last[1]
        if self.last is None or t - self.last[0] > oldest:
            return None
        return self.last[1]

    def count(self, known: bool) -> None:
        """Count what became of the values of a row."""
        self.counts.missing += not known
        self.counts.held += known and not self.arrived
        self.counts.averaged += self.arrived if self.track.mean and self.arrived > 1 else 0


class Aligner:
    """Align messages as they arrive: `push` each one, and ask `tick` for rows until there is none.

    ``rows``: rows so far; ``cut``: ticks before every source had spoken.
    """

    def __init__(self, plan: AlignmentPlan) -> None:
        self.plan = plan
        self._states = [_State(track) for track in plan.tracks]
        self._of_feed = {feed: [s for s in self._states if s.track.feed == feed] for feed in plan.feeds}
        self._names = {str(feed): feed for feed in plan.feeds} | {feed.topic: feed for feed in plan.feeds}
        self._ready: deque[Sample] = deque()
        self._grid: Grid | None = None
        self._newest, self._next = -math.inf, 0
        self.rows = self.cut = 0

    @property
    def counts(self) -> dict[str, Counts]:
        """Return the counts of each source by its name."""
        return {state.track.name: state.counts for state in self._states}

    def push(self, source: str | Feed, t: float, values: Mapping[str, float] | Sequence[float]) -> None:
        """Take a message of a topic with its stamp in s.

        `values` by field, or in the order of the plan's feeds. Raises SpecError where the source is not in the plan.
        """
        feed = self._names.get(source) if isinstance(source, str) else source
        if feed is None or feed not in self._of_feed:
            raise SpecError(
                f"source {str(source)!r}", "no channel comes from it", f"push one of {', '.join(self._names)}"
            )
        fields = self.plan.feeds[feed]
        named = values if isinstance(values, Mapping) else dict(zip(fields, values, strict=True))
        self._take(feed, t + feed.shift_s, named)

    def tick(self, now: float | None = None) -> Sample | None:
        """Return the next row that is due; None where none is. `now`: the time in s, on the clock of the stamps."""
        if now is not None and self._grid is not None:
            self._newest = max(self._newest, now)
        if self._grid is not None:
            closed = self._grid.closed(self._newest)
            while not self._ready and self._next <= closed:
                self._make_row()
        return self._ready.popleft() if self._ready else None

    def finish(self) -> Iterator[Sample]:
        """Yield the rows up to the newest stamp, at the end of a recording."""
        self._flush()
        while self._ready:
            yield self._ready.popleft()

    def _take(self, feed: Feed, t: float, values: Mapping[str, float]) -> None:
        if not math.isfinite(t):
            return
        grid = self._grid_of(t)
        cell = grid.cell(t)
        late = self._newest > -math.inf and cell <= grid.closed(self._newest)
        self._newest = max(self._newest, t)
        for state in self._of_feed[feed]:
            raw = np.array([[float(values.get(name, math.nan)) for name in state.track.fields]])
            converted = tuple(state.conversion.apply(np.array([t]), raw)[0].tolist())
            if not all(map(math.isfinite, converted)):
                continue
            state.counts.messages += 1
            if late:
                state.counts.late += 1
            else:
                state.pending.setdefault(cell, []).append((t, converted))

    def _grid_of(self, t: float) -> Grid:
        """Return the grid that a stamp belongs to; begin one where it belongs to none."""
        grid = self._grid
        if grid is not None and self._newest - grid.far <= t <= self._newest + grid.far:
            return grid
        if grid is not None:
            self._flush()
            if t < self._newest:
                for state in self._states:
                    state.last = None
        for state in self._states:
            state.pending.clear()
        self._grid = grid = Grid(t, self.plan.rate_hz, self.plan.lateness)
        self._newest, self._next = -math.inf, 0
        return grid

    def _flush(self) -> None:
        if self._grid is not None:
            for _ in range(self._next, self._grid.last(self._newest) + 1):
                self._make_row()

    def _make_row(self) -> None:
        assert self._grid is not None
        t = self._grid.t(self._next)
        row = np.full(len(self.plan.channels), np.nan, np.float32)
        for state in self._states:
            values = state.value(self._next, t, state.track.max_age + SLACK / self.plan.rate_hz)
            if values is not None:
                row[list(state.track.columns)] = values
        self._next += 1
        if not all(state.spoken for state in self._states):
            self.cut += 1
            return
        for state in self._states:
            state.count(not math.isnan(row[state.track.columns[0]]))
        self.rows += 1
        self._ready.append(Sample(t, row))


def mean_of(arrived: Sequence[Values], track: SourceColumns) -> Values:
    """Return the mean of the values [k] of one tick, each the short way around to the last."""
    last = arrived[-1]
    if track.rotation:
        arrived = [each if _dot_product(each, last) >= 0 else tuple(-v for v in each) for each in arrived]
    means = []
    for column, period in enumerate(track.periods):
        total = 0.0
        for values in arrived:
            off = values[column] - last[column]
            total += off - period * round(off / period) if period else off
        means.append(last[column] + total / len(arrived))
    if track.rotation:
        size = math.sqrt(_dot_product(tuple(means), tuple(means)))
        means = [each / size for each in means]
    return tuple(means)


def _dot_product(a: Values, b: Values) -> float:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2] + a[3] * b[3]


def means_of(values: Doubles, cell: np.ndarray, counts: np.ndarray, last: Doubles, track: SourceColumns) -> Doubles:
    """Return the means [m, k] of values [n, k] by their tick [n], each the short way around to the last [m, k].

    `counts` [m]: values of each tick, above 0. The sums run in the order of the values, as those of `mean_of`.
    """
    signs = _signs_of(values, cell, last) if track.rotation else None
    means = np.empty_like(last)
    for column, period in enumerate(track.periods):  # one at a time: there may be millions
        off = values[:, column] if signs is None else values[:, column] * signs
        off = off - last[cell, column]
        off = off - period * np.round(off / period) if period else off
        means[:, column] = last[:, column] + np.bincount(cell, off, len(last)) / counts
    if track.rotation:
        x, y, z, w = means.T
        means = means / np.sqrt(x * x + y * y + z * z + w * w)[:, None]
    return means


def _signs_of(values: Doubles, cell: np.ndarray, last: Doubles) -> Doubles:
    """Return 1 or -1 for each quaternion [n, 4], so that it is near the last one [m, 4] of its tick [n]."""
    dots = values[:, 0] * last[cell, 0]
    for column in (1, 2, 3):
        dots += values[:, column] * last[cell, column]
    return np.where(dots < 0, -1.0, 1.0)
