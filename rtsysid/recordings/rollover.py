"""Continue the times of a counter that rolled over, as microseconds in 32 bits do after 71.6 minutes."""

from __future__ import annotations

import numpy as np

from rtsysid.spec import Doubles

# Seconds after which a clock begins again: 2^32 us, 2^32 ms, 2^16 ms, a day of h:m:s stamps, a week of GPS.
_PERIODS_S = (2**32 * 1e-6, 2**32 * 1e-3, 2**16 * 1e-3, 86400.0, 604800.0)
_COUNTS = (2.0**16, 2.0**32)  # of the unit of the column, where that is not the second
_PAST = 64  # rows before a jump that show the typical interval
_LONGEST = 32  # typical intervals: a longer pause across the jump may be another fault
_FEWEST = 16  # typical intervals in a period
_PART = 0.75  # of a period, that a jump takes back at least
_BLOCK = 65_536  # rows at a time: the work takes several times their memory
_TRIES = 1000  # jumps that are no roll-over: after so many the times are no counter


class Unroller:
    """Add whole periods to times that jump back by about one; the state goes on from block to block.

    A jump counts where the next time is at most 32 typical intervals later in the unrolled clock, and where all times
    so far fit into the period. ``count``: roll-overs so far. ``period_s``: the last period.
    """

    def __init__(self, seconds: float = 1.0) -> None:
        """`seconds` per count of the column."""
        counts = () if seconds == 1.0 else tuple(each * seconds for each in _COUNTS)
        self._periods = sorted({*_PERIODS_S, *counts})
        self._past: Doubles = np.empty(0)
        self._low, self._high, self._added = np.inf, -np.inf, 0.0
        self._refused = 0
        self.count, self.period_s = 0, 0.0

    def unrolled(self, t: Doubles) -> Doubles:
        """Return the times [n] in s of the next rows without jumps. The argument is returned where there is none."""
        joined, first = np.concatenate((self._past, t)), len(self._past)
        lows = np.fmin.accumulate(np.fmin(joined, self._low))
        highs = np.fmax.accumulate(np.fmax(joined, self._high))
        with np.errstate(invalid="ignore"):  # infinite times; the check of the times reports them
            drops, reach = np.concatenate(([0.0], -np.diff(joined))), highs - lows
        added = np.zeros(len(joined))
        for row in self._candidates(drops, reach, first):
            if self._refused < _TRIES:
                added[row] = self._period_at(joined, row, float(drops[row]))
                self._refused += added[row] == 0
        self._past = joined[-_PAST:]
        if len(joined):
            self._low, self._high = float(lows[-1]), float(highs[-1])
        rolled = added[added > 0]
        if len(rolled):
            self.count, self.period_s = self.count + len(rolled), float(rolled[-1])
        # One sum in the order of the rows: blocks then give the same bits as the whole.
        whole = np.cumsum(np.concatenate(([self._added], added[first:])))
        self._added = float(whole[-1])
        return t + whole[1:] if self._added else t

    def _candidates(self, drops: Doubles, reach: Doubles, first: int) -> list[int]:
        """List the rows after a jump of about one period, where all times so far lie within that period."""
        found = np.zeros(len(drops), bool)
        for period in self._periods if drops.max(initial=0) > 0 else ():
            found |= (drops >= _PART * period) & (drops < period) & (reach < period)
        rows: list[int] = np.flatnonzero(found).tolist()
        return [row for row in rows if row >= first]

    def _period_at(self, t: Doubles, row: int, drop: float) -> float:
        """Return the period that explains the jump before `row`; 0 where the pause across it would be too long."""
        period = next(each for each in self._periods if _PART * each <= drop < each)
        steps = np.diff(t[max(row - _PAST, 0) : row])
        forward = steps[steps > 0]
        typical = float(np.median(forward)) if len(forward) else np.inf
        near = period - drop <= _LONGEST * typical and _FEWEST * typical <= period
        return period if near else 0.0


def unrolled_times(t: Doubles, seconds: float) -> tuple[Doubles, Unroller]:
    """Return the times [n] of a whole episode without roll-overs, and what was found; see `Unroller`."""
    unroller = Unroller(seconds)
    if not (t[1:] < t[:-1]).any():
        return t, unroller
    parts = [unroller.unrolled(t[start : start + _BLOCK]) for start in range(0, len(t), _BLOCK)]
    return np.concatenate(parts) if unroller.count else t, unroller
