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
FAST, FAST_ONCE = 0.2, 0.5  # of the median step: a channel that slows down to rest moves less
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
        yield from _missing_values(table, channel, finite)
        if finite.sum() < 2:
            continue
        t, x = (table.t, x) if finite.all() else (table.t[finite], x[finite])
        if (x == x[0]).all():
            found = f"it is {x[0]:.6g} in all {len(x)} rows"
            yield Finding(
                "constant", (channel.name,), found, "leave the channel out where it never moves", table.recording
            )
            continue
        ends = [end for end in (float(x.max()), float(x.min())) if _is_limit(x, end)]
        yield from (_saturated(table, channel, t, x, end) for end in ends)
        if finite.all():
            yield from still.frozen(column, x, (*ends, 0.0))  # 0 is where a robot rests


def _missing_values(table: RawTable, channel: Channel, finite: np.ndarray) -> Iterator[Finding]:
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
        yield Finding(
            "missing values", name, found, 'set data.nan = "split", or data.resample = true', table.recording, first
        )


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
    share = FAST if len(runs.starts) > 1 else FAST_ONCE
    fast = max(share * float(np.median(moving)), 1.5 * quantile(moving, 0.05))  # above one level of a coarse sensor
    arrived, last = steps[runs.starts - 2] > fast, runs.stops >= len(x) - 1
    left = last | (steps[np.minimum(runs.stops, len(x) - 1)] > fast)
    jumps = ~last & (steps[runs.stops - 1] > JUMP * float(np.sqrt(np.mean(moving**2))))
    return bool((arrived & left & ~jumps).mean() > 0.3 and (arrived | left).mean() > 0.6)


def _is_switched(x: Doubles) -> bool:
    """Tell whether x [n] takes a few values only."""
    return len(np.unique(x[:: max(1, len(x) // 20_000)])) <= LEVELS


class Stillness:
    """Judge runs of equal values of a channel by how often it, and the other channels, change."""

    def __init__(self, table: RawTable) -> None:
        self.table = table
        changed = [x[1:] != x[:-1] for x in table.values.T]
        self.rates = [float(each.mean()) if len(each) else 0.0 for each in changed]
        self.steps = [quantile(np.abs(np.diff(x[np.isfinite(x)])), 0.75) for x in table.values.T]

    def frozen(self, column: int, x: Doubles, usual: Sequence[float]) -> Iterator[Finding]:
        """Find the runs of one channel x [n] that are too long for chance, while others move.

        `usual`: values at which it may stay.
        """
        runs = equal_spans(x)
        runs = runs.where((runs.lengths >= SHORTEST) & ~np.isin(x[runs.starts], usual))
        if not len(runs.starts):
            return
        sure, likely = _too_long(x, runs)
        found = [
            (start, stop)
            for start, stop, known, may in zip(runs.starts.tolist(), runs.stops.tolist(), sure, likely, strict=True)
            if known or (may and self._others_move(column, start, stop))
        ]
        if found:
            yield self._finding(column, x, found)

    def _finding(self, column: int, x: Doubles, found: Sequence[tuple[int, int]]) -> Finding:
        start, stop = max(found, key=lambda each: each[1] - each[0])
        t, again = self.table.t, f", and {len(found) - 1} times more" if len(found) > 1 else ""
        seconds = f" ({t[stop - 1] - t[start]:.4g} s)" if self.table.timed else ""
        level = f"it is {x[start]:.6g} for {stop - start} rows{seconds}{again}"
        text = f"{level}, while it changes in {self.rates[column]:.0%} of all rows"
        name, remedy = self.table.channels[column].name, "cut the recording there, or leave the channel out"
        return Finding("frozen", (name,), text, remedy, self.table.recording, float(t[start]))

    def _others_move(self, column: int, start: int, stop: int) -> bool:
        """Tell whether half of the channels that usually change do so during a run, or whether none does at all."""
        part = self.table.values[start:stop]
        moves = []
        for other, rate in enumerate(self.rates):
            if other != column and rate > 0.2:
                steps = np.abs(np.diff(part[:, other]))
                moves.append(bool((steps > 0).mean() > 0.5 * rate and quantile(steps, 0.75) > 0.2 * self.steps[other]))
        return not moves or float(np.mean(moves)) >= 0.5


def _too_long(x: Doubles, runs: Spans) -> tuple[Flags, Flags]:
    """Mark the runs [k] of x [n] that are longer than chance makes them, and do not begin or end as rest does.

    The first marks are sure; the second hold if other channels move. Chance is measured by how often the channel
    changes before and after. A channel that rests slows down before, and begins to move slowly; one that was frozen
    jumps to where it is by then.
    """
    steps = np.abs(np.diff(x, append=x[-1:]))
    usual = float(np.sqrt(np.mean(steps[steps > 0] ** 2)))
    last = runs.stops >= len(x)
    jumps = ~last & (steps[runs.stops - 1] > JUMP * usual)
    least, most = _rates_around(steps > 0, runs)
    density = np.where(jumps, most, least)
    with np.errstate(divide="ignore"):
        long = runs.lengths > SURE * math.log(len(x)) / -np.log1p(-np.minimum(density, 0.999))
    moved = ~last | [_is_fast(steps[:start], usual) for start in runs.starts]
    return long & (least > RESTLESS) & moved, long & (jumps | (least > RARELY_RESTS))


def _rates_around(changed: Flags, runs: Spans) -> tuple[Doubles, Doubles]:
    """Return the smaller and the larger share of changes [k] before and after runs; `changed` [n]: the row after."""
    total = np.concatenate(([0], np.cumsum(changed)))
    reach = np.maximum(runs.lengths, 50)
    parts = (
        (np.maximum(runs.starts - reach, 0), runs.starts),
        (runs.stops - 1, np.minimum(runs.stops + reach, len(changed))),
    )
    known = [
        np.where(stop - start > SHORTEST, (total[stop] - total[start]) / np.maximum(stop - start, 1), np.nan)
        for start, stop in parts
    ]
    with np.errstate(invalid="ignore"):
        return np.nan_to_num(np.fmin(*known)), np.nan_to_num(np.fmax(*known))


def _is_fast(steps: Doubles, usual: float) -> bool:
    """Tell whether the last of these steps [n] are as large as usual."""
    return len(steps) >= 5 and float(np.sqrt(np.mean(steps[-5:] ** 2))) > 0.5 * usual
