"""Resample a recording onto an even time grid, causally.

A value at a grid point uses only samples up to that time. An input is its last sample (zero-order hold). An output is
the mean of the samples since the last grid point, or its last sample. Nothing is held beyond a maximum age. There is
no interpolation and no zero-phase filter: both use future samples, which a running robot does not have.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rtsysid.circle import nearest, unwrapped
from rtsysid.errors import TraceError
from rtsysid.guards.limits import checked_growth
from rtsysid.recordings.pieces import Resampled
from rtsysid.recordings.timeline import SLACK, check_time, check_time_unit, require_rate
from rtsysid.recordings.trace import Episode, Trace
from rtsysid.spec import Channel, Doubles, Floats, rotation_columns

_FILL = 1000  # grid points: a longer gap splits the episode, so one wrong timestamp cannot fill the memory
_COUNTABLE = 2.0**53  # grid points that a float64 counts exactly


class _Grid(NamedTuple):
    number: NDArray[np.int64]  # [m] index k of each point
    t: Doubles  # [m] seconds
    cell: NDArray[np.int64]  # [n] for each recorded row, the first grid point at or after it


class _Column(NamedTuple):
    values: Floats  # [m]
    averaged: int  # samples in a mean of two or more
    held: int  # values that repeat an older sample


class _Even(NamedTuple):
    pieces: list[Episode]
    averaged: int
    held: int


def resample(trace: Trace, rate_hz: float, *, max_age: float) -> Trace:
    """Resample each episode onto t0 + k / `rate_hz`, where t0 is its first time.

    NaN marks a missing sample, so a column may be sparse (a slow sensor in a fast log). An input is its last sample; an
    output is the mean of its samples in (t_k-1, t_k], without one its last sample. A last sample that is more than
    `max_age` seconds old is NaN, of inputs and outputs. A gap of more than 1000 grid points beyond `max_age` splits the
    episode; the pieces share one grid. `notes` count what was averaged, held and missing. Raises TraceError where times
    decrease, are not finite or have another unit, where `rate_hz` or `max_age` is out of range, and where the grid
    exceeds the limits.
    """
    require_rate(rate_hz)
    if not max_age >= 0:
        raise TraceError("resampling", f"max_age = {max_age}", "give an age of at least 0 s")
    for episode in trace.episodes:
        check_time_unit(episode.name, episode.t, rate_hz, trace.time)
    smooth = trace.with_continuous(rotation_columns(trace.channels))
    results = [_resample_episode(episode, rate_hz, max_age, trace.channels) for episode in smooth.episodes]
    episodes = tuple(piece for result in results for piece in result.pieces)
    missing = sum(int(np.isnan(episode.values).sum()) for episode in episodes)
    averaged, held = sum(each.averaged for each in results), sum(each.held for each in results)
    note = Resampled(float(rate_hz), len(trace), sum(map(len, episodes)), averaged, held, missing)
    return replace(trace, episodes=episodes, notes=(*trace.notes, note))


def _resample_episode(episode: Episode, rate_hz: float, max_age: float, channels: Sequence[Channel]) -> _Even:
    check_time(episode.name, episode.t)
    grid = _resampling_grid(episode, rate_hz, max_age)
    all_arrived = _arrived_counts(grid.cell, len(grid.t))
    oldest = max_age + SLACK / rate_hz
    columns = []
    for column, channel in enumerate(channels):
        present = ~np.isnan(episode.values[:, column])
        rows = slice(None) if present.all() else present
        last = all_arrived if present.all() else _arrived_counts(grid.cell[present], len(grid.t))
        columns.append(_resample_column(grid.t, episode.t[rows], episode.values[rows, column], last, oldest, channel))
    even = replace(episode, t=grid.t, values=np.column_stack([each.values for each in columns]))
    cuts = np.flatnonzero(np.diff(grid.number, prepend=-2, append=grid.number[-1] + 2) > 1)
    averaged, held = sum(each.averaged for each in columns), sum(each.held for each in columns)
    return _Even(even.pieces(cuts[:-1], cuts[1:]), averaged, held)


def _resampling_grid(episode: Episode, rate_hz: float, max_age: float) -> _Grid:
    t = episode.t
    if not (t[-1] - t[0]) * rate_hz < _COUNTABLE:
        found = f"times from {t[0]:g} s to {t[-1]:g} s"
        raise TraceError(f"{episode.name}: time", found, "remove the rows with a wrong time")
    # Times in epoch seconds have a rounding error of about 1e-7 s.
    slack = max(SLACK, 4 * float(np.spacing(np.abs(t).max())) * rate_hz)
    cell = np.maximum(np.ceil((t - t[0]) * rate_hz - slack), 0).astype(np.int64)
    points = int(np.floor((t[-1] - t[0]) * rate_hz + slack)) + 1
    held = int(np.ceil(min(max_age * rate_hz, 1e15)))
    jumps = np.diff(cell, prepend=0)
    left_out = np.where(jumps > held + _FILL, jumps - 1 - held, 0)
    cell -= np.cumsum(left_out)
    points -= int(left_out.sum())
    held_bytes = t.nbytes + episode.values.nbytes
    checked_growth(
        f"{episode.name}: resampling", points * episode.values.itemsize * (6 + len(episode.values[0])), held_bytes
    )
    number = np.ones(points, np.int64)
    number[0] = 0
    gaps = np.flatnonzero(left_out)
    gaps = gaps[cell[gaps] < len(number)]  # the last row may be later than the last point
    number[cell[gaps]] += left_out[gaps]
    np.cumsum(number, out=number)
    return _Grid(number, t[0] + number / rate_hz, cell)


def _arrived_counts(cell: NDArray[np.int64], points: int) -> NDArray[np.int64]:
    """Count the samples up to each grid point: [m] from the cell [n] of each sample."""
    counts: NDArray[np.int64] = np.cumsum(np.bincount(cell, minlength=points)[:points])
    return counts


def _resample_column(
    grid: Doubles, t: Doubles, samples: Floats, last: NDArray[np.int64], oldest: float, channel: Channel
) -> _Column:
    """Resample one channel: `samples` [n] at times `t` [n], of which `last` [m] came up to each grid point."""
    if not len(t):
        return _Column(np.full(len(grid), np.nan, np.float32), 0, 0)
    newest = np.maximum(last - 1, 0)
    fresh = np.diff(last, prepend=0) > 0
    old = (last == 0) | (grid - t[newest] > oldest)
    column = np.where(old & ~fresh, np.float32(np.nan), samples[newest])
    held = int((~old & ~fresh).sum())
    if channel.role == "input":
        return _Column(column, 0, held)
    mean = column.copy()
    averaged = _average(mean, unwrapped(samples[:, None], [channel])[:, 0], last)
    return _Column(nearest(mean[:, None], column[:, None], [channel])[:, 0].astype(np.float32), averaged, held)


def _average(column: Floats, samples: Floats, last: NDArray[np.int64]) -> int:
    """Replace values [m] by the mean where several samples arrived; return the number of these samples."""
    counts = np.diff(last, prepend=0)
    if not (counts > 1).any():
        return 0
    # reduceat sums from each start to the next one; the last sum ends at the last sample that arrived
    filled = np.flatnonzero(counts)
    starts = last[filled] - counts[filled]
    with np.errstate(invalid="ignore"):  # infinite samples of both signs have no mean: NaN
        sums = np.add.reduceat(samples[: last[-1]], starts, dtype=np.float64)
    column[filled] = sums / counts[filled]
    return int(counts[counts > 1].sum())
