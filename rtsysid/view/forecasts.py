"""PeriodicForecast: a forecast of the running session now and then, with its interval, as if the inputs stayed."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from rtsysid.live.loop import Answer
from rtsysid.model.predictor import Predictor
from rtsysid.spec import Floats

COVERAGE = 0.9  # of the interval; less where the calibration does not support it
_HORIZON_S, _MOST, _LEAST = 1.0, 50, 5  # the forecast: seconds, ticks at most and at least


class ShownForecast(NamedTuple):
    """A forecast that is shown. ``t``: of its sample in s; ``y``, ``low``, ``high`` [N, ny]; NaN without intervals."""

    t: float
    y: Floats
    low: Floats
    high: Floats


class PeriodicForecast:
    """Forecast every `every_s` seconds of device time; call `due` from the thread that steps the predictor."""

    def __init__(self, predictor: Predictor, every_s: float = 0.5) -> None:
        self._every_s, self._next = every_s, -math.inf
        self._predictor: Predictor | None = None
        self.follow(predictor)

    def follow(self, predictor: Predictor) -> None:
        """Forecast with another predictor from now on: a new bundle took over."""
        if predictor is self._predictor:
            return
        self._predictor = predictor
        spec, intervals = predictor.spec, predictor.intervals
        wanted = max(_LEAST, min(_MOST, round(_HORIZON_S * spec.rate_hz)))
        self.horizon = wanted if intervals is None else min(wanted, intervals.horizon)
        self._inputs: Floats = np.zeros((self.horizon, spec.n_inputs), np.float32)
        self._interval = None if intervals is None else min(COVERAGE, intervals.max_coverage)

    def due(self, answer: Answer) -> ShownForecast | None:
        """Return a forecast from the sample of this answer; None where it is not time, or the state does not count."""
        t = answer.arrival.sample.t
        predictor, waits = self._predictor, self._next - self._every_s <= t < self._next
        if predictor is None or waits or not answer.prediction.usable:
            return None
        self._next = t + self._every_s
        self._inputs[:] = answer.arrival.sample.values[: self._inputs.shape[1]]
        if self._interval is None:
            y = predictor.forecast(self._inputs)
            nothing = np.full_like(y, np.nan)
            return ShownForecast(t, y, nothing, nothing)
        found = predictor.forecast(self._inputs, interval=self._interval)
        return ShownForecast(t, *found)
