"""Trial: compare a new model with the running one, on the same live samples, before it may answer.

The errors of both are one tick ahead, in standard deviations of the outputs in training.
"""

from __future__ import annotations

import math

import numpy as np

from rtsysid.circle import differences
from rtsysid.live.session import Prediction
from rtsysid.spec import Floats, ModelSpec, Sample
from rtsysid.statuses import Status

FLOOR = 1e-3  # standard deviations: below it, nobody cares which model is better


class Trial:
    """Count the errors of two sessions of models with the same channels; `add` says how the trial ends.

    `ticks`: samples to compare. `margin`: the new model may have so many times the error of the running one.
    ``ratio``: error of the new model over that of the running one, so far; NaN before the first comparison.
    """

    def __init__(self, spec: ModelSpec, ticks: int, margin: float) -> None:
        self._spec, self._ticks, self._margin = spec, ticks, margin
        self._std: Floats = np.asarray(spec.scaling.std[spec.n_inputs :], np.float32)
        self._squares = np.zeros(2)
        self._compared = self._waited = 0
        self._last: tuple[Prediction, Prediction] | None = None

    @property
    def ratio(self) -> float:
        """Error of the new model over that of the running one; NaN before the first comparison."""
        if not self._compared:
            return math.nan
        running, new = np.maximum(np.sqrt(self._squares / self._compared / len(self._std)), FLOOR)
        return float(new / running)

    def add(self, sample: Sample, running: Prediction, new: Prediction) -> str | None:
        """Add a sample and what both predicted from it: None: go on; "": it passed; else why it failed, as a clause."""
        if Status.diverged in new.flags:
            return "it diverged"
        self._compare(sample)
        self._last = (running, new)
        self._waited += running.usable and not new.usable
        if self._compared >= self._ticks:
            ratio = self.ratio
            return "" if ratio <= self._margin else f"its error is {ratio:.3g} times that of the running model"
        if self._waited > self._patience:
            return f"{self._waited} of its answers were of no use, where those of the running model were"
        return None

    @property
    def _patience(self) -> int:
        return 2 * (self._spec.settling_samples + self._ticks)

    def _compare(self, sample: Sample) -> None:
        """Add the errors of the last predictions, where this sample is the tick that both were for."""
        if self._last is None or not all(each.usable for each in self._last):
            return
        ticks = (sample.t - self._last[0].t) * self._spec.rate_hz
        measured = sample.values[self._spec.n_inputs :]
        if not 0.5 <= ticks < 1.5 or not np.isfinite(measured).all():
            return
        both = np.stack([each.y for each in self._last])
        errors = differences(both, np.stack([measured, measured]), self._spec.outputs) / self._std
        self._squares += np.square(errors).sum(-1)
        self._compared += 1
