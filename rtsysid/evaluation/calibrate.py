"""Calibrate novelty detection and prediction intervals of a bundle on held-out recordings."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from rtsysid.errors import TraceError
from rtsysid.evaluation.forecasts import forecasts
from rtsysid.live.exceedance import ExceedanceModel
from rtsysid.live.novelty import FALSE_ALARMS, Calibration, hold_ticks, look_every, smoothed
from rtsysid.live.novelty import FILE as CALIBRATION
from rtsysid.evaluation.metrics import same_sign
from rtsysid.model.bundle import Bundle, write_manifest
from rtsysid.model.intervals import FILE as INTERVALS
from rtsysid.model.intervals import Intervals
from rtsysid.model.predictor import Predictor
from rtsysid.spec import Doubles, Floats, ModelSpec
from rtsysid.storage import replacing_folder

HORIZON = 50  # ticks of the intervals
FORECASTS = 4000  # approximate number of forecasts, evenly spread over the recordings


class HeldOut(NamedTuple):
    """Hold one held-out episode without gaps: model inputs ``shown`` [n, C], reference of forecasts ``true`` [n, C].

    Both are the same array, unless the model was trained with sensor noise.
    """

    shown: Floats
    true: Floats


class Scores(NamedTuple):
    """Hold the scores of one episode: ``innovation`` [n, ny], and ``code`` [n], the root of the reconstruction error.

    The reconstruction error is measured every few ticks; in between, ``code`` repeats the last value.
    """

    innovation: Doubles
    code: Doubles


def calibrate_predictor(
    predictor: Predictor,
    episodes: Sequence[HeldOut],
    recordings: str,
    *,
    false_alarms_per_hour: float | None = None,
    horizon: int = HORIZON,
) -> tuple[Calibration, Intervals]:
    """Fit the calibration of novelty and the prediction intervals on held-out episodes.

    `recordings` describes them in words. By default the rate is one false alarm per hour, or the lowest rate that the
    length of the recordings supports. `horizon`: ticks of the intervals. Raises TraceError where the rate is lower
    than supported, or where all episodes are too short.
    """
    calibration = fit_calibration(
        predictor.spec, [novelty_scores(predictor, each.shown) for each in episodes], recordings
    )
    lowest = calibration.innovation.lowest_rate
    rate = max(FALSE_ALARMS, lowest) if false_alarms_per_hour is None else false_alarms_per_hour
    return calibration.with_rate(rate), fit_intervals(predictor, episodes, horizon)


def recalibrated(bundle: Bundle, calibration: Calibration, intervals: Intervals, out: Path) -> Bundle:
    """Write a copy of the bundle with new calibrations to the folder `out`, and open it.

    `out` may be the folder of the bundle itself. The copy has a new id. Raises BundleError where a file of the bundle
    is damaged.
    """
    with replacing_folder(out) as folder:
        for name in bundle.manifest.files:
            shutil.copyfile(bundle.verified(name), folder / name)
        write_calibrations(folder, calibration, intervals)
        write_manifest(folder, bundle.manifest.content())
    return Bundle.open(out)


def write_calibrations(folder: Path, calibration: Calibration, intervals: Intervals) -> None:
    """Write both calibration files into a bundle folder. Call it before the manifest is written."""
    (folder / CALIBRATION).write_bytes(msgspec.json.format(msgspec.json.encode(calibration), indent=1) + b"\n")
    np.savez(folder / INTERVALS, allow_pickle=False, **intervals.arrays())


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
    return Scores(same_sign(guess, truth, outputs) - truth, np.sqrt(code))


def fit_calibration(spec: ModelSpec, scores: Sequence[Scores], recordings: str) -> Calibration:
    """Fit the novelty calibration to the scores of held-out episodes, at the default rate of false alarms.

    Raises TraceError where no episode is long enough.
    """
    scores = [each for each in scores if len(each.code)]
    if not scores:
        remedy = f"give more than {spec.settling_samples} rows without a gap"
        raise TraceError("calibration recordings", "no episode is long enough", remedy)
    innovation = np.concatenate([each.innovation for each in scores])
    # the lower limit is for an output that is predicted exactly
    spread = np.maximum(np.sqrt(np.mean(innovation**2, axis=0)), 1e-6 * np.asarray(spec.scaling.std[spec.n_inputs :]))
    hold, tick_s = hold_ticks(spec), 1.0 / spec.rate_hz
    return Calibration(
        false_alarms_per_hour=FALSE_ALARMS,
        spread=tuple(spread.tolist()),
        innovation=ExceedanceModel.fit([smoothed(each.innovation / spread) for each in scores], hold, tick_s),
        every=look_every(spec),
        reconstruction=ExceedanceModel.fit([each.code for each in scores], hold, tick_s) if spec.encoder else None,
        recordings=recordings,
    )


def fit_intervals(predictor: Predictor, episodes: Sequence[HeldOut], horizon: int = HORIZON) -> Intervals:
    """Fit prediction intervals to forecast errors on held-out episodes.

    Where all episodes are shorter than `horizon` ticks plus the warm-up, the intervals are shorter too. Raises
    TraceError where no episode is longer than the warm-up.
    """
    first = predictor.settling_samples
    horizon = min(horizon, max((len(e.shown) for e in episodes), default=0) - first)
    if horizon < 1:
        remedy = f"give more than {first} rows without a gap"
        raise TraceError("calibration recordings", "no episode is long enough", remedy)
    stride = max(1, sum(len(e.shown) for e in episodes) // FORECASTS)
    errors = [forecast_errors(predictor, each, horizon, stride) for each in episodes]
    n_independent = sum(max(0, len(e.shown) - first) // horizon for e in episodes)
    return Intervals.fit(errors, n_independent)


def forecast_errors(predictor: Predictor, episode: HeldOut, horizon: int, stride: int) -> Doubles:
    """Compute the errors [K, N, ny] of forecasts from every `stride`-th tick of an episode."""
    batches = forecasts(predictor, episode.shown, horizon, stride, truth=episode.true)
    errors = [batch.predicted - batch.truth for batch in batches]
    return np.concatenate([np.zeros((0, horizon, predictor.spec.n_outputs)), *errors])
