"""The even grid of time: whether a recording lies on one, and putting it there causally.

What stands at a grid point was known at that time. Inputs are held (zero order) and their age is recorded; outputs
are the mean of what came in since the last grid point, or held up to a maximum age. Nothing is interpolated or
filtered in both directions: that would show a model in training what no robot can know when it runs.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rtsysid.errors import TraceError
from rtsysid.spec import Doubles, Floats

if TYPE_CHECKING:
    from rtsysid.trace import Episode, Trace

_SLACK = 1e-6  # of an interval: a sample this little after its grid point, by rounding, still belongs to it
_FILL = 1000  # grid points of a gap that become rows of NaN; a longer gap cuts, else one wrong clock fills the memory
_RATE_TOLERANCE = 0.01  # clocks drift by parts per million; one part in a hundred is another rate
_ODD_SHARE, _ODD_COUNT, _ODD_RUN = 0.1, 5, 10  # more odd intervals than this are a second rate, not gaps
_STRETCH, _SPREAD = 50, 0.05  # means over so many intervals lie this close together at one rate


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


def check_time(name: str, t: Doubles) -> None:
    """TraceError unless time is finite and never goes back."""
    if not np.isfinite(t).all():
        row = int(np.flatnonzero(~np.isfinite(t))[0])
        raise TraceError(f"{name}: time", f"no number in row {row}", "remove the row")
    back = np.flatnonzero(np.diff(t) < 0)
    if len(back):
        row = int(back[0]) + 1
        found = f"goes back from {t[row - 1]:.9g} s to {t[row]:.9g} s at row {row} ({len(back)} times in all)"
        raise TraceError(f"{name}: time", found, "sort the rows, or split the file where the clock was set")


def check_rate(name: str, t: Doubles, rate_hz: float) -> None:
    """TraceError on duplicates, on two rates, or on another rate than `rate_hz`."""
    steps = np.diff(t)
    if not len(steps):
        return
    same = np.flatnonzero(steps == 0)
    if len(same):
        found = f"{len(same)} duplicate timestamps, the first {t[same[0]]:.9g} s at row {same[0] + 1}"
        raise TraceError(f"{name}: time", found, f"remove the duplicates, or resample to {rate_hz:g} Hz")
    odd = is_odd(steps, 1 / rate_hz)
    if _is_second_rate(odd):
        odd = is_odd(steps, float(np.median(steps)))
    even = steps[~odd]
    if _is_second_rate(odd) or _changes(even):
        raise TraceError(f"{name}: more than one rate", _shares(steps), f"resample to {rate_hz:g} Hz")
    # The two ends of a stretch of n intervals jitter by a quarter interval each.
    if abs(even.mean() * rate_hz - 1) > _RATE_TOLERANCE + 0.5 / len(even):
        measured = 1 / even.mean()
        remedy = f"resample to {rate_hz:g} Hz, or set rate_hz = {measured:.6g}"
        raise TraceError(f"{name}: rate", f"{measured:.6g} Hz instead of {rate_hz:g} Hz", remedy)


def _is_second_rate(odd: NDArray[np.bool_]) -> bool:
    often = odd.mean() > _ODD_SHARE and odd.sum() >= _ODD_COUNT
    return bool(often) or longest_run(odd)[1] >= _ODD_RUN


def _changes(even: Doubles) -> bool:
    """Whether stretches of intervals have means apart: jitter cancels over a stretch, another rate does not."""
    stretches = even[: len(even) // _STRETCH * _STRETCH].reshape(-1, _STRETCH).mean(axis=1)
    return bool((np.abs(stretches / np.median(stretches) - 1) > _SPREAD).any()) if len(stretches) > 1 else False


def is_odd(steps: Doubles, interval: float) -> NDArray[np.bool_]:
    """Which intervals are not one `interval`, where both ends may jitter by a quarter of it."""
    return np.asarray(np.abs(steps / interval - 1) > 0.5 + _SLACK)


def longest_run(flags: NDArray[np.bool_]) -> tuple[int, int]:
    """Start and length of the longest stretch of True."""
    edges = np.flatnonzero(np.diff(flags, prepend=False, append=False))
    if not len(edges):
        return 0, 0
    lengths = edges[1::2] - edges[::2]
    longest = int(lengths.argmax())
    return int(edges[2 * longest]), int(lengths[longest])


def _shares(steps: Doubles) -> str:
    """The commonest intervals, to two digits, with their shares."""
    scale = 10.0 ** (np.floor(np.log10(steps)) - 1)
    intervals, counts = np.unique(np.round(np.round(steps / scale) * scale, 12), return_counts=True)
    order = np.argsort(-counts, kind="stable")[:3]
    return ", ".join(f"{counts[i] / len(steps):.0%} of intervals are {intervals[i] * 1e3:.3g} ms" for i in order)


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
            _average(values[:, column], samples, last, old > max_age + _SLACK / rate_hz)
    even = replace(episode, t=grid.t, values=values, age=None if age is None else age.astype(np.float32))
    cuts = np.flatnonzero(np.diff(grid.number, prepend=-2, append=grid.number[-1] + 2) > 1)
    return even.pieces(cuts[:-1], cuts[1:])


def _grid(t: Doubles, rate_hz: float, max_age: float) -> _Grid:
    # Epoch seconds carry rounding of their own, some 1e-7 s.
    slack = max(_SLACK, 4 * float(np.spacing(np.abs(t).max())) * rate_hz)
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
