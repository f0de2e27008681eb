"""Judge the stamps of a stream: those that are not possible, ticks without a sample, messages that came twice or late.

The rules are those of the serial link (`firmware_bridge.intake`): one impossible stamp is refused. Five in a row that
follow each other mean that the clock has jumped.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Literal

LATE_S = 1.0  # a message may be late by this; the session decides what it is worth
AHEAD_S = 1.0  # a stamp may be ahead of what time has passed by this
IN_A_ROW = 5  # impossible stamps in a row that follow each other: then the clock has jumped
LATEST_S = 2.0**31 - 1  # the largest time of a recording (ROS 2: seconds as int32)
_RECENT = 256  # stamps that a duplicate is compared with
_SEEN = (1 << 64) - 1  # ticks for which is known whether their sample came
_FAR = 10_000  # numbers
_PULL = 0.1  # share of the distance by which the grid follows the stamps
_NEVER = math.inf, math.nan
_PACE_S = 5.0  # of the host's clock: what the pace of stamps is judged by
_PACE_MAX = 0.02  # s/s that stamps may gain or lose: a hundred times the error of a bad crystal

Verdict = Literal["new", "refused", "jump"]


class StampGuard:
    """Refuse impossible stamps, and notice a clock that jumped. `ahead_s`: how far a stamp may lead; inf: any."""

    def __init__(self, ahead_s: float = AHEAD_S) -> None:
        self._ahead_s = ahead_s
        self.newest = math.nan
        self._seen_s = 0.0
        self._doubted = math.nan
        self._doubts = 0

    def judge(self, t: float, now_s: float) -> Verdict:
        """Judge a stamp `t` in s of a message received at `now_s`."""
        if not 0 <= t <= LATEST_S:  # NaN, too
            return "refused"
        if math.isnan(self.newest):
            self._follow(t, now_s)
            return "new"
        passed = max(now_s - self._seen_s, 0.0)
        if self.newest - LATE_S <= t <= self.newest + passed + self._ahead_s:
            self._doubts = 0
            if t > self.newest:
                self._follow(t, now_s)
            return "new"
        return self._doubt(t, now_s)

    def _follow(self, t: float, now_s: float) -> None:
        self.newest, self._seen_s = t, now_s

    def _doubt(self, t: float, now_s: float) -> Verdict:
        agrees = self._doubts and 0 < t - self._doubted <= AHEAD_S
        self._doubts, self._doubted = (self._doubts + 1 if agrees else 1), t
        if self._doubts < IN_A_ROW:
            return "refused"
        self._doubts = 0
        self._follow(t, now_s)
        return "jump"


class Recent:
    """Remember the newest stamps of a topic, to notice what comes twice."""

    def __init__(self) -> None:
        self._order: deque[float] = deque()
        self._known: set[float] = set()

    def add(self, t: float) -> bool:
        """Remember a stamp; return whether it was known already."""
        if t in self._known:
            return True
        self._known.add(t)
        self._order.append(t)
        if len(self._order) > _RECENT:
            self._known.discard(self._order.popleft())
        return False


class SequenceNumbers:
    """Count messages that never came, by the numbers of their sender, which start over at `modulus`: ``lost``.

    A message that comes late is not lost. A jump of more than half the numbers, or `_FAR`, is another sender.
    """

    def __init__(self, modulus: int) -> None:
        self._modulus = modulus
        self._newest, self._seen = -1, 0
        self.lost = 0

    def add(self, number: int) -> None:
        """Count the message with this number."""
        if self._newest < 0:
            self._newest, self._seen = number, 1
            return
        ahead = (number - self._newest) % self._modulus
        if 0 < ahead < min(self._modulus // 2, _FAR):
            self.lost += ahead - 1
            self._newest, self._seen = number, (self._seen << min(ahead, 64) | 1) & _SEEN
        elif self._modulus - ahead < 64:
            self._fill(1 << (self._modulus - ahead))
        elif ahead:
            self._newest, self._seen = number, 1

    def _fill(self, bit: int) -> None:
        if not self._seen & bit and self.lost:
            self._seen |= bit
            self.lost -= 1


class TickCount:
    """Count ticks without a sample: ``gaps``; and samples that came after a newer one: ``late``.

    A late sample fills the tick that it was counted as missing for. The grid of ticks follows the stamps slowly, so
    that neither jitter nor a clock that is a little fast adds up.
    """

    def __init__(self, rate_hz: float) -> None:
        self._rate_hz = rate_hz
        self.gaps = self.late = 0
        self.restart()

    def restart(self) -> None:
        """Begin a new grid: how many ticks there are between is not known."""
        self._newest = self._grid = math.nan
        self._seen = 0

    def add(self, t: float) -> None:
        """Count a sample at `t` in s."""
        if math.isnan(self._newest):
            self._newest = self._grid = t
            self._seen = 1
        elif t < self._newest:
            self._fill(round((self._grid - t) * self._rate_hz))
        elif self._rate_hz:
            self._advance(t)

    def _advance(self, t: float) -> None:
        ticks = round((t - self._grid) * self._rate_hz)
        self._newest = t
        self.gaps += max(ticks - 1, 0)
        self._seen = (self._seen << min(ticks, 64) | 1) & _SEEN
        self._grid += ticks / self._rate_hz
        self._grid += _PULL * (t - self._grid)

    def _fill(self, back: int) -> None:
        self.late += 1
        bit = 1 << back if 0 <= back < 64 else 0
        if bit and not self._seen & bit:
            self._seen |= bit
            self.gaps -= 1


class ClockPace:
    """Notice stamps that gain or lose time against the host's clock: they count samples, or are of a simulation.

    The least lags of two periods in a row are compared: what is late on its way says nothing about a clock.
    """

    def __init__(self) -> None:
        self._begun_s = math.nan
        self._least = self._before = _NEVER  # of this period and of the last: lag, and host time at which it was seen
        self._said = False

    def add(self, t: float, now_s: float) -> str:
        """Add a stamp `t` in s of a message read at `now_s`; return what there is to say, once, and "" otherwise."""
        found = ""
        if not now_s - self._begun_s < _PACE_S:
            found = "" if self._said else self._judged()
            self._said |= bool(found)
            self._begun_s, self._before, self._least = now_s, self._least, _NEVER
        self._least = min(self._least, (now_s - t, now_s))
        return found

    def _judged(self) -> str:
        passed_s = self._least[1] - self._before[1]
        lost = (self._least[0] - self._before[0]) / passed_s if passed_s > 0 else math.nan
        if not _PACE_MAX < abs(lost) < math.inf:
            return ""
        pace = f"{abs(lost):.0%} {'slower' if lost > 0 else 'faster'} than the clock of this machine"
        return f"the times of the source pass {pace}, so that ages are wrong: stamp samples by a clock"
