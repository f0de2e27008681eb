"""Replay recorded samples through a session, and compare predictions.

A replay runs the same code as the robot; only `paced` is added.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Literal

import msgspec
import numpy as np

from rtsysid.errors import SpecError, TraceError
from rtsysid.live.predictions import Recorded
from rtsysid.live.session import Prediction, Session
from rtsysid.spec import Doubles, Floats, Sample

LONGEST_GAP_S = 3600.0  # a longer one is a wrong time, or a night


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """Result of comparing predictions with recorded ones.

    ``compared``: ticks that both sides have. ``finite``: those of them with finite outputs on both sides.
    ``max_abs``: over all outputs of all matched ticks; infinity where one side is NaN and the other is not.
    ``first_tick``, ``first_t``: count and time of the first prediction that differs by more than the tolerance, or in
    status. ``statuses``: how many differ in status. ``unmatched``: ticks that only one side has.
    """

    compared: int
    finite: int
    max_abs: float
    first_tick: int | None
    first_t: float | None
    statuses: int
    unmatched: int

    @property
    def equal(self) -> bool:
        """Whether every tick is on both sides, with outputs within the tolerance and the same status; NaN equals NaN.

        It says little where `finite` is 0.
        """
        return self.first_tick is None and self.unmatched == 0


def replay(
    session: Session,
    samples: Iterable[Sample],
    *,
    speed: float | Literal["max"] | None = None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Prediction]:
    """Feed recorded samples to `session` at `speed` times the recorded rate, or as fast as possible (None, "max").

    Raises SpecError for a speed that is not positive and finite.
    """
    if speed is None or speed == "max":
        return session.run(samples)
    restart_s = session.max_gap / session.spec.rate_hz
    return session.run(paced(samples, speed=speed, restart_s=restart_s, clock=clock, sleep=sleep))


def paced(
    samples: Iterable[Sample],
    *,
    speed: float,
    restart_s: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Sample]:
    """Yield each sample at its time: the start plus the time since the first sample, divided by `speed`.

    The times are absolute, so that delays of the consumer and errors of `sleep` do not add up. Gaps of
    up to `LONGEST_GAP_S` are waited for. Where time jumps on by more, or back by more than `restart_s` seconds, the
    count starts again. Raises SpecError for a speed that is not positive and finite.
    """
    if not 0 < speed < math.inf:
        raise SpecError("replay speed", str(speed), "give a positive factor, or max")
    return _paced(samples, speed, restart_s, clock, sleep)


def _paced(
    samples: Iterable[Sample],
    speed: float,
    restart_s: float,
    clock: Callable[[], float],
    sleep: Callable[[float], None],
) -> Iterator[Sample]:
    start, first, newest = 0.0, math.nan, math.nan
    for sample in samples:
        if math.isfinite(sample.t):
            if not newest - restart_s <= sample.t <= newest + LONGEST_GAP_S:
                start, first, newest = clock(), sample.t, sample.t
            newest = max(newest, sample.t)
            wait = start + (sample.t - first) / speed - clock()
            if wait > 0:
                sleep(wait)
        yield sample


def compare(predictions: Iterable[Prediction], recorded: Recorded, *, tolerance: float = 0.0) -> Comparison:
    """Match predictions with recorded ones by exact time, repeated times in order, and compare; NaN equals NaN.

    `tolerance` is absolute, in the unit of each output. Raises TraceError where the number of outputs differs.
    """
    matcher = Matcher(recorded, tolerance)
    for prediction in predictions:
        matcher.pass_on(prediction)
    return matcher.result()


class Matcher:
    """Compare predictions with recorded ones as they pass; see `compare`."""

    def __init__(self, recorded: Recorded, tolerance: float = 0.0) -> None:
        self._recorded, self._rows, self._found = recorded, _Rows(recorded.t), Comparator(tolerance)

    def pass_on(self, prediction: Prediction) -> Prediction:
        """Compare a prediction, and return it. Raises TraceError where the number of outputs differs."""
        row, recorded = self._rows.take(prediction.t), self._recorded
        if row is None:
            self._found.add_unmatched()
        else:
            changed = prediction.status != recorded.status[row]
            self._found.add(prediction.t, prediction.y, recorded.y[row], changed=changed)
        return prediction

    def result(self) -> Comparison:
        """Return the result; call it once, at the end."""
        self._found.add_unmatched(len(self._recorded.t) - self._found.compared)
        return self._found.result()


class Comparator:
    """Compare predictions with recorded ones, one by one, in order."""

    def __init__(self, tolerance: float = 0.0) -> None:
        self.compared = self._finite = 0
        self._tolerance, self._ticks = tolerance, 0
        self._statuses = self._unmatched = 0
        self._max_abs = 0.0
        self._first_tick: int | None = None
        self._first_t: float | None = None

    def add(self, t: float, y: Floats, recorded: Floats, *, changed: bool) -> None:
        """Add outputs `y` [ny] at time `t`, the recorded ones, and whether the status differs.

        Raises TraceError where the numbers of outputs differ.
        """
        difference = _difference(y, recorded)
        self._statuses += changed
        self._max_abs = max(self._max_abs, difference)
        if self._first_tick is None and (changed or difference > self._tolerance):
            self._first_tick, self._first_t = self._ticks, float(t)
        self._finite += _all_finite(y) and _all_finite(recorded)
        self.compared += 1
        self._ticks += 1

    def add_unmatched(self, count: int = 1) -> None:
        """Add ticks that only one side has."""
        self._unmatched += count
        self._ticks += count

    def result(self) -> Comparison:
        """Return the result so far."""
        return Comparison(
            compared=self.compared,
            finite=self._finite,
            max_abs=self._max_abs,
            first_tick=self._first_tick,
            first_t=self._first_t,
            statuses=self._statuses,
            unmatched=self._unmatched,
        )


class _Rows:
    """Rows by time. The next row is tried first, then a binary search. Needs 9 bytes per row."""

    def __init__(self, t: Doubles) -> None:
        self._order = np.argsort(t, kind="stable")
        self._t = t[self._order]
        self._taken = np.zeros(len(t), bool)
        self._guess = 0

    def take(self, t: float) -> int | None:
        """Return the number of the first row at `t` that was not taken yet; None without one."""
        if not self._free(self._guess, t):
            self._guess = int(np.searchsorted(self._t, t))
            while self._guess < len(self._t) and self._taken[self._guess] and self._t[self._guess] == t:
                self._guess += 1
            if not self._free(self._guess, t):
                return None
        place, self._guess = self._guess, self._guess + 1
        self._taken[place] = True
        return int(self._order[place])

    def _free(self, place: int, t: float) -> bool:
        return place < len(self._t) and bool(self._t[place] == t) and not self._taken[place]


def _all_finite(y: Floats) -> bool:
    return all(map(math.isfinite, y.tolist()))


def _difference(y: Floats, recorded: Floats) -> float:
    if y.shape != recorded.shape:
        raise TraceError("recorded predictions", f"{recorded.size} outputs", f"compare with a model of {y.size}")
    worst = 0.0
    for a, b in zip(y.tolist(), recorded.tolist(), strict=True):
        if a != b and not (a != a and b != b):  # noqa: PLR0124 - only NaN differs from itself
            worst = max(worst, math.inf if math.isnan(a - b) else abs(a - b))
    return worst
