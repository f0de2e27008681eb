"""Calibrate novelty detection and prediction intervals of a bundle on held-out recordings."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from rtsysid.errors import TraceError
from rtsysid.evaluation.forecasts import forecasts
from rtsysid.live.calibration import FILE as CALIBRATION
from rtsysid.live.calibration import Calibration, calibrate_novelty
from rtsysid.model.intervals import FILE as INTERVALS
from rtsysid.model.intervals import Intervals
from rtsysid.model.predictor import Predictor
from rtsysid.spec import Doubles, Floats

HORIZON = 50  # ticks of the intervals
FORECASTS = 4000  # approximate number of forecasts, evenly spread over the recordings


class HeldOut(NamedTuple):
    """Hold one held-out episode without gaps: model inputs ``shown`` [n, C], reference of forecasts ``true`` [n, C].

    Both are the same array, unless the model was trained with sensor noise.
    """

    shown: Floats
    true: Floats


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
    calibration = calibrate_novelty(predictor, [each.shown for each in episodes], recordings, false_alarms_per_hour)
    return calibration, fit_intervals(predictor, episodes, horizon)


def calibration_files(calibration: Calibration, intervals: Intervals) -> dict[str, bytes]:
    """Return the two calibration files of a bundle, by name."""
    quantiles = io.BytesIO()
    np.savez(quantiles, allow_pickle=False, **intervals.arrays())
    plain = msgspec.json.format(msgspec.json.encode(calibration), indent=1) + b"\n"
    return {CALIBRATION: plain, INTERVALS: quantiles.getvalue()}


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
