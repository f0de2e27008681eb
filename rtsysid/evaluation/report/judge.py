"""Measure everything that a report shows of a model on recordings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from rtsysid.circle import nearest, unwrapped
from rtsysid.evaluation.forecasts import forecasts, rows_for_forecast
from rtsysid.evaluation.horizon import Evaluation, stretches
from rtsysid.evaluation.metrics import fit_percent, group_errors, nrmse
from rtsysid.evaluation.residuals import (
    CrossCorrelation,
    OneStep,
    Whiteness,
    cross_correlation,
    lags_for,
    one_step,
    whiteness,
)
from rtsysid.live.trained_range import TrainedRange
from rtsysid.model.bundle import Bundle
from rtsysid.model.golden import Row
from rtsysid.model.intervals import Intervals
from rtsysid.model.parity import verify
from rtsysid.model.predictor import Predictor
from rtsysid.recordings.pieces import too_short
from rtsysid.recordings.trace import Episode, Trace
from rtsysid.spec import Doubles, ModelSpec

FORECASTS = 4000  # approximate number of forecasts, evenly spread over the recordings
WORST = 3  # worst forecasts on the page
SHADED = 0.9  # coverage of the intervals in the plots
STATED = (0.5, 0.8, 0.9, 0.95)  # coverages to check


class OutputFit(msgspec.Struct, frozen=True):
    """Score one output: one tick ahead, and at the end of the horizon in free run (``free_``).

    ``bias``: mean one-step residual over its standard deviation. Fits are in percent, NRMSE has no unit.
    """

    name: str
    unit: str
    nrmse: float
    fit_percent: float
    free_nrmse: float
    free_fit_percent: float
    bias: float


class WorstForecast(msgspec.Struct, frozen=True):
    """Describe one forecast with a large error.

    ``times``: its error over the error of the median forecast, averaged over the groups; ``groups``: the same per
    group. ``outside``: channels outside the range of the training recordings. ``n_before``: rows before the start of
    the forecast. ``t`` [n_before + N + 1] s and ``measured`` cover all rows; ``predicted`` [N + 1] begins at the start.
    ``half``: half the width of the interval of coverage `SHADED`, from the start; empty without intervals.
    """

    recording: str
    start_s: float
    times: float
    groups: dict[str, float]
    outside: list[str]
    n_before: int
    t: list[float]
    measured: dict[str, list[float]]
    predicted: dict[str, list[float]]
    half: dict[str, list[float]] = {}


class Covered(msgspec.Struct, frozen=True):
    """Compare a stated coverage with the measured one: the share of all ticks inside the interval, by group."""

    stated: float
    measured: dict[str, float]


@dataclass(frozen=True)
class Judgement:
    """Hold all numbers of a report.

    ``recordings``: text about the recordings. ``residuals``: number of one-step residuals. ``cross``: correlation of
    residuals with inputs.
    """

    spec: ModelSpec
    recordings: str
    evaluation: Evaluation
    fits: list[OutputFit]
    residuals: int
    whiteness: Whiteness
    cross: CrossCorrelation
    worst: list[WorstForecast]
    backends: list[Row]
    coverage: list[Covered]

    def to_builtins(self) -> dict[str, Any]:
        """Convert to plain values for JSON."""
        return {
            "recordings": self.recordings,
            "evaluation": msgspec.to_builtins(self.evaluation),
            "fits": msgspec.to_builtins(self.fits),
            "residuals": self.residuals,
            "autocorrelation": {"r": self.whiteness.r.T.tolist(), "bound": self.whiteness.bound},
            "input_correlation": {
                "lags": self.cross.lags.tolist(),
                "r": self.cross.r.transpose(1, 2, 0).tolist(),
                "bounds": self.cross.bounds.tolist(),
            },
            "worst": msgspec.to_builtins(self.worst),
            "backends": msgspec.to_builtins(self.backends),
            "coverage": msgspec.to_builtins(self.coverage),
        }


@dataclass(frozen=True, eq=False)
class Forecasts:
    """Hold K forecasts of N ticks: episode and tick of each start, `predicted` and `truth` [K, N, ny]."""

    starts: list[tuple[Episode, int]]
    predicted: Doubles
    truth: Doubles


def stride_for(trace: Trace) -> int:
    """Compute the ticks between starts that give about `FORECASTS` forecasts."""
    return max(1, len(trace) // FORECASTS)


def judge(bundle: Bundle, trace: Trace, recordings: str, evaluation: Evaluation, stride: int) -> Judgement:
    """Measure all numbers of a report on a trace.

    `evaluation` must come from the same trace and `stride`; `recordings` describes the trace in words. Raises
    TraceError where no episode is longer than the warm-up, or where there are fewer residuals than lags.
    """
    spec, predictor = bundle.spec, Predictor.load(bundle)
    trace = stretches(bundle, trace)
    steps = one_step(predictor, trace.episodes)
    ahead = forecast_all(predictor, trace.episodes, evaluation.horizon, stride)
    residuals, inputs = [step.residual for step in steps], [step.inputs for step in steps]
    return Judgement(
        spec,
        recordings,
        evaluation,
        output_fits(spec, steps, ahead),
        sum(map(len, residuals)),
        whiteness(residuals),
        cross_correlation(residuals, inputs, lags_for(residuals, evaluation.horizon)),
        worst_forecasts(spec, ahead, intervals=predictor.intervals),
        [row for row in verify(bundle) if isinstance(row, Row)],
        [] if predictor.intervals is None else interval_coverage(spec, ahead, predictor.intervals),
    )


def forecast_all(predictor: Predictor, episodes: Sequence[Episode], horizon: int, stride: int) -> Forecasts:
    """Forecast from every `stride`-th tick of every episode, with the state that a live run has there.

    Raises TraceError where no episode is long enough.
    """
    starts: list[tuple[Episode, int]] = []
    predicted, truth = [], []
    for episode in episodes:
        for batch in forecasts(predictor, episode.values, horizon, stride):
            predicted.append(batch.predicted)
            truth.append(batch.truth.astype(np.float64))
            starts += [(episode, int(tick)) for tick in batch.starts]
    if not starts:
        needed = rows_for_forecast(predictor.spec, horizon, stride)
        raise too_short(f"forecasts of {horizon} ticks", episodes, needed, "give longer recordings")
    return Forecasts(starts, np.concatenate(predicted), np.concatenate(truth))


def output_fits(spec: ModelSpec, steps: Sequence[OneStep], forecasts: Forecasts) -> list[OutputFit]:
    """Score each output: one tick ahead over all ticks, and at the last tick of all forecasts."""
    guess, true = (np.concatenate([getattr(step, name) for step in steps]) for name in ("predicted", "measured"))
    last, truth = forecasts.predicted[:, -1], forecasts.truth[:, -1]
    true, truth = unwrapped(true, spec.outputs), unwrapped(truth, spec.outputs)  # a jump by a turn is no spread
    guess, last = nearest(guess, true, spec.outputs), nearest(last, truth, spec.outputs)
    with np.errstate(over="ignore"):  # a forecast on its way to infinity
        free = nrmse(last, truth) if np.isfinite(last).all() else np.full(spec.n_outputs, np.inf)
    residual = true - guess
    spread = residual.std(axis=0)
    bias = np.divide(residual.mean(axis=0), spread, out=np.zeros_like(spread), where=spread > 0)
    near = nrmse(guess, true)
    fits = (near, fit_percent(guess, true), free, 100.0 * (1.0 - free), bias)
    return [
        OutputFit(channel.name, channel.unit, *map(float, row))
        for channel, row in zip(spec.outputs, np.column_stack(fits), strict=True)
    ]


def interval_coverage(spec: ModelSpec, forecasts: Forecasts, intervals: Intervals) -> list[Covered]:
    """Check each coverage of `STATED` that the intervals support, up to their horizon."""
    off = np.abs(forecasts.predicted - forecasts.truth)[:, : intervals.horizon]
    groups: dict[str, list[int]] = {}
    for column, channel in enumerate(spec.outputs):
        groups.setdefault(channel.group or channel.name, []).append(column)
    checks = []
    for stated in (each for each in STATED if each <= intervals.max_coverage):
        inside = (off <= intervals.half_widths(stated, off.shape[1])).mean((0, 1))
        checks.append(Covered(stated, {name: float(inside[columns].mean()) for name, columns in groups.items()}))
    return checks


def worst_forecasts(
    spec: ModelSpec, forecasts: Forecasts, count: int = WORST, intervals: Intervals | None = None
) -> list[WorstForecast]:
    """Select the `count` forecasts with the largest error, the worst first; no two of them overlap.

    The error is averaged over the horizon. It is in units of the median forecast of each group, so that all groups
    weigh the same.
    """
    errors = {
        name: error.mean(axis=1)
        for name, error in group_errors(forecasts.predicted, forecasts.truth, spec.outputs).items()
    }
    times = {name: _relative(error) for name, error in errors.items()}
    score = np.mean(list(times.values()), axis=0)
    chosen: list[int] = []
    horizon = forecasts.truth.shape[1]
    for k in np.argsort(-score, kind="stable"):
        if len(chosen) == count:
            break
        if all(_apart(forecasts.starts[k], forecasts.starts[other], horizon) for other in chosen):
            chosen.append(int(k))
    ratios = [{name: float(each[k]) for name, each in times.items()} for k in chosen]
    worst = [_worst_forecast(spec, forecasts, k, each) for k, each in zip(chosen, ratios, strict=True)]
    if intervals is None or intervals.max_coverage < SHADED:
        return worst
    ahead = intervals.half_widths(SHADED, min(horizon, intervals.horizon))
    half = np.concatenate((np.zeros((1, spec.n_outputs)), ahead)).T.tolist()
    names = [channel.name for channel in spec.outputs]
    return [msgspec.structs.replace(each, half=dict(zip(names, half, strict=True))) for each in worst]


def _relative(error: Doubles) -> Doubles:
    typical = float(np.median(error))
    return np.asarray(error / typical if 0 < typical < np.inf else np.where(error > typical, np.inf, 1.0))


def _apart(a: tuple[Episode, int], b: tuple[Episode, int], horizon: int) -> bool:
    return a[0] is not b[0] or abs(a[1] - b[1]) > horizon


def _worst_forecast(spec: ModelSpec, forecasts: Forecasts, k: int, groups: dict[str, float]) -> WorstForecast:
    (episode, tick), horizon = forecasts.starts[k], forecasts.truth.shape[1]
    before = min(tick, max(spec.taps, horizon // 2))
    rows = slice(tick - before, tick + horizon + 1)
    measured = episode.values[rows, spec.n_inputs :].astype(np.float64)
    predicted = np.concatenate((measured[before : before + 1], forecasts.predicted[k]))
    names = [channel.name for channel in spec.outputs]
    return WorstForecast(
        episode.recording,
        float(episode.t[tick]),
        float(np.mean(list(groups.values()))),
        groups,
        _beyond(spec, episode, rows),
        before,
        episode.t[rows].tolist(),
        dict(zip(names, measured.T.tolist(), strict=True)),
        dict(zip(names, predicted.T.tolist(), strict=True)),
    )


def _beyond(spec: ModelSpec, episode: Episode, rows: slice) -> list[str]:
    """Channels outside the range of training. Channels whose level the model does not use are left out."""
    out = TrainedRange(spec, 0.0, 0.0).beyond(episode.values[rows])
    return [c.name for i, c in enumerate(spec.channels) if out[:, i].any() and i not in spec.free_columns]
