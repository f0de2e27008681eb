"""Putting a recording on an even grid of time, causally.

What stands at a grid point was known at that time. Inputs are held (zero order) and their age is recorded; outputs
are the mean of what came in since the last grid point, or held up to a maximum age. Nothing is interpolated or
filtered in both directions: that would show a model in training what no robot can know when it runs.
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

_FILL = 1000  # grid points of a gap that become rows of NaN; a longer gap cuts, else one wrong clock fills the memory


class _Grid(NamedTuple):
    number: NDArray[np.int64]  # [m] k of each point
    t: Doubles  # [m] seconds
    cell: NDArray[np.int64]  # [n] of each recorded row, the first point that may know it


def resample(trace: Trace, rate_hz: float, *, max_age: float) -> Trace:
    """Resample each episode onto t0 + k / `rate_hz`, where t0 is its first time.

    Each column goes by its own rows that are not NaN, so sparse columns (a slow sensor in a fast log) are taken as what
    they are. Inputs: the last value, however old, with the age of the oldest one in `Episode.age` (s). Outputs: the
    mean of the samples in (t_k-1, t_k]; where there is none, the last one while it is at most `max_age` seconds
    old; else NaN. A gap of more than 1000 points beyond `max_age` is not filled: it cuts the episode, on the same grid.
    Raises TraceError on time that goes back or is not finite.
    """
    if not rate_hz > 0 or not max_age >= 0:
        found = f"rate_hz = {rate_hz}, max_age = {max_age}"
        raise TraceError("resampling", found, "give a rate above 0 and an age of at least 0")
    inputs = [channel.role == "input" for channel in trace.channels]
    episodes = [part for episode in trace.episodes for part in _resample(episode, rate_hz, max_age, inputs)]
    return replace(trace, episodes=tuple(episodes))


def _resample(episode: Episode, rate_hz: float, max_age: float, inputs: list[bool]) -> list[Episode]:
    check_time(episode.name, episode.t)
    grid = _grid(episode.t, rate_hz, max_age)
    all_known = _known(grid.cell, len(grid.t))
    values = np.empty((len(grid.t), len(inputs)), np.float32)
    age = np.zeros(len(grid.t)) if any(inputs) else None
    for column, is_input in enumerate(inputs):
        present = ~np.isnan(episode.values[:, column])
        rows = slice(None) if present.all() else present
        t, samples = episode.t[rows], episode.values[rows, column]
        last = all_known if present.all() else _known(grid.cell[present], len(grid.t))
        values[:, column], old = _hold(grid.t, t, samples, last)
        if is_input and age is not None:
            np.maximum(age, old, out=age)
        if not is_input:
            _average(values[:, column], samples, last, old > max_age + SLACK / rate_hz)
    even = replace(episode, t=grid.t, values=values, age=None if age is None else age.astype(np.float32))
    cuts = np.flatnonzero(np.diff(grid.number, prepend=-2, append=grid.number[-1] + 2) > 1)
    return even.pieces(cuts[:-1], cuts[1:])


def _grid(t: Doubles, rate_hz: float, max_age: float) -> _Grid:
    # Epoch seconds carry rounding of their own, some 1e-7 s.
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
    gaps = gaps[cell[gaps] < len(number)]  # the last row may lie behind the last point
    number[cell[gaps]] += left_out[gaps]
    np.cumsum(number, out=number)
    return _Grid(number, t[0] + number / rate_hz, cell)


def _known(cell: NDArray[np.int64], points: int) -> NDArray[np.int64]:
    """How many samples are known at each grid point."""
    counts: NDArray[np.int64] = np.cumsum(np.bincount(cell, minlength=points)[:points])
    return counts


def _hold(grid: Doubles, t: Doubles, samples: Floats, last: NDArray[np.int64]) -> tuple[Floats, Doubles]:
    """The newest sample at each grid point and its age in seconds; NaN and infinite before the first."""
    if not len(t):
        return np.full(len(grid), np.nan, np.float32), np.full(len(grid), np.inf)
    newest = np.maximum(last - 1, 0)
    age = np.maximum(grid - t[newest], 0.0)
    return np.where(last > 0, samples[newest], np.float32(np.nan)), np.where(last > 0, age, np.inf)


def _average(column: Floats, samples: Floats, last: NDArray[np.int64], stale: NDArray[np.bool_]) -> None:
    """In held values, put the mean where several samples came in, and NaN where none did and the last is stale."""
    counts = np.diff(last, prepend=0)
    column[stale & (counts == 0)] = np.nan
    if not (counts > 1).any():
        return
    # reduceat sums from each start to the next, so every cell that has samples takes part, up to the last known one
    filled = np.flatnonzero(counts)
    starts = last[filled] - counts[filled]
    with np.errstate(invalid="ignore"):  # infinite samples of both signs have no mean: NaN
        sums = np.add.reduceat(samples[: last[-1]], starts, dtype=np.float64)
    column[filled] = sums / counts[filled]
