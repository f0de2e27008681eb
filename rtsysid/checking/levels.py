"""Check the values of a channel: how fine they are, whether single ones stand out, whether they start again."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from rtsysid.checking.arrays import Numbers, finite_rows, quantile
from rtsysid.checking.findings import Finding, source_key, time_text
from rtsysid.checking.tables import RawTable
from rtsysid.spec import PERIODS, Channel, Doubles

COARSE = 40  # levels of a range, below which a channel is quantised coarsely
SPIKE, APART = 5.0, 1.6  # times what a channel usually jumps and returns, and times the next largest
SPIKES = 0.02  # share of the rows that may be spikes
RESOLVED = 0.01  # of the spread, or of a tick's change: a coarser float32 loses the motion
TURN = 0.1  # share of a turn by which a jump may differ from it
COUNTERS = (8, 10, 12, 14, 15, 16, 20, 24, 32)  # bits
SAMPLED = 50_000  # values among which levels are looked for


def level_findings(table: RawTable) -> Iterator[Finding]:
    """Check the values of each channel of a table."""
    for column, channel in enumerate(table.channels):
        x = finite_rows(np.ascontiguousarray(table.values[:, column]))
        if len(x) < 10 or (x == x[0]).all():
            continue
        t = table.t if len(x) == len(table.t) else table.t[np.isfinite(table.values[:, column])]
        steps = np.diff(x)
        restarts = restarts_of(x, steps, channel)
        yield from _restarting(table, channel, t, restarts)
        yield from _too_fine(table, channel, x, steps)
        yield from _coarse(table, channel, x, steps)
        if restarts is None:
            yield from _spikes(table, channel, t, x, steps)


class Restarts(NamedTuple):
    """Hold the rows [k] after which a channel starts again, and its period."""

    rows: np.ndarray
    period: float
    angle: bool


def restarts_of(x: Doubles, steps: Doubles, channel: Channel) -> Restarts | None:
    """Find where a channel x [n] jumps by its whole range and goes on: an angle, or a counter."""
    size, width = np.abs(steps), float(np.ptp(x))
    jumps = np.flatnonzero(size > 0.5 * width)
    if not len(jumps) or len(jumps) > 0.2 * len(x):
        return None
    calm = np.delete(size, jumps)
    usual = quantile(calm, 0.999)
    for period, angle in _periods(channel, width):
        left = np.abs(size[jumps] - period)
        if (left < max(3 * usual, 1e-3 * period)).all() and usual < TURN * period and width < 1.02 * period + usual:
            return Restarts(jumps, period, angle)
    return None


def _periods(channel: Channel, width: float) -> Sequence[tuple[float, bool]]:
    """List the periods that a channel may have, with whether it is that of an angle."""
    turns = [PERIODS[channel.unit]] if channel.unit in PERIODS else [2 * math.pi, 360.0]
    counters = [2.0**bits for bits in COUNTERS]
    counters += [10.0**power for power in range(2, 10)]
    known = [*((turn, True) for turn in turns), *((count, False) for count in counters)]
    return [(period, angle) for period, angle in known if 0.5 * period < width < 1.1 * period]


def _restarting(table: RawTable, channel: Channel, t: Doubles, restarts: Restarts | None) -> Iterator[Finding]:
    if restarts is None or channel.angle:
        return
    count, first = len(restarts.rows), float(t[restarts.rows[0]])
    times = f"{count} times" if count > 1 else "once"
    if restarts.angle:
        found = f"it jumps by a turn ({restarts.period:.6g}) {times} and goes on"
        remedy = f'set data.angles = ["{channel.name}"] (the default training does so by itself)'
        yield Finding("wrapped angle", (channel.name,), found, remedy, table.recording, first)
        return
    found = f"it jumps by {restarts.period:.9g} {times} and goes on, as a counter that starts again"
    remedy = f"set {source_key(channel.name)} period = {restarts.period:.0f}, or unwrap it before"
    yield Finding("roll-over", (channel.name,), found, remedy, table.recording, first)


def _too_fine(table: RawTable, channel: Channel, x: Doubles, steps: Doubles) -> Iterator[Finding]:
    """Find values whose changes float32 cannot hold at their level."""
    with np.errstate(over="ignore"):
        narrow = x.astype(np.float32)
    lost = x - narrow
    error = float(np.sqrt(np.mean(lost * lost))) * math.sqrt(12)  # the step of a rounding with this error
    spread, change = float(x.std()), float(np.sqrt(np.mean(steps * steps)))
    if not error > RESOLVED * min(spread, 10 * change):
        return
    spacing = float(np.spacing(np.float32(np.abs(x).max())))
    found = (
        f"at {np.abs(x).max():.9g} float32 has steps of {spacing:.3g}; the channel has a spread of {spread:.3g} "
        f"and changes by {change:.3g} in a row"
    )
    remedy = f"subtract an origin: {source_key(channel.name)} offset = {_origin(x)}, or do so before"
    yield Finding("float32 resolution", (channel.name,), found, remedy, table.recording, None, grave=True)


def _coarse(table: RawTable, channel: Channel, x: Doubles, steps: Doubles) -> Iterator[Finding]:
    """Find a channel that moves, but in few steps of equal height."""
    levels = np.unique(x[:: max(1, len(x) // SAMPLED)])
    if not 3 <= len(levels) <= 5 * COARSE or len(x) < 6 * len(levels):
        return
    height = float(np.min(np.diff(levels)))
    whole = (levels - levels[0]) / height
    if np.ptp(x) > COARSE * height * 1.01 or np.abs(whole - np.round(whole)).max() > 0.05:
        return
    moved = np.abs(steps[steps != 0]) / height
    if not len(moved) or float(np.median(moved)) > 2.5:
        return  # it is switched from level to level, as steps of a command are
    found = f"its range of {np.ptp(x):.4g} has {len(levels)} levels, {height:.4g} apart; its spread is {x.std():.3g}"
    yield Finding("quantised", (channel.name,), found, "log it with more digits, or a finer sensor", table.recording)


def _spikes(table: RawTable, channel: Channel, t: Doubles, x: Doubles, steps: Doubles) -> Iterator[Finding]:
    """Find single rows that leave the course of a channel and return to it at once."""
    returns = steps[:-1] * steps[1:] < 0
    size = np.where(returns, np.minimum(np.abs(steps[:-1]), np.abs(steps[1:])), 0.0)
    usual = max(quantile(size, 1 - 2 * SPIKES), 0.5 * quantile(np.abs(steps), 1 - 2 * SPIKES))
    width = float(np.subtract(*np.quantile(x, (0.95, 0.05))))
    rows = _far_apart(size, max(SPIKE * usual, 0.1 * width), int(SPIKES * len(x)))
    if not len(rows):
        return
    worst = int(rows[size[rows].argmax()])
    found = (
        f"{len(rows)} single rows stand out, "
        f"the largest {size[worst]:.4g} from both neighbours at {time_text(t[worst + 1])} s; "
        f"{1 - 2 * SPIKES:.0%} of the rows stay within {usual:.3g}"
    )
    remedy = "look at these rows in the raw log; cut them out, or filter before logging"
    yield Finding("spikes", (channel.name,), found, remedy, table.recording, float(t[rows[0] + 1]))


def _far_apart(size: Doubles, least: float, most: int) -> Numbers:
    """Return the rows of the largest of size [n], at most so many, that are far larger than all others."""
    order = np.argsort(-size, kind="stable")[: most + 1]
    sizes = np.maximum(size[order], 1e-300)
    ratios = np.where(sizes[:-1] > least, sizes[:-1] / sizes[1:], 0.0)
    if not len(ratios) or ratios.max() < APART:
        return np.empty(0, np.int64)
    return np.sort(order[: int(ratios.argmax()) + 1])


def _origin(x: Doubles) -> str:
    """Return a value in the middle of x [n], rounded to the place of its spread."""
    spread = float(np.ptp(x)) or 1.0
    places = max(0, -math.floor(math.log10(spread)))
    return f"{np.round(np.median(x), places):.15g}"
