"""Check the times of a recording: increasing, and evenly spaced at one rate except for gaps."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rtsysid.errors import TraceError
from rtsysid.recordings.time_column import NO_TIME, UNITS, TimeColumn
from rtsysid.recordings.unit_words import SECONDS
from rtsysid.spec import Doubles

SLACK = 1e-6  # intervals: a sample that is late by at most this, from rounding, belongs to its grid point
_RATE_TOLERANCE = 0.01  # clocks drift by parts per million; a difference of 1 % is another rate
_ODD_SHARE, _ODD_COUNT, _ODD_RUN = 0.1, 5, 10  # more odd intervals than this mean a second rate, not gaps
_MEAN_OVER, _MEAN_SPREAD = 50, 0.05  # at one rate, means over 50 intervals agree within 5 %
_OTHER_MODEL = 30.0  # a rate that differs by a larger factor is a fault of the times, not a rate to train at
_NEAR_UNIT = 1 / 6  # powers of a thousand: a rate within a factor of about 3 of the wanted one, in another unit
_BURST_STEP, _BURST_SHARE, _BURST_ROWS = 0.25, 0.6, 100  # ticks within a burst, share of such steps, rows of a burst


def require_rate(rate_hz: float) -> None:
    """Check that a rate is a positive finite number. Raises TraceError where it is not."""
    if not 0 < rate_hz < np.inf:
        raise TraceError("rate_hz", f"{rate_hz:g}", "give the samples per second, a number above 0")


def check_time(name: str, t: Doubles) -> None:
    """Check that times [n] in s are finite and never decrease. Raises TraceError where they are not."""
    if not np.isfinite(t).all():
        row = int(np.flatnonzero(~np.isfinite(t))[0])
        raise TraceError(f"{name}: time", f"the time in row {row} is not finite", "remove the row")
    back = np.flatnonzero(np.diff(t) < 0)
    if len(back):
        row = int(back[0]) + 1
        jump = f"goes back from {t[row - 1]:.9g} s to {t[row]:.9g} s at row {row} ({len(back)} times in all)"
        raise TraceError(f"{name}: time", jump, "sort the rows, or split the file where the clock was set")


def check_rate(name: str, t: Doubles, rate_hz: float, time: TimeColumn = NO_TIME) -> None:
    """Check that times [n] in s are evenly spaced at `rate_hz`, except for gaps.

    Raises TraceError for times in another unit, rows that come in bursts, duplicate times, two rates, and a rate other
    than `rate_hz`. `time` is the column that the times come from.
    """
    steps = np.diff(t)
    if not len(steps):
        return
    check_time_unit(name, t, rate_hz, time)
    _refuse_bursts(name, steps, rate_hz)
    same = np.flatnonzero(steps == 0)
    if len(same):
        duplicates = f"{len(same)} duplicate timestamps, the first {t[same[0]]:.9g} s at row {same[0] + 1}"
        raise TraceError(f"{name}: time", duplicates, f"remove the duplicates; {_another(rate_hz)}")
    odd = is_odd(steps, 1 / rate_hz)
    if _is_second_rate(odd):
        odd = is_odd(steps, float(np.median(steps)))
    even = steps[~odd]
    if _is_second_rate(odd) or _changes(even):
        raise _two_rates(name, steps, rate_hz)
    # The first and the last of n intervals jitter by a quarter interval each.
    if len(even) and abs(even.mean() * rate_hz - 1) > _RATE_TOLERANCE + 0.5 / len(even):
        raise _other_rate(name, 1 / even.mean(), rate_hz)


def check_time_unit(name: str, t: Doubles, rate_hz: float, time: TimeColumn = NO_TIME) -> None:
    """Check that times [n] in s are not 1e3, 1e6 or 1e9 times too slow for `rate_hz`, as in a unit that is not stated.

    Raises TraceError that names the unit.
    """
    steps = np.diff(t)
    forward = steps[steps > 0]
    slower = float(np.log10(np.median(forward)) + np.log10(rate_hz)) / 3 if len(forward) else 0.0
    unit = _known_unit(time.seconds * 1000.0 ** -round(slower))
    if round(slower) < 1 or abs(slower - round(slower)) > _NEAR_UNIT or not unit:
        return
    stated = f"{time.name or 't'} [{unit}]"
    remedy = f'set time = "{stated}", or on the command line --time "{stated}"'
    raise TraceError(f"{name}: time", f"the times look like {UNITS[unit]}", remedy)


def _known_unit(seconds: float) -> str:
    return next((unit for unit in UNITS if 0.99 < seconds / SECONDS[unit] < 1.01), "")


def check_typical_rate(name: str, t: Doubles, rate_hz: float, time: TimeColumn = NO_TIME) -> None:
    """Check that most of the times [n] in s are spaced at `rate_hz`; gaps and times that repeat are allowed.

    Raises TraceError for times in another unit, and for another rate. `time` is the column that the times come from.
    """
    check_time_unit(name, t, rate_hz, time)
    even = _typical_intervals(t)
    if not len(even) or abs(even.mean() * rate_hz - 1) <= _RATE_TOLERANCE + 0.5 / len(even):
        return
    steps = np.diff(t)
    if len(even) < (1 - _ODD_SHARE) * len(steps):
        raise _two_rates(name, steps[steps > 0], rate_hz)
    raise _other_rate(name, 1 / even.mean(), rate_hz)


def typical_rate(t: Doubles) -> float | None:
    """Return the rate in Hz at which most of the times [n] in s are spaced, to six digits; None for a single time."""
    even = _typical_intervals(t)
    return float(f"{1 / even.mean():.6g}") if len(even) else None


def _typical_intervals(t: Doubles) -> Doubles:
    """Return the intervals [m] between times [n] that are about as long as most."""
    steps = np.diff(t)
    forward = steps[steps > 0]
    return forward[~is_odd(forward, float(np.median(forward)))] if len(forward) else forward


def _other_rate(name: str, measured: float, rate_hz: float) -> TraceError:
    found = f"the recording is at {measured:.6g} Hz, the model at {rate_hz:g} Hz"
    plausible = 1 / _OTHER_MODEL < measured / rate_hz < _OTHER_MODEL
    trained = f" or data.rate_hz = {measured:.6g}" if plausible else ""
    return TraceError(f"{name}: rate", found, f"{_another(rate_hz)}{trained}")


def _two_rates(name: str, steps: Doubles, rate_hz: float) -> TraceError:
    return TraceError(f"{name}: more than one rate", _shares(steps), _another(rate_hz))


def _another(rate_hz: float) -> str:
    return f"give a recording at {rate_hz:g} Hz (docs/recording.md makes one), or train with data.resample = true"


def _refuse_bursts(name: str, steps: Doubles, rate_hz: float) -> None:
    """Raise TraceError where most of the steps [n] in s are far below a tick, and pauses between them make up for it.

    Such times say when the rows arrived, as a USB or network driver hands them over, not when they were measured.
    """
    within = steps < _BURST_STEP / rate_hz
    pauses = np.flatnonzero(~within)
    if within.mean() <= _BURST_SHARE or len(pauses) < _ODD_COUNT or longest_run(within)[1] >= _BURST_ROWS:
        return
    size = float(np.median(np.diff(pauses)))
    found = f"rows come in bursts of {size:.0f}; the mean is {len(steps) / steps.sum():.6g} Hz"
    remedy = 'name the column of the device\'s own time stamps, or set time = "" where rows are evenly spaced'
    raise TraceError(f"{name}: time", found, remedy)


def _is_second_rate(odd: NDArray[np.bool_]) -> bool:
    often = odd.mean() > _ODD_SHARE and odd.sum() >= _ODD_COUNT
    return bool(often) or longest_run(odd)[1] >= _ODD_RUN


def _changes(even: Doubles) -> bool:
    """Return whether the rate changes. Jitter cancels in a mean over many intervals, another rate does not."""
    means = even[: len(even) // _MEAN_OVER * _MEAN_OVER].reshape(-1, _MEAN_OVER).mean(axis=1)
    return bool((np.abs(means / np.median(means) - 1) > _MEAN_SPREAD).any()) if len(means) > 1 else False


def is_odd(steps: Doubles, interval: float) -> NDArray[np.bool_]:
    """Mark the intervals [n] that are not one `interval` long; each end may jitter by a quarter interval."""
    return np.asarray(np.abs(steps / interval - 1) > 0.5 + SLACK)


def longest_run(flags: NDArray[np.bool_]) -> tuple[int, int]:
    """Return start and length of the longest run of True in `flags` [n]."""
    edges = np.flatnonzero(np.diff(flags, prepend=False, append=False))
    if not len(edges):
        return 0, 0
    lengths = edges[1::2] - edges[::2]
    longest = int(lengths.argmax())
    return int(edges[2 * longest]), int(lengths[longest])


def _shares(steps: Doubles) -> str:
    """List the three most frequent intervals, to two digits, with their shares."""
    scale = 10.0 ** (np.floor(np.log10(steps)) - 1)
    intervals, counts = np.unique(np.round(np.round(steps / scale) * scale, 12), return_counts=True)
    order = np.argsort(-counts, kind="stable")[:3]
    return ", ".join(f"{counts[i] / len(steps):.0%} of intervals are {intervals[i] * 1e3:.3g} ms" for i in order)
