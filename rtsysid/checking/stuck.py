"""Find channels that stand still where they should not: constant, frozen, at the end of their range, or silent."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from rtsysid.checking.arrays import Flags, Spans, equal_spans, quantile, true_spans
from rtsysid.checking.findings import Finding
from rtsysid.checking.tables import RawTable
from rtsysid.spec import Channel, Doubles

SHORTEST = 10  # rows of a frozen stretch
SURE = 4.0  # times the longest run that chance makes
JUMP = 3.0  # typical steps at the end of a frozen stretch
RESTLESS, RARELY_RESTS = 0.98, 0.85  # share of the rows in which a noisy channel changes
FAST = 0.2  # of the median step: a channel that slows down to rest moves less
LEVELS = 20  # distinct values from which on a channel may be saturated, not switched
AT_END = 0.002  # share of the rows at the end of the range
BAND = 0.02  # share of the range next to its end, whose rows say how many there are at one level
SILENT = 25.0  # typical pauses of a channel
SILENT_S, SILENT_SHARE = 0.5, 0.05  # and so many seconds, or this share of the recording


def stuck_findings(table: RawTable) -> Iterator[Finding]:
    """Check each channel of a table for standing still."""
    still = Stillness(table)
    for column, channel in enumerate(table.channels):
        x = np.ascontiguousarray(table.values[:, column])
        finite = np.isfinite(x)
        yield from _missing(table, channel, finite)
        if finite.sum() < 2:
            continue
        t, x = (table.t, x) if finite.all() else (table.t[finite], x[finite])
        if (x == x[0]).all():
            found = f"it is {x[0]:.6g} in all {len(x)} rows"
            yield Finding("constant", (channel.name,), found, "leave the channel out where it never moves", table.recording)
            continue
        ends = [end for end in (float(x.max()), float(x.min())) if _is_limit(x, end)]
        yield from (_saturated(table, channel, t, x, end) for end in ends)
        if finite.all():
            yield from still.frozen(column, x, (*ends, 0.0))  # 0 is where a robot rests


def _missing(table: RawTable, channel: Channel, finite: np.ndarray) -> Iterator[Finding]:
    """Find where a channel has no value: here and there, or for so long that its topic was silent."""
    if finite.all():
        return
    name, rows = (channel.name,), np.flatnonzero(finite)
    if not len(rows):
        yield Finding("topic silent", name, "it has no value in any row", "leave it out, or record it", table.recording)
        return
    times = np.concatenate((table.t[:1], table.t[rows], table.t[-1:]))
    pauses = np.diff(times)
    usual = float(np.median(pauses[1:-1])) if len(rows) > 1 else 0.0
    longest = int(pauses.argmax())
    if pauses[longest] > max(SILENT * usual, min(SILENT_S, SILENT_SHARE * float(np.ptp(times)))):
        often = f"; usually there is one each {usual:.4g} s" if usual else ""
        found = f"it has no value for {pauses[longest]:.4g} s{often}"
        remedy = "cut the recording there, or let its value be held: data.sources max_age"
        yield Finding("topic silent", name, found, remedy, table.recording, float(times[longest]))
    elif finite.mean() > 0.5:
        gaps = true_spans(~finite)
        found = f"{int((~finite).sum())} rows have no value, at most {int(gaps.lengths.max())} in a row"
        first = float(table.t[gaps.starts[0]])
        yield Finding("missing values", name, found, 'set data.nan = "split", or data.resample = true', table.recording, first)


def _saturated(table: RawTable, channel: Channel, t: Doubles, x: Doubles, end: float) -> Finding:
    inside = _at(x, end)
    runs, name = true_spans(inside), "largest" if end == x.max() else "smallest"
    share = f"{int(inside.sum())} rows ({inside.mean():.1%})"
    found = f"{share} are at its {name} value, {end:.6g}, in {len(runs.starts)} runs"
    remedy = "a model cannot know what the sensor did not show: widen its range, or record calmer motion"
    if channel.role == "input":
        remedy = "the input is at its limit: record what the actuator got, and more motion below it"
    return Finding("saturated", (channel.name,), found, remedy, table.recording, float(t[runs.starts[0]]))


def _at(x: Doubles, end: float) -> Flags:
    return np.asarray(np.abs(x - end) <= 1e-9 * max(abs(end), float(np.ptp(x))))


def _is_limit(x: Doubles, end: float) -> bool:
    """Tell whether x [n] is cut off at an end: far more rows than chance brings there, and it arrives at speed.

    Where it comes to rest there by itself, as at the end of a motion, it slows down before.
    """
    inside, away, band = _at(x, end), np.abs(x - end), BAND * float(np.ptp(x))
    near = away[~inside & (away <= band)]
    expected = len(near) * float(near.min()) / band if len(near) else 0.0
    if inside.sum() < max(SHORTEST, AT_END * len(x), 3 * expected) or _is_switched(x):
        return False
    runs = true_spans(inside)
    if len(runs.starts) >= 3 and _is_fine(x[~inside]):
        return True  # a channel that never repeats a value comes back to this one
    return _at_speed(x, runs.where((runs.lengths >= 3) & (runs.starts >= 2)))


def _is_fine(x: Doubles) -> bool:
    some = x[:: max(1, len(x) // 20_000)]
    return len(np.unique(some)) > 0.9 * len(some)


def _at_speed(x: Doubles, runs: Spans) -> bool:
    """Tell whether x [n] arrives at speed at most of the runs, and leaves them so, but does not jump."""
    if not len(runs.starts):
        return False
    steps = np.abs(np.diff(x, append=x[-1:]))
    moving = steps[steps > 0]
    fast = max(FAST * float(np.median(moving)), 1.5 * quantile(moving, 0.05))  # above one level of a coarse sensor
    arrived, last = steps[runs.starts - 2] > fast, runs.stops >= len(x) - 1
    left = last | (steps[np.minimum(runs.stops, len(x) - 1)] > fast)
    jumps = ~last & (steps[runs.stops - 1] > JUMP * float(np.sqrt(np.mean(moving**2))))
    return bool((arrived & left & ~jumps).mean() > 0.3 and (arrived | left).mean() > 0.6)


def _is_switched(x: Doubles) -> bool:
    """Tell whether x [n] takes a few values only."""
    return len(np.unique(x[:: max(1, len(x) // 20_000)])) <= LEVELS


def _is_fast(steps: Doubles, usual: float) -> bool:
    """Tell whether the last of these steps [n] are as large as usual."""
    return len(steps) >= 5 and float(np.sqrt(np.mean(steps[-5:] ** 2))) > 0.5 * usual


class Stillness:
    """Judge runs of equal values of a channel by how often it, and the other channels, change."""

    def __init__(self, table: RawTable) -> None:
        self.table = table
        changed = table.values[1:] != table.values[:-1]
        self.rates = changed.mean(0) if len(changed) else np.zeros(len(table.channels))
        self.steps = [quantile(np.abs(np.diff(x[np.isfinite(x)])), 0.75) for x in table.values.T]

    def frozen(self, column: int, x: Doubles, usual: Sequence[float]) -> Iterator[Finding]:
        """Find the runs of one channel x [n] that are too long for chance, while others move.

        `usual`: values at which it may stay.
        """
        runs = equal_spans(x)
        runs = runs.where((runs.lengths >= SHORTEST) & ~np.isin(x[runs.starts], usual))
        spans = zip(runs.starts.tolist(), runs.stops.tolist(), strict=True)
        found = [(a, b) for a, b in spans if self._is_frozen(column, x, a, b)]
        if not found:
            return
        start, stop = max(found, key=lambda each: each[1] - each[0])
        t, again = self.table.t, f", and {len(found) - 1} times more" if len(found) > 1 else ""
        seconds = f" ({t[stop - 1] - t[start]:.4g} s)" if self.table.timed else ""
        text = f"it is {x[start]:.6g} for {stop - start} rows{seconds}{again}, while it changes in {self.rates[column]:.0%} of all rows"
        remedy = "cut the recording there, or leave the channel out"
        yield Finding("frozen", (self.table.channels[column].name,), text, remedy, self.table.recording, float(t[start]))

    def _is_frozen(self, column: int, x: Doubles, start: int, stop: int) -> bool:
        """Tell whether a run is longer than chance makes them, and does not begin or end as rest does.

        Chance is measured by how often the channel changes before and after. A channel that rests slows down before,
        and begins to move slowly; one that was frozen jumps to where it is by then.
        """
        reach = max(stop - start, 50)
        parts = x[max(0, start - reach) : start + 1], x[stop - 1 : stop + reach]
        rates = [float((part[1:] != part[:-1]).mean()) for part in parts if len(part) > SHORTEST]
        rates = [min(rate, 0.999) for rate in rates] or [0.0]
        steps = np.abs(np.diff(x))
        usual = float(np.sqrt(np.mean(steps[steps > 0] ** 2)))
        jumps = stop < len(x) and steps[stop - 1] > JUMP * usual
        density = max(rates) if jumps else min(rates)
        if not density or stop - start < SURE * math.log(len(x)) / -math.log1p(-density):
            return False
        if min(rates) > RESTLESS and (stop < len(x) or _is_fast(steps[:start], usual)):
            return True
        return (jumps or min(rates) > RARELY_RESTS) and self._others_move(column, start, stop)

    def _others_move(self, column: int, start: int, stop: int) -> bool:
        """Tell whether half of the channels that usually change do so during a run, or whether none does at all."""
        part = self.table.values[start:stop]
        moves = []
        for other, rate in enumerate(self.rates):
            if other != column and rate > 0.2:
                steps = np.abs(np.diff(part[:, other]))
                moves.append(bool((steps > 0).mean() > 0.5 * rate and quantile(steps, 0.75) > 0.2 * self.steps[other]))
        return not moves or float(np.mean(moves)) >= 0.5
