"""Novelty: detect samples that differ from everything in the training recordings.

There are two scores, each with a threshold that was calibrated on recordings held out of training. The *innovation* is
the measured output minus the output predicted one tick (sample period) before, in standard deviations of each output,
as an exponential mean of its square over a few ticks. The *reconstruction error* measures how well the code describes
the window. A decoder costs as much as an encoder, so it is computed every few ticks only, and at every tick during an
alarm. Each score gets half of the allowed false alarms.

After a gap the detector is silent until the window holds no replaced sample, and after a reset until the warm-up is
over. `docs/novelty.md` has the figures.
"""

from __future__ import annotations

import math
from typing import Protocol, Self

import numpy as np

from rtsysid.circle import differences
from rtsysid.live.calibration import SMOOTHING, Calibration, hold_ticks
from rtsysid.model.backends.protocol import InnovationEnergy
from rtsysid.model.bundle import Bundle
from rtsysid.spec import Doubles, Floats, ModelSpec

CAP = 100.0  # largest square in the mean, in squares of the threshold, so that an alarm ends soon after its cause


class Watched(Protocol):
    """The interface of a predictor for the detector: `y` [ny] is its last prediction; samples are [C], weights [ny]."""

    @property
    def spec(self) -> ModelSpec: ...
    @property
    def settling_samples(self) -> int: ...
    @property
    def y(self) -> Floats: ...
    @property
    def reconstruction_error(self) -> float: ...
    def innovation_energy(self, sample: Floats, weight: Floats) -> InnovationEnergy: ...


class Novelty:
    """Novelty detector for one predictor.

    Write a good sample to `sample` [C], call `update`, then step the predictor with it. `score`: the larger score
    divided by its threshold, 1 at an alarm; NaN while silent. `alarms`: their count. `worst_channel`: at an alarm by
    innovation, the column of the output with the largest innovation.
    """

    def __init__(self, calibration: Calibration, predictor: Watched) -> None:
        spec = predictor.spec
        self._predictor, self._outputs, self._nu = predictor, spec.outputs, spec.n_inputs
        threshold, self._worst_code = calibration.thresholds
        self.sample: Floats = np.zeros(spec.width, np.float32)
        self._weight = np.array([1 / (s * threshold * math.sqrt(spec.n_outputs)) for s in calibration.spread], "f4")
        around = any(channel.angle for channel in self._outputs)  # a jump by a turn is no innovation
        fast = predictor.innovation_energy(self.sample, self._weight)
        self._innovation_energy = self._short_energy if around else fast
        self._every = calibration.every if calibration.reconstruction is not None else 0
        self._hold = hold_ticks(spec)
        self._silent = predictor.settling_samples
        self._tick, self._alarm = 0, -self._hold - 1  # samples so far, and the number of the last novel one
        self._mean, self._code, self._look = 0.0, 0.0, self._first_look()
        self.alarms = 0
        self._rate = calibration.false_alarms_per_hour
        self.worst_channel: tuple[int, ...] = ()

    @classmethod
    def of(cls, bundle: Bundle, predictor: Watched) -> Self | None:
        """Return the detector for a bundle's calibration; None without one. Raises BundleError where it is damaged."""
        calibration = Calibration.of(bundle)
        return None if calibration is None else cls(calibration, predictor)

    def update(self) -> bool:
        """Return whether `sample` is novel; call it before the predictor steps with the sample."""
        if self._silent:
            self._silent -= 1
            return False
        mean = self._mean
        mean += SMOOTHING * (self._innovation_energy() - mean)
        self._tick = tick = self._tick + 1
        if tick == self._look:
            self._code = self._predictor.reconstruction_error / (self._worst_code * self._worst_code)
            # While it is above, look at every sample: one look is no evidence about those that follow
            self._look = tick + (1 if self._code > 1.0 else self._every)
        if mean <= 1.0 and self._code <= 1.0:
            self._mean = mean
            return False
        return self._confirm()

    def suspend(self) -> None:
        """Be silent until the window holds no replaced sample: a tick had no good one."""
        self._silent = max(self._silent, self._predictor.spec.taps)
        self._forget()

    def reset(self) -> None:
        """Be silent until the warm-up is over: the predictor was reset."""
        self._silent, self._alarm = self._predictor.settling_samples, self._tick - self._hold - 1
        self._forget()

    @property
    def score(self) -> float:
        """The larger score divided by its threshold; NaN while silent."""
        return math.nan if self._silent else math.sqrt(max(self._mean, self._code))

    def rates(self, novel: int, predictions: int) -> dict[str, float] | None:
        """Return the share of novel samples, and alarms per hour: observed, and those that the calibration allows.

        None without a prediction.
        """
        if not predictions:
            return None
        return {
            "novel_share": novel / predictions,
            "alarms_per_hour": self.alarms * 3600 * self._predictor.spec.rate_hz / predictions,
            "calibrated_alarms_per_hour": self._rate,
        }

    def _confirm(self) -> bool:
        """Repeat the test with the short way around, where angles and quaternions have one."""
        off = self._innovation()
        self._mean += SMOOTHING * (min(float(off @ off), CAP) - self._mean)
        if self._mean <= 1.0 and self._code <= 1.0:
            return False
        self.alarms += self._tick - self._alarm > self._hold
        self._alarm = self._tick
        self.worst_channel = (self._nu + int(np.argmax(np.abs(off))),) if self._mean > 1.0 else ()
        return True

    def _innovation(self) -> Doubles:
        """Prediction minus measurement, the short way around, weighted: [ny]."""
        off: Doubles = differences(self._predictor.y, self.sample[self._nu :], self._outputs) * self._weight
        return off

    def _short_energy(self) -> float:
        off = self._innovation()
        return float(off @ off)

    def _forget(self) -> None:
        self._mean, self._code, self._look = 0.0, 0.0, self._first_look()

    def _first_look(self) -> int:
        return self._tick + 1 if self._every else 0
