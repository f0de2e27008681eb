"""Check the times of a table: backward, duplicated, in bursts, with gaps, with steps of the clock, in another unit."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from rtsysid.checking.arrays import Flags, Numbers, quantile, true_spans
from rtsysid.checking.findings import Fault, Finding
from rtsysid.checking.tables import RawTable
from rtsysid.recordings.timeline import SLACK
from rtsysid.spec import Doubles

UNITS = {1e3: "ms", 1e6: "us", 1e9: "ns"}  # how many of it are a second
SHORT = 0.25  # ticks: a step within a burst is shorter
LONG = 1.5  # ticks: a step over which a row is missing is longer
MANY = 0.1  # share of steps that are not one tick, from which on the rate is uneven
SAME_RATE = 0.01  # a clock that differs by more has another rate
LOOKED_AT = 100  # of the longest gaps: whether values go on there
CHANCE, CHANCE_LONG = 1 / 40, 1 / 3  # that rows which are missing look like a step of the clock, in a long gap
OTHERWISE = 10.0  # the same for a channel that does not go on
TAPS = 4  # rows from which one tick is predicted
NEAR = 200  # rows next to a gap that say how fast values change
TURN_OF_US = 2.0**32  # a counter of microseconds in 32 bits starts again


class ClockTicks(NamedTuple):
    """Hold the steps [n - 1] between times [n] in s, and the usual one."""

    t: Doubles
    steps: Doubles
    tick: float

    @property
    def rate(self) -> float:
        """Return the usual rate in Hz."""
        return 1 / self.tick


def clock_findings(table: RawTable, rate_hz: float | None, lateness: float | None = None) -> Iterator[Finding]:
    """Check the times of a table. `rate_hz`: of the model, where it is known.

    `lateness`: s that messages may be late where they are aligned; None where rows are trained as they are. Where they
    are aligned, another rate, some unevenness, and messages out of order within `lateness`, are no fault.
    """
    known = np.isfinite(table.t)
    t, values = (table.t, table.values) if known.all() else (table.t[known], table.values[known])
    if not table.timed or len(t) < 3:
        return
    steps, even = np.diff(t), lateness is None
    yield from _backward(table, t, steps, lateness or 0.0)
    forward = steps[steps > 0]
    if not len(forward):
        yield _fault(table, "duplicated rows", t[0], f"all {len(t)} rows have one time", "name another time column")
        return
    ticks = ClockTicks(t, steps, _usual_step(forward, rate_hz))
    unit = "" if table.topic else _unit_of(ticks, rate_hz)  # the reader of a log of topics knows its unit
    if unit:
        yield _wrong_unit(table, ticks, unit, rate_hz)
    bursts = _in_bursts(ticks)
    yield from _burst_finding(table, ticks, bursts)
    yield from _duplicates(table, values, ticks, bursts) if even else ()
    odd = ticks.steps > (LONG + SLACK) * ticks.tick
    yield from _gaps(table, values, ticks, np.flatnonzero(odd & ~bursts), even)
    if even and not unit:
        yield from _rates(table, ticks, odd | (ticks.steps < (0.5 - SLACK) * ticks.tick), rate_hz, bool(bursts.any()))


def _backward(table: RawTable, t: Doubles, steps: Doubles, lateness: float) -> Iterator[Finding]:
    late = np.maximum.accumulate(t)[:-1] - t[1:]
    back = np.flatnonzero((steps < 0) & (late > lateness))
    if not len(back):
        return
    row = int(back[0])
    again = "" if len(back) == 1 else f", {len(back)} times in all"
    found = f"the time goes back from {t[row]:.9g} s to {t[row + 1]:.9g} s at row {row + 1}{again}"
    remedy = "sort the rows, or split the file where the clock was set"
    if abs(steps[row] * 1e6 + TURN_OF_US) < 0.01 * TURN_OF_US:
        found += "; that is a 32-bit counter of microseconds that starts again"
        remedy = "unwrap the time column, or split the file there"
    yield _fault(table, "time backward", t[row], found, remedy, grave=True)


def _usual_step(forward: Doubles, rate_hz: float | None) -> float:
    """Return the step of a row: the median, unless rows come in bursts, whose mean is what they have in common."""
    median, mean = float(np.median(forward)), _mean_step(forward)
    if rate_hz is not None and 0.8 < mean * rate_hz < 1.25:
        return 1 / rate_hz
    return median if median > SHORT * mean else mean


def _mean_step(forward: Doubles) -> float:
    """Return the mean step without the pauses that are far longer than most."""
    usual = forward[forward <= 50 * max(quantile(forward, 0.98), 1e-30)]
    return float(usual.mean())


def _unit_of(ticks: ClockTicks, rate_hz: float | None) -> str:
    """Return the unit that the times seem to have, where it is not the second."""
    if rate_hz is not None:
        ratio = rate_hz * ticks.tick
        return next((unit for count, unit in UNITS.items() if 0.8 < ratio / count < 1.25), "")
    whole = bool((np.abs(ticks.t - np.round(ticks.t)) < 1e-3).all())
    since_1970 = next((unit for count, unit in UNITS.items() if 1e9 < ticks.t[0] / count < 4e9), "")
    if whole and since_1970:
        return since_1970
    if not whole or ticks.tick < 5 or len(ticks.t) < 100:
        return ""
    return next(unit for most, unit in ((500, "ms"), (1e6, "us"), (np.inf, "ns")) if ticks.tick <= most)


def _wrong_unit(table: RawTable, ticks: ClockTicks, unit: str, rate_hz: float | None) -> Finding:
    wanted = "" if rate_hz is None else f", the model has {rate_hz:g} Hz"
    found = f"rows are {ticks.tick:.6g} s apart{wanted}: the times look like {unit}"
    remedy = f'state the unit of the time column: data.time = "NAME [{unit}]", or write it into the header'
    return _fault(table, "wrong time unit", ticks.t[0], found, remedy)


def _in_bursts(ticks: ClockTicks) -> Flags:
    """Mark the steps [n - 1] that belong to bursts: two or more short ones, next to a pause that makes up for them."""
    marked = np.zeros(len(ticks.steps), bool)
    runs = true_spans(ticks.steps < SHORT * ticks.tick)
    runs = runs.where(runs.lengths >= 2)
    if not len(runs.starts):
        return marked
    padded = np.concatenate(([0.0], ticks.steps, [0.0]))
    before, after = padded[runs.starts], padded[runs.stops + 1]
    total = np.concatenate(([0.0], np.cumsum(ticks.steps)))
    spent = total[runs.stops] - total[runs.starts] + np.maximum(before, after)
    whole = np.abs(spent / ((runs.lengths + 1) * ticks.tick) - 1) < 0.5
    made_up = runs.where(whole & (np.maximum(before, after) > LONG * ticks.tick))
    for start, stop in zip(*made_up, strict=True):
        marked[max(0, start - 1) : stop + 1] = True
    return marked


def _burst_finding(table: RawTable, ticks: ClockTicks, bursts: Flags) -> Iterator[Finding]:
    if not bursts.any():
        return
    short = true_spans(bursts & (ticks.steps < SHORT * ticks.tick))
    size, row = float(np.median(short.lengths)) + 1, int(np.flatnonzero(bursts)[0])
    share = f"{bursts.mean():.0%} of the rows" if bursts.mean() > 0.01 else f"{int(bursts.sum())} rows"
    found = f"{share} come in bursts of about {size:.0f}; the mean is {ticks.rate:.6g} Hz"
    remedy = 'name the column of the device\'s own time stamps, or set data.time = "" where rows are evenly spaced'
    yield _fault(table, "burst of stamps", ticks.t[row], found, remedy)


def _duplicates(table: RawTable, values: Doubles, ticks: ClockTicks, bursts: Flags) -> Iterator[Finding]:
    same = np.flatnonzero((ticks.steps == 0) & ~bursts)
    if not len(same):
        return
    equal = int((values[same] == values[same + 1]).all(1).sum())
    kind = "with equal values" if equal == len(same) else f"{equal} of them with equal values"
    found = f"{len(same)} rows have the time of the row before, {kind}"
    yield _fault(table, "duplicated rows", ticks.t[same[0]], found, "remove them, or set data.resample = true")


def _gaps(table: RawTable, values: Doubles, ticks: ClockTicks, rows: Numbers, even: bool) -> Iterator[Finding]:
    """Tell gaps in the rows from steps of the clock, over which the values go on as if one tick had passed."""
    longest = rows[np.argsort(-ticks.steps[rows], kind="stable")[:LOOKED_AT]]
    stepped = {int(row) for row in longest if _goes_on(values, int(row), ticks.steps[row] / ticks.tick)}
    if stepped:
        row = min(stepped)
        ahead, again = ticks.steps[row] - ticks.tick, f", {len(stepped)} times in all" if len(stepped) > 1 else ""
        found = f"the clock goes ahead by {ahead:.6g} s{again}, while the values go on as after one tick"
        yield _fault(table, "clock step", ticks.t[row], found, "correct the times, or split the file there")
    lost = np.array([row for row in rows.tolist() if row not in stepped], int)
    if len(lost):
        missing = np.round(ticks.steps[lost] / ticks.tick) - 1
        worst = int(lost[missing.argmax()])
        found = (
            f"{missing.sum():.0f} rows are missing in {len(lost)} gaps ({missing.sum() / (len(ticks.t)):.2%}), "
            f"the longest {ticks.steps[worst]:.4g} s"
        )
        remedy = "a value is held for data.sources max_age, and nothing beyond"
        if even:
            remedy = "nothing crosses a gap; record again where many are short, or set data.resample = true"
        yield _fault(table, "dropout", ticks.t[worst], found, remedy)


def _goes_on(values: Doubles, row: int, ticks: float) -> bool:
    """Tell whether all values change over a gap as in one tick, though they usually change far more in so many.

    Over a short gap they must move next to it; over a long one, at rest, it is enough that they move elsewhere.
    """
    ahead, elsewhere = int(min(max(ticks, 2), NEAR // 2)), ticks > NEAR // 4
    shares = [share for x in values.T if (share := _share_of_usual(x, row, ahead, elsewhere)) is not None]
    return bool(shares) and math.prod(shares) < (CHANCE_LONG if elsewhere else CHANCE)


def _share_of_usual(x: Doubles, row: int, ahead: int, elsewhere: bool) -> float | None:
    """Return the chance that a channel x [n] goes on over a gap after `row` as in one tick, if the gap is real.

    It is far above 1 where the channel does not go on so, None where that says nothing: one tick and `ahead` ticks
    change it by as much.
    """
    first = max(0, row + 1 - NEAR)
    parts = x[first : row + 1], x[row + 1 : row + 1 + NEAR]
    if min(map(len, parts)) <= 4 * TAPS or not np.isfinite(x[first : row + 1 + NEAR]).all():
        return None
    expected, share = _change_of(x, parts, ahead, elsewhere), None
    for errors, over in _one_tick_errors(parts):
        usual = quantile(np.abs(errors), 0.95)
        if expected > 3 * usual:
            share = min(share or OTHERWISE, usual / expected) if abs(over) <= 2 * usual else OTHERWISE
    return share


def _one_tick_errors(parts: Sequence[Doubles]) -> Iterator[tuple[Doubles, float]]:
    """Yield errors [m] of predicting one tick next to a gap, and that of predicting the first row after the gap.

    `parts`: the rows [m] before and after the gap. The last row is held, and continued by a linear model.
    """
    yield np.concatenate([np.diff(part) for part in parts]), float(parts[1][0] - parts[0][-1])
    windows = [sliding_window_view(part, TAPS + 1) for part in parts]
    rows = np.concatenate(windows)
    past = np.column_stack((rows[:, :-1], np.ones(len(rows))))
    weights = np.linalg.lstsq(past, rows[:, -1], rcond=1e-10)[0]
    newest = np.append(parts[0][-TAPS:], 1.0)
    yield rows[:, -1] - past @ weights, float(parts[1][0] - newest @ weights)


def _change_of(x: Doubles, parts: Sequence[Doubles], ahead: int, elsewhere: bool) -> float:
    """Return the usual change of a channel x [n] in `ahead` ticks: in the whole recording, or next to a gap.

    `parts`: the rows [m] before and after the gap.
    """
    if elsewhere:
        stride = max(1, len(x) // 5000)
        return float(np.median(np.abs(x[ahead:] - x[:-ahead])[::stride])) if len(x) > ahead else 0.0
    far = np.concatenate([np.abs(part[ahead:] - part[:-ahead]) for part in parts])
    reach = [min(ahead, 20, len(part) - 1) for part in parts]
    around = abs(parts[0][-1] - parts[0][-1 - reach[0]]), abs(parts[1][0] - parts[1][reach[1]])
    return min(float(np.median(far)), *around) if len(far) >= 5 else 0.0


def _rates(table: RawTable, ticks: ClockTicks, odd: Flags, rate_hz: float | None, bursts: bool) -> Iterator[Finding]:
    usual = ticks.steps[~odd]
    measured = 1 / float(usual.mean()) if len(usual) else ticks.rate
    if rate_hz is not None and abs(measured / rate_hz - 1) > SAME_RATE + 0.5 / max(len(usual), 1):
        found = f"the recording has {measured:.6g} Hz, the model {rate_hz:g} Hz"
        remedy = f"set data.rate_hz = {measured:.6g}, or data.resample = true"
        yield _fault(table, "other rate", None, found, remedy)
    elif odd.mean() > MANY and not bursts:
        spread = [quantile(ticks.steps, share) * 1e3 for share in (0.05, 0.5, 0.95)]
        found = f"steps are {spread[0]:.3g}, {spread[1]:.3g} and {spread[2]:.3g} ms long (5, 50 and 95 % of them)"
        yield _fault(table, "uneven rate", None, found, "set data.resample = true")


def _fault(
    table: RawTable, fault: Fault, time: float | None, found: str, remedy: str, *, grave: bool = False
) -> Finding:
    found = f"{table.topic}: {found}" if table.topic else found
    return Finding(fault, (), found, remedy, table.recording, None if time is None else float(time), grave)
