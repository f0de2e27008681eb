"""Deadline: measure latencies against a time budget, in constant memory.

Every call takes seconds of a monotonic clock that the caller reads.
"""

from __future__ import annotations

import math

import msgspec

from rtsysid.errors import DeadlineError

_FLOOR_S, _CEILING_S = 1e-6, 100.0
_PER_DECADE = 120  # a bin is 10 ** (1 / 120) - 1 = 1.94 % wide
_OFFSET = 1 + 6 * _PER_DECADE  # bin 0 holds everything below a microsecond
_BINS = 2 + 8 * _PER_DECADE  # and the last one everything from 100 s


class DeadlineSummary(msgspec.Struct, frozen=True, kw_only=True):
    """Figures in seconds; NaN where nothing was measured.

    ``p50``, ``p99``: upper edge of the histogram bin, so at most 2 % above the true percentile and never below it.
    ``worst``: exact. ``misses``: latencies above ``budget``. ``drops``: ticks at which no sample came.
    ``period``, ``jitter``: mean and standard deviation of the interval between successive starts, dropped ticks
    left out.
    """

    budget: float
    n: int
    p50: float
    p99: float
    worst: float
    misses: int
    drops: int
    period: float
    jitter: float


class Deadline:
    """Measure latencies against a budget of `budget_s` seconds (`math.inf`: no budget).

    Latencies go to bins of equal ratio from 1 us to 100 s, so that a mark costs the same after ten million marks as
    after one. Raises DeadlineError for a budget or a latency that is not a time.
    """

    __slots__ = ("_bins", "_intervals", "_mean", "_squares", "_started", "budget_s", "drops", "misses", "n", "worst")

    def __init__(self, budget_s: float) -> None:
        if not budget_s > 0:
            raise DeadlineError("time budget", f"{budget_s} s", "give a positive number of seconds")
        self.budget_s = budget_s
        self.reset()

    def reset(self) -> None:
        """Forget every latency, as at the end of a warm-up."""
        self.n = self.misses = self.drops = 0
        self.worst = math.nan
        self._bins = [0] * _BINS
        self._started: float | None = None
        self._intervals, self._mean, self._squares = 0, 0.0, 0.0

    def mark(self, started_s: float, finished_s: float) -> None:
        """Add one sample whose step began at `started_s` and ended at `finished_s`, in seconds of one clock.

        Raises DeadlineError where the latency is NaN.
        """
        last, self._started = self._started, started_s
        if last is not None:
            # Ref: B. P. Welford, Technometrics 4 (1962): the variance without the cancellation of squares.
            interval = started_s - last
            self._intervals += 1
            deviation = interval - self._mean
            self._mean += deviation / self._intervals
            self._squares += deviation * (interval - self._mean)
        self.record(finished_s - started_s)

    def record(self, latency_s: float) -> None:
        """Add a latency in seconds; a negative one counts as below 1 us. Raises DeadlineError where it is NaN."""
        if _FLOOR_S <= latency_s < _CEILING_S:
            self._bins[int(math.log10(latency_s) * _PER_DECADE + _OFFSET)] += 1
        else:
            self._bins[_outer_bin(latency_s)] += 1
        self.n += 1
        if latency_s > self.budget_s:
            self.misses += 1
        if not latency_s <= self.worst:  # the first one is compared with NaN
            self.worst = latency_s

    def drop(self, ticks: int = 1) -> None:
        """Add `ticks` (sample periods) without a sample; the interval across them does not count for the jitter."""
        self.drops += ticks
        self._started = None

    def percentile(self, fraction: float) -> float:
        """Return the latency in seconds that `fraction` (0..1) of the samples did not exceed, at most 2 % too high.

        Nearest rank; NaN without samples. Below 1 us the result is 1 us or the worst latency.
        """
        wanted, seen = max(1, math.ceil(fraction * self.n)), 0
        for position, count in enumerate(self._bins[:-1]):
            seen += count
            if seen >= wanted:
                return min(_upper_edge(position), self.worst)
        return self.worst

    def require_met(self, what: str) -> None:
        """Raise DeadlineError where a latency was above the budget. `what`: what was measured, as ``answers``."""
        if self.misses:
            most, worst = self.budget_s * 1e3, self.worst * 1e3
            found = f"{self.misses} of {self.n} took longer than {most:g} ms, the worst {worst:.4g} ms"
            raise DeadlineError(f"deadline of {what}", found, "use a faster backend or --fifo, or allow more time")

    def summary(self) -> DeadlineSummary:
        """Return the figures so far."""
        spread = math.sqrt(self._squares / self._intervals) if self._intervals else math.nan
        return DeadlineSummary(
            budget=self.budget_s,
            n=self.n,
            p50=self.percentile(0.50),
            p99=self.percentile(0.99),
            worst=self.worst,
            misses=self.misses,
            drops=self.drops,
            period=self._mean if self._intervals else math.nan,
            jitter=spread,
        )


def _upper_edge(position: int) -> float:
    return float(_FLOOR_S * 10 ** (position / _PER_DECADE))


def _outer_bin(latency_s: float) -> int:
    if math.isnan(latency_s):
        raise DeadlineError("latency", "not a number", "give the start and the end on one clock")
    return 0 if latency_s < _FLOOR_S else _BINS - 1
