"""Calibration: what the scores of a novelty detector are in normal operation, and the thresholds that follow.

It is fitted to recordings held out of training. `rtsysid.live.novelty` explains the two scores.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from rtsysid.circle import differences
from rtsysid.errors import BundleError, TraceError
from rtsysid.live.exceedance import ExceedanceModel, minutes_for
from rtsysid.model.bundle import Bundle
from rtsysid.model.predictor import Predictor
from rtsysid.model.untrusted import Refusal, parse_json, structure_of
from rtsysid.spec import Doubles, Floats, ModelSpec

FILE = "calibration.json"
FALSE_ALARMS = 1.0  # per hour
SMOOTHING = 0.2  # weight of the newest tick in the mean square of the innovation
DECODER_SHARE = 0.025  # mean cost of the decoder as a share of a step
HOLD_WINDOWS = 5  # alarms closer than this many windows count as one


class Calibration(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Thresholds of a model in normal operation. ``spread``: root mean square of each output's innovation, [ny]; of two
    outputs that a turn of the world mixes, over both.

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
        refusal = Refusal(BundleError, f"bundle {bundle.folder}", "calibrate it again")
        found = structure_of(parse_json(bundle.content(FILE), FILE, refusal), cls, FILE, refusal)
        if len(found.spread) != bundle.spec.n_outputs or (found.reconstruction is None) == bool(bundle.spec.encoder):
            raise refusal(f"{FILE} is of another model")
        if not found.possible:
            raise refusal(f"{FILE}: a value is out of its range")
        return found

    @property
    def possible(self) -> bool:
        """Tell whether the numbers can come from a fit."""
        models = [each for each in (self.innovation, self.reconstruction) if each is not None]
        if not (1 <= self.every < 2**31 and min(self.spread) > 0 and all(each.possible for each in models)):
            return False
        return self.false_alarms_per_hour > 0.999 * self.innovation.lowest_rate

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


class Scores(NamedTuple):
    """Hold the scores of one episode: ``innovation`` [n, ny], and ``code`` [n], the root of the reconstruction error.

    The reconstruction error is measured every few ticks; in between, ``code`` repeats the last value.
    """

    innovation: Doubles
    code: Doubles


def novelty_scores(predictor: Predictor, shown: Floats) -> Scores:
    """Stream an episode [n, C] and compute the scores that `Novelty` would use, after the warm-up."""
    nu, every, outputs = predictor.spec.n_inputs, look_every(predictor.spec), predictor.spec.outputs
    predictor.reset()
    measured: list[Floats] = []
    predicted: list[Floats] = []
    code: list[float] = []
    last_error = 0.0
    for row in shown:
        if predictor.ready:
            if len(code) % every == 0:
                last_error = predictor.reconstruction_error
            measured.append(row[nu:])
            predicted.append(predictor.y.copy())
            code.append(last_error)
        predictor.step(row)
    truth, guess = (np.array(each, np.float64).reshape(-1, len(outputs)) for each in (measured, predicted))
    return Scores(differences(guess, truth, outputs), np.sqrt(code))


def calibrate_novelty(
    predictor: Predictor, episodes: Sequence[Floats], recordings: str, false_alarms_per_hour: float | None = None
) -> Calibration:
    """Calibrate the novelty detector of a predictor on held-out episodes [n, C]; `recordings` describes them in words.

    By default the rate is one false alarm per hour, or the lowest rate that the length of the recordings supports.
    Raises TraceError where the rate is lower than supported, or where no episode is long enough.
    """
    calibration = fit_calibration(predictor.spec, [novelty_scores(predictor, each) for each in episodes], recordings)
    lowest = calibration.innovation.lowest_rate
    return calibration.with_rate(max(FALSE_ALARMS, lowest) if false_alarms_per_hour is None else false_alarms_per_hour)


def fit_calibration(spec: ModelSpec, scores: Sequence[Scores], recordings: str) -> Calibration:
    """Fit the novelty calibration to the scores of held-out episodes, at the default rate of false alarms.

    Raises TraceError where no episode is long enough.
    """
    scores = [each for each in scores if len(each.code)]
    if not scores:
        remedy = f"give more than {spec.settling_samples} rows without a gap"
        raise TraceError("calibration recordings", "no episode is long enough", remedy)
    spread = innovation_spread(spec, np.concatenate([each.innovation for each in scores]))
    hold, tick_s = hold_ticks(spec), 1.0 / spec.rate_hz
    return Calibration(
        false_alarms_per_hour=FALSE_ALARMS,
        spread=tuple(spread.tolist()),
        innovation=ExceedanceModel.fit([smoothed(each.innovation / spread) for each in scores], hold, tick_s),
        every=look_every(spec),
        reconstruction=ExceedanceModel.fit([each.code for each in scores], hold, tick_s) if spec.encoder else None,
        recordings=recordings,
    )


def innovation_spread(spec: ModelSpec, innovation: Doubles) -> Doubles:
    """Compute the root mean square of each output's innovation: [n, ny] -> [ny].

    Outputs that a turn of the world mixes share one, so that the score does not depend on where a body looks.
    """
    square = np.mean(innovation**2, axis=0)
    for pair in map(list, spec.mixed_outputs):
        square[pair] = square[pair].mean()
    # the lower limit is for an output that is predicted exactly
    return np.maximum(np.sqrt(square), 1e-6 * np.asarray(spec.scaling.std[spec.n_inputs :]))


def hold_ticks(spec: ModelSpec) -> int:
    """Return the number of ticks without an alarm after which the next alarm is a new one."""
    return HOLD_WINDOWS * spec.taps


def look_every(spec: ModelSpec) -> int:
    """Return the ticks between two reconstruction errors such that the decoder costs `DECODER_SHARE` of a step."""
    widths = (spec.encoder_window, *spec.encoder)
    decoder = sum(a * b for a, b in itertools.pairwise(widths))
    return max(1, math.ceil(decoder / (DECODER_SHARE * spec.macs)))


def smoothed(innovation: Doubles) -> Doubles:
    """Return the score [n] of an `innovation` [n, ny], which is in standard deviations of each output."""
    return np.asarray(np.sqrt(running_mean(np.mean(innovation**2, axis=1), 0.0)))


def running_mean(values: Doubles, mean: float) -> Doubles:
    """Take the exponential mean of values [n] over about five ticks, from `mean` on: [n]."""
    means = np.empty(len(values))
    for k, value in enumerate(values.tolist()):
        mean += SMOOTHING * (value - mean)
        means[k] = mean
    return means
