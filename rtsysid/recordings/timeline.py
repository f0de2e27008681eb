"""Whether the times of a recording are even: one rate, gaps aside, that never goes back."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rtsysid.errors import TraceError
from rtsysid.spec import Doubles

SLACK = 1e-6  # of an interval: a sample this little after its grid point, by rounding, still belongs to it
_RATE_TOLERANCE = 0.01  # clocks drift by parts per million; one part in a hundred is another rate
_ODD_SHARE, _ODD_COUNT, _ODD_RUN = 0.1, 5, 10  # more odd intervals than this are a second rate, not gaps
_STRETCH, _SPREAD = 50, 0.05  # means over so many intervals lie this close together at one rate


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
    return np.asarray(np.abs(steps / interval - 1) > 0.5 + SLACK)


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
