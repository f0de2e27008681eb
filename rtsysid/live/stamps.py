"""Notice in words that the stamps of a stream are not what a model wants: another unit, another rate, or jitter."""

from __future__ import annotations

import logging
import math

IRREGULAR = 30  # intervals that are not one tick, until something is said
OFTEN = 0.05  # share of the samples from which on they matter
NEAR = 0.1  # of the rate: a difference that jitter explains
UNITS = {1e3: "milliseconds", 1e6: "microseconds", 1e9: "nanoseconds"}
_log = logging.getLogger(__name__)


class StampWatch:
    """Collect the intervals of a stream that are not one tick, and say once what they look like.

    ``remark``: what was said; empty so far.
    """

    def __init__(self, rate_hz: float) -> None:
        self.rate_hz, self.remark = rate_hz, ""
        self._irregular, self._begun, self._first = 0, 0, math.nan

    def add(self, t: float, samples: int) -> None:
        """Count a stamp `t` in s that does not follow the last by one tick: that of sample number `samples`."""
        if self.remark or not math.isfinite(t):
            return
        if not self._irregular:
            self._begun, self._first = samples, t
        self._irregular += 1
        if self._irregular < IRREGULAR:
            return
        passed = max(samples - self._begun, 1)
        if self._irregular / passed > OFTEN:
            self.remark = self._described((t - self._first) * self.rate_hz / passed, self._irregular / passed)
            _log.warning("%s", self.remark)
        self._irregular = 0

    def _described(self, ticks: float, share: float) -> str:
        """Describe a stream whose mean interval is so many ticks, with this share of irregular ones."""
        for size, unit in UNITS.items():
            if abs(ticks / size - 1) < NEAR:
                return f"the times look like {unit}: give seconds, divide them by {size:.0e}"
        if 0 < ticks < 1 - NEAR or (ticks > 1 + NEAR and share > 0.5):
            found = f"samples come at {self.rate_hz / ticks:.4g} Hz, and the model wants {self.rate_hz:g} Hz"
            return f"{found}: align them (rtsysid.Aligner), or train at that rate"
        found = f"{min(share, 1):.0%} of the intervals are not one tick of {1e3 / self.rate_hz:g} ms"
        return f"{found}: align the samples (rtsysid.Aligner), or take the stamps of the sensor"
