"""Resample a recording onto an even time grid, causally.

A value at a grid point uses only samples up to that time. Inputs are held (zero-order hold) and their age is recorded.
Outputs are the mean of the samples since the last grid point, or are held up to a maximum age. There is no
interpolation and no zero-phase filter: both use future samples, which a running robot does not have.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rtsysid.errors import TraceError
from rtsysid.recordings.timeline import SLACK, check_time
from rtsysid.recordings.trace import Episode, Trace
from rtsysid.spec import Doubles, Floats

_FILL = 1000  # grid points: a longer gap splits the episode, so one wrong timestamp cannot fill the memory


class _Grid(NamedTuple):
    number: NDArray[np.int64]  # [m] index k of each point
    t: Doubles  # [m] seconds
    cell: NDArray[np.int64]  # [n] for each recorded row, the first grid point at or after it


def resample(trace: Trace, rate_hz: float, *, max_age: float) -> Trace:
    """Resample each episode onto t0 + k / `rate_hz`, where t0 is its first time.

    NaN marks a missing sample, so a column may be sparse (a slow sensor in a fast log). An input is its last sample,
    of any age; `Episode.age` (s) is the age of the oldest input. An output is the mean of its samples in
    (t_k-1, t_k]; without one, its last sample if that is at most `max_age` seconds old; otherwise NaN. A gap of more
    than 1000 grid points beyond `max_age` splits the episode; the pieces share one grid. Raises TraceError where times
    decrease or are not finite, and where `rate_hz` or `max_age` is out of range.
    """
    if not rate_hz > 0 or not max_age >= 0:
        values = f"rate_hz = {rate_hz}, max_age = {max_age}"
        raise TraceError("resampling", values, "give a rate above 0 and an age of at least 0")
    inputs = [channel.role == "input" for channel in trace.channels]
    episodes = [piece for episode in trace.episodes for piece in _resample_episode(episode, rate_hz, max_age, inputs)]
    return replace(trace, episodes=tuple(episodes))


def _resample_episode(episode: Episode, rate_hz: float, max_age: float, inputs: list[bool]) -> list[Episode]:
    check_time(episode.name, episode.t)
    grid = _resampling_grid(episode.t, rate_hz, max_age)
    all_arrived = _arrived_counts(grid.cell, len(grid.t))
    values = np.empty((len(grid.t), len(inputs)), np.float32)
    age = np.zeros(len(grid.t)) if any(inputs) else None
    for column, is_input in enumerate(inputs):
        present = ~np.isnan(episode.values[:, column])
        rows = slice(None) if present.all() else present
        t, samples = episode.t[rows], episode.values[rows, column]
        last = all_arrived if present.all() else _arrived_counts(grid.cell[present], len(grid.t))
        values[:, column], old = _hold(grid.t, t, samples, last)
        if is_input and age is not None:
            np.maximum(age, old, out=age)
        if not is_input:
            _average(values[:, column], samples, last, old > max_age + SLACK / rate_hz)
    even = replace(episode, t=grid.t, values=values, age=None if age is None else age.astype(np.float32))
    cuts = np.flatnonzero(np.diff(grid.number, prepend=-2, append=grid.number[-1] + 2) > 1)
    return even.pieces(cuts[:-1], cuts[1:])


def _resampling_grid(t: Doubles, rate_hz: float, max_age: float) -> _Grid:
    # Times in epoch seconds have a rounding error of about 1e-7 s.
    slack = max(SLACK, 4 * float(np.spacing(np.abs(t).max())) * rate_hz)
    cell = np.maximum(np.ceil((t - t[0]) * rate_hz - slack), 0).astype(np.int64)
    points = int(np.floor((t[-1] - t[0]) * rate_hz + slack)) + 1
    held = int(np.ceil(min(max_age * rate_hz, 1e15)))
    jumps = np.diff(cell, prepend=0)
    left_out = np.where(jumps > held + _FILL, jumps - 1 - held, 0)
    cell -= np.cumsum(left_out)
    number = np.ones(points - int(left_out.sum()), np.int64)
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


def _hold(grid: Doubles, t: Doubles, samples: Floats, last: NDArray[np.int64]) -> tuple[Floats, Doubles]:
    """Return the newest sample [m] and its age [m] in s at each grid point; NaN and infinity before the first."""
    if not len(t):
        return np.full(len(grid), np.nan, np.float32), np.full(len(grid), np.inf)
    newest = np.maximum(last - 1, 0)
    age = np.maximum(grid - t[newest], 0.0)
    return np.where(last > 0, samples[newest], np.float32(np.nan)), np.where(last > 0, age, np.inf)


def _average(column: Floats, samples: Floats, last: NDArray[np.int64], stale: NDArray[np.bool_]) -> None:
    """Replace held values [m] by the mean where several samples arrived, and by NaN where the held one is too old."""
    counts = np.diff(last, prepend=0)
    column[stale & (counts == 0)] = np.nan
    if not (counts > 1).any():
        return
    # reduceat sums from each start to the next one; the last sum ends at the last sample that arrived
    filled = np.flatnonzero(counts)
    starts = last[filled] - counts[filled]
    with np.errstate(invalid="ignore"):  # infinite samples of both signs have no mean: NaN
        sums = np.add.reduceat(samples[: last[-1]], starts, dtype=np.float64)
    column[filled] = sums / counts[filled]
