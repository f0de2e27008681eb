"""Novelty: detect samples that differ from everything in the training recordings.

There are two scores, each with a threshold that was calibrated on recordings held out of training. The *innovation* is
the measured output minus the output predicted one tick (sample period) before, in standard deviations of each output,
as an exponential mean of its square over a few ticks. The *reconstruction error* measures how well the code describes
the window. A decoder costs as much as an encoder, so it is computed every few ticks only. Each score gets half of the
allowed false alarms.

After a gap the detector is silent until the window holds no replaced sample, and after a reset until the warm-up is
over. `docs/novelty.md` has the figures.
"""

from __future__ import annotations

import itertools
import math
from typing import Protocol, Self

import msgspec
import numpy as np

from rtsysid.errors import BundleError, TraceError
from rtsysid.live.exceedance import ExceedanceModel, minutes_for
from rtsysid.evaluation.metrics import same_sign
from rtsysid.model.bundle import Bundle
from rtsysid.model.predictor import InnovationEnergy
from rtsysid.spec import Doubles, Floats, ModelSpec

FILE = "calibration.json"
FALSE_ALARMS = 1.0  # per hour
SMOOTHING = 0.2  # weight of the newest tick in the mean square of the innovation
DECODER_SHARE = 0.025  # mean cost of the decoder as a share of a step
HOLD_WINDOWS = 5  # alarms closer than this many windows count as one
CAP = 100.0  # largest square in the mean, in squares of the threshold, so that an alarm ends soon after its cause


class Calibration(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Thresholds of a model in normal operation. ``spread``: root mean square of each output's innovation, [ny].

    ``every``: ticks between two computations of the reconstruction error, which needs an encoder. ``recordings``: the
    recordings of the calibration, as text.
    """

    false_alarms_per_hour: float
    spread: tuple[float, ...]
    innovation: ExceedanceModel
    every: int
    reconstruction: ExceedanceModel | None
    recordings: str

    @classmethod
    def of(cls, bundle: Bundle) -> Calibration | None:
        """Read the calibration of a bundle; None where it has none. Raises BundleError where it is damaged."""
        if FILE not in bundle.manifest.files:
            return None
        try:
            found = msgspec.json.decode(bundle.path(FILE).read_bytes(), type=cls)
        except msgspec.DecodeError as error:
            raise BundleError(f"bundle {bundle.folder}", f"{FILE}: {error}", "calibrate it again") from None
        if len(found.spread) != bundle.spec.n_outputs:
            raise BundleError(f"bundle {bundle.folder}", f"{FILE} is of another model", "calibrate it again")
        return found

    @property
    def thresholds(self) -> tuple[float, float]:
        """Thresholds of the root mean square innovation and of the root of the reconstruction error."""
        if self.reconstruction is None:
            return self.innovation.threshold(self.false_alarms_per_hour), math.inf
        half = self.false_alarms_per_hour / 2
        return self.innovation.threshold(half), self.reconstruction.threshold(half)

    def with_rate(self, per_hour: float) -> Calibration:
        """Return the calibration for another rate per hour. Raises TraceError where the recordings are too short."""
        lowest = self.innovation.lowest_rate
        if not lowest <= per_hour < math.inf:
            seconds = self.innovation.seconds
            found = f"{seconds:.0f} s of recordings support {lowest:.2g} or more an hour"
            longer = f", or calibrate on {minutes_for(per_hour):.3g} min" if per_hour > 0 else ""
            remedy = f"ask for that{longer}"
            raise TraceError(f"{per_hour:g} false alarms per hour", found, remedy)
        return msgspec.structs.replace(self, false_alarms_per_hour=per_hour)


class Watched(Protocol):
    """What a detector needs of a predictor: `y` [ny] is its last prediction; samples are [C], weights [ny]."""

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
        self._innovation_energy = predictor.innovation_energy(self.sample, self._weight)
        self._every = calibration.every if calibration.reconstruction is not None else 0
        self._hold = hold_ticks(spec)
        self._silent = predictor.settling_samples
        self._tick, self._alarm = 0, -self._hold - 1  # samples so far, and the number of the last novel one
        self._mean, self._code, self._look = 0.0, 0.0, self._first_look()
        self.alarms = 0
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
            self._look = tick + self._every
            self._code = self._predictor.reconstruction_error / (self._worst_code * self._worst_code)
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

    def _confirm(self) -> bool:
        """Repeat the test with quaternions q and -q as the same rotation."""
        measured = self.sample[self._nu :]
        off = (measured - same_sign(self._predictor.y, measured, self._outputs)) * self._weight
        self._mean += SMOOTHING * (min(float(off @ off), CAP) - self._mean)
        if self._mean <= 1.0 and self._code <= 1.0:
            return False
        self.alarms += self._tick - self._alarm > self._hold
        self._alarm = self._tick
        self.worst_channel = (self._nu + int(np.argmax(np.abs(off))),) if self._mean > 1.0 else ()
        return True

    def _forget(self) -> None:
        self._mean, self._code, self._look = 0.0, 0.0, self._first_look()

    def _first_look(self) -> int:
        return self._tick + 1 if self._every else 0


def hold_ticks(spec: ModelSpec) -> int:
    """Return the number of ticks without an alarm after which the next alarm is a new one."""
    return HOLD_WINDOWS * spec.taps


def look_every(spec: ModelSpec) -> int:
    """Return the ticks between two reconstruction errors such that the decoder costs `DECODER_SHARE` of a step."""
    widths = (spec.window_size, *spec.encoder)
    decoder = sum(a * b for a, b in itertools.pairwise(widths))
    return max(1, math.ceil(decoder / (DECODER_SHARE * spec.macs)))


def smoothed(innovation: Doubles) -> Doubles:
    """Return the score [n] of an `innovation` [n, ny], which is in standard deviations of each output."""
    means, mean = np.empty(len(innovation)), 0.0
    for k, square in enumerate(np.mean(innovation**2, axis=1).tolist()):
        mean += SMOOTHING * (square - mean)
        means[k] = mean
    return np.asarray(np.sqrt(means))
