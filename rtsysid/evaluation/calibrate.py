"""Calibrate: what a bundle needs to know of recordings that training never saw, for novelty and for intervals."""

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
from rtsysid.metrics import same_sign
from rtsysid.model.bundle import Bundle, write_manifest
from rtsysid.model.intervals import FILE as INTERVALS
from rtsysid.model.intervals import Intervals
from rtsysid.model.predictor import Predictor
from rtsysid.spec import Doubles, Floats, ModelSpec
from rtsysid.storage import replacing_folder

HORIZON = 50  # ticks of the intervals
FORECASTS = 4000  # about as many are looked at, evenly over the recordings


class HeldOut(NamedTuple):
    """One unbroken stretch: ``shown`` [n, C] as sensors show it to the model, ``true`` [n, C] what forecasts are of."""

    shown: Floats
    true: Floats


class Scores(NamedTuple):
    """Of one stretch: ``innovation`` [n, ny], and ``code`` [n], the root of the reconstruction error seen last."""

    innovation: Doubles
    code: Doubles


def calibrate(
    predictor: Predictor,
    episodes: Sequence[HeldOut],
    recordings: str,
    *,
    false_alarms_per_hour: float | None = None,
    horizon: int = HORIZON,
) -> tuple[Calibration, Intervals]:
    """Both calibrations from held-out stretches; `recordings` says in words what these are.

    Without `false_alarms_per_hour` it is one, or the least that so short recordings support. Raises TraceError for a
    rate that they do not support, and for stretches that are all too short.
    """
    calibration = fit_calibration(
        predictor.spec, [novelty_scores(predictor, each.shown) for each in episodes], recordings
    )
    lowest = calibration.innovation.lowest_rate
    rate = max(FALSE_ALARMS, lowest) if false_alarms_per_hour is None else false_alarms_per_hour
    return calibration.with_rate(rate), intervals(predictor, episodes, horizon)


def recalibrated(bundle: Bundle, calibration: Calibration, found: Intervals, out: Path) -> Bundle:
    """The bundle with these calibrations as the folder `out`, which may be its own; it gets another id."""
    content = {key: value for key, value in bundle.manifest.items() if key not in ("format", "files", "digest")}
    with replacing_folder(out) as folder:
        for name in bundle.manifest["files"]:
            shutil.copyfile(bundle.verified(name), folder / name)
        write(folder, calibration, found)
        write_manifest(folder, content)
    return Bundle.open(out)


def write(folder: Path, calibration: Calibration, found: Intervals) -> None:
    """The two files, into a bundle that has no manifest yet."""
    (folder / CALIBRATION).write_bytes(msgspec.json.format(msgspec.json.encode(calibration), indent=1) + b"\n")
    np.savez(folder / INTERVALS, allow_pickle=False, **found.arrays())


def novelty_scores(predictor: Predictor, shown: Floats) -> Scores:
    """What a detector sees of a stretch [n, C], from the first sample that it weighs on."""
    nu, every, outputs = predictor.spec.n_inputs, look_every(predictor.spec), predictor.spec.outputs
    predictor.reset()
    measured: list[Floats] = []
    predicted: list[Floats] = []
    code: list[float] = []
    looked = 0.0
    for row in shown:
        if predictor.ready:
            if len(code) % every == 0:
                looked = predictor.reconstruction_error
            measured.append(row[nu:])
            predicted.append(predictor.y.copy())
            code.append(looked)
        predictor.step(row)
    met, guess = (np.array(each, np.float64).reshape(-1, len(outputs)) for each in (measured, predicted))
    return Scores(same_sign(guess, met, outputs) - met, np.sqrt(code))


def fit_calibration(spec: ModelSpec, found: Sequence[Scores], recordings: str) -> Calibration:
    """What is normal by the scores of held-out stretches, at the default rate. Raises TraceError for too few."""
    found = [each for each in found if len(each.code)]
    if not found:
        remedy = f"give more than {spec.settling_samples} rows on end"
        raise TraceError("calibration recordings", "no stretch is long enough", remedy)
    innovation = np.concatenate([each.innovation for each in found])
    # an output that is met exactly has no spread of its own
    spread = np.maximum(np.sqrt(np.mean(innovation**2, axis=0)), 1e-6 * np.asarray(spec.scaling.std[spec.n_inputs :]))
    hold, tick_s = hold_ticks(spec), 1.0 / spec.rate_hz
    return Calibration(
        false_alarms_per_hour=FALSE_ALARMS,
        spread=tuple(spread.tolist()),
        innovation=ExceedanceModel.fit([smoothed(each.innovation / spread) for each in found], hold, tick_s),
        every=look_every(spec),
        reconstruction=ExceedanceModel.fit([each.code for each in found], hold, tick_s) if spec.encoder else None,
        recordings=recordings,
    )


def intervals(predictor: Predictor, episodes: Sequence[HeldOut], horizon: int = HORIZON) -> Intervals:
    """Intervals from forecasts of the stretches that are long enough for one; up to the longest horizon that fits."""
    past = predictor.settling_samples
    horizon = min(horizon, max((len(e.shown) for e in episodes), default=0) - past)
    if horizon < 1:
        raise TraceError("calibration recordings", "no stretch is long enough", f"give more than {past} rows on end")
    stride = max(1, sum(len(e.shown) for e in episodes) // FORECASTS)
    errors = [forecast_errors(predictor, each, horizon, stride) for each in episodes]
    n_independent = sum(max(0, len(e.shown) - past) // horizon for e in episodes)
    return Intervals.fit(errors, n_independent)


def forecast_errors(predictor: Predictor, episode: HeldOut, horizon: int, stride: int) -> Doubles:
    """Errors [K, N, ny] of forecasts from every `stride`-th tick of a stretch."""
    batches = forecasts(predictor, episode.shown, horizon, stride, truth=episode.true)
    errors = [batch.predicted - batch.truth for batch in batches]
    return np.concatenate([np.zeros((0, horizon, predictor.spec.n_outputs)), *errors])
