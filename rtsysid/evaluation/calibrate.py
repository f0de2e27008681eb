"""Calibrate novelty detection and prediction intervals of a bundle on held-out recordings."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import msgspec
import numpy as np

from rtsysid.circle import continuous
from rtsysid.evaluation.forecasts import forecasts, rows_for_forecast
from rtsysid.evaluation.sampled_intervals import futures_for_intervals
from rtsysid.guards.stages import say_stage
from rtsysid.live.calibration import FILE as CALIBRATION
from rtsysid.live.calibration import Calibration, calibrate_novelty
from rtsysid.model.intervals import FILE as INTERVALS
from rtsysid.model.intervals import Intervals
from rtsysid.model.predictor import Predictor
from rtsysid.recordings.pieces import LeftOut, long_enough, too_short
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
    episodes = [HeldOut(*(continuous(rows, predictor.spec.rotations) for rows in each)) for each in episodes]
    _interval_plan(predictor, episodes, horizon)  # before the long work: is an episode long enough?
    say_stage("calibrating novelty")
    calibration = calibrate_novelty(predictor, [each.shown for each in episodes], recordings, false_alarms_per_hour)
    say_stage("calibrating intervals")
    return calibration, fit_intervals(predictor, episodes, horizon)


def calibration_notes(predictor: Predictor, episodes: Sequence[HeldOut], horizon: int = HORIZON) -> tuple[LeftOut, ...]:
    """Return notes about episodes that are too short for novelty, and for intervals of `horizon` ticks."""
    ticks, stride = _interval_plan(predictor, episodes, horizon)
    uses = {
        "novelty": predictor.settling_samples + 1,
        f"intervals of {ticks} ticks": rows_for_forecast(predictor.spec, ticks, stride),
    }
    return tuple(note for use, needed in uses.items() for note in long_enough(episodes, needed, use, _rows)[1])


def _interval_plan(predictor: Predictor, episodes: Sequence[HeldOut], horizon: int) -> tuple[int, int]:
    """Return the ticks of the intervals and the ticks between the starts of forecasts, such that there is a forecast.

    Raises TraceError where no episode is longer than the warm-up.
    """
    longest, settling = max(map(_rows, episodes), default=0), predictor.settling_samples
    horizon = min(horizon, longest - settling)
    if horizon < 1:
        raise too_short("calibration", episodes, settling + 1, "give longer recordings without a gap", _rows)
    stride = max(1, sum(map(_rows, episodes)) // FORECASTS)
    return horizon, stride if rows_for_forecast(predictor.spec, horizon, stride) <= longest else 1


def _rows(episode: HeldOut) -> int:
    return len(episode.shown)


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
    horizon, stride = _interval_plan(predictor, episodes, horizon)
    errors = [forecast_errors(predictor, each, horizon, stride) for each in episodes]
    n_independent = sum(max(0, _rows(each) - predictor.settling_samples) // horizon for each in episodes)
    found = Intervals.fit(errors, n_independent)
    if not predictor.spec.distribution:
        return found
    return replace(found, futures=futures_for_intervals(predictor, episodes, horizon))


def forecast_errors(predictor: Predictor, episode: HeldOut, horizon: int, stride: int) -> Doubles:
    """Compute the errors [K, N, ny] of forecasts from every `stride`-th tick of an episode."""
    batches = forecasts(predictor, episode.shown, horizon, stride, truth=episode.true)
    errors = [batch.predicted - batch.truth for batch in batches]
    return np.concatenate([np.zeros((0, horizon, predictor.spec.n_outputs)), *errors])
