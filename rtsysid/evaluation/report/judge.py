"""What there is to say about a model on recordings, as numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from rtsysid.config import Config, Data
from rtsysid.errors import BundleError
from rtsysid.evaluation.forecasts import forecasts
from rtsysid.evaluation.horizon import Evaluation, stretches
from rtsysid.evaluation.residuals import CrossCorrelation, OneStep, Whiteness, cross_correlation, one_step, whiteness
from rtsysid.metrics import fit_percent, group_errors, nrmse
from rtsysid.model.bundle import Bundle
from rtsysid.model.intervals import Intervals
from rtsysid.model.parity import Row, verify
from rtsysid.model.predictor import Predictor
from rtsysid.recordings.resample import resample
from rtsysid.recordings.trace import Episode, Trace, clock
from rtsysid.spec import Doubles, ModelSpec

FORECASTS = 4000  # about as many are looked at, evenly over the recordings
WORST = 3  # stretches shown
SHADED = 0.9  # coverage of the intervals in the plots
STATED = (0.5, 0.8, 0.9, 0.95)  # coverages that are measured


class OutputFit(msgspec.Struct, frozen=True):
    """How well one output is met, one tick ahead and `horizon` ticks ahead in free run.

    ``bias``: mean residual one tick ahead over its standard deviation.
    """

    name: str
    unit: str
    nrmse: float
    fit_percent: float
    free_nrmse: float
    free_fit_percent: float
    bias: float


class Stretch(msgspec.Struct, frozen=True):
    """A forecast that went wrong: `times` its error over that of the median forecast, mean of the groups.

    ``groups``: the same per group. ``outside``: channels that left the range of the training recordings in it. ``t``
    [past + N + 1] s; ``measured`` over all of it; ``predicted`` from the start on, which is at row `past`. ``half``: of
    the width of its interval of coverage `SHADED`, from the start on; nothing where the bundle has no intervals.
    """

    recording: str
    start_s: float
    times: float
    groups: dict[str, float]
    outside: list[str]
    past: int
    t: list[float]
    measured: dict[str, list[float]]
    predicted: dict[str, list[float]]
    half: dict[str, list[float]] = {}


class Covered(msgspec.Struct, frozen=True):
    """Share of the ticks of all forecasts that lie inside the interval whose coverage is ``stated``, by group."""

    stated: float
    measured: dict[str, float]


@dataclass(frozen=True)
class Judgement:
    """All numbers of a report. ``recordings``: what they were measured on, in words."""

    spec: ModelSpec
    recordings: str
    evaluation: Evaluation
    fits: list[OutputFit]
    residuals: int
    whiteness: Whiteness
    cross: CrossCorrelation
    worst: list[Stretch]
    backends: list[Row]
    coverage: list[Covered]

    def to_builtins(self) -> dict[str, Any]:
        """Plain values for JSON."""
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
    """K forecasts of N ticks: where each starts, and `predicted` beside `truth` [K, N, ny]."""

    starts: list[tuple[Episode, int]]
    predicted: Doubles
    truth: Doubles


def recordings_to_judge(bundle: Bundle, paths: Sequence[Any]) -> tuple[Trace, str]:
    """Read recordings as the model's configuration says, and keep what it was not trained on, where that is known.

    Given the very recordings of the training run, this is their validation part. The second value says what it is.
    Raises BundleError for a manifest without its training, TraceError for recordings that cannot be judged on.
    """
    try:
        training = bundle.manifest["training"]
        config = msgspec.convert(training["config"], Config)
    except (KeyError, TypeError, msgspec.ValidationError):
        raise BundleError(f"bundle {bundle.folder}", "no training configuration", "export it again") from None
    data = config.data
    trace = Trace.read_all(paths, bundle.spec.channels, **clock(data.time, data.rate_hz))
    if data.resample:
        trace = resample(trace, data.rate_hz, max_age=data.max_age)
    trace = trace.segments(data.rate_hz, nan="split")
    return _held_out(trace, {digest for _, digest in training["sources"]}, data)


def _held_out(trace: Trace, trained: set[str], data: Data) -> tuple[Trace, str]:
    given = [digest for _, digest in trace.sources]
    known = sum(digest in trained for digest in given)
    if known == len(given) and set(given) == trained:
        part = trace.split(data.validation)[1]
        words = f"the validation part ({_seconds(part)}) of the recordings of the training run"
        return part, f"{words}, which was trained on in the end: which flatters" if data.train_on_validation else words
    if known:
        return trace, f"{len(given)} recordings ({_seconds(trace)}), {known} of them seen in training: which flatters"
    return trace, f"{len(given)} recordings ({_seconds(trace)}) that training never saw"


def stride_for(trace: Trace) -> int:
    """Ticks between the starts of about `FORECASTS` forecasts."""
    return max(1, len(trace) // FORECASTS)


def judge(bundle: Bundle, trace: Trace, recordings: str, evaluation: Evaluation, stride: int) -> Judgement:
    """Measure everything of a report on a trace whose `evaluation` was made before, with the same `stride`."""
    spec, predictor = bundle.spec, Predictor.load(bundle)
    trace = stretches(bundle, trace)
    steps = one_step(predictor, trace.episodes)
    ahead = forecast_all(predictor, trace.episodes, evaluation.horizon, stride)
    residuals, inputs = [part.residual for part in steps], [part.inputs for part in steps]
    return Judgement(
        spec,
        recordings,
        evaluation,
        output_fits(spec, steps, ahead),
        sum(map(len, residuals)),
        whiteness(residuals),
        cross_correlation(residuals, inputs),
        worst_stretches(spec, ahead, intervals=predictor.intervals),
        verify(bundle),
        [] if predictor.intervals is None else covered(spec, ahead, predictor.intervals),
    )


def forecast_all(predictor: Predictor, episodes: Sequence[Episode], horizon: int, stride: int) -> Forecasts:
    """Forecast from every `stride`-th tick of every episode, with the state that a live run has there."""
    starts: list[tuple[Episode, int]] = []
    predicted, truth = [], []
    for episode in episodes:
        for batch in forecasts(predictor, episode.values, horizon, stride):
            predicted.append(batch.predicted)
            truth.append(batch.truth.astype(np.float64))
            starts += [(episode, int(tick)) for tick in batch.starts]
    return Forecasts(starts, np.concatenate(predicted), np.concatenate(truth))


def output_fits(spec: ModelSpec, steps: Sequence[OneStep], forecasts: Forecasts) -> list[OutputFit]:
    """Each output's scores over all ticks one tick ahead, and over the last ticks of all forecasts."""
    guess, true = (np.concatenate([getattr(part, name) for part in steps]) for name in ("predicted", "measured"))
    last, met = forecasts.predicted[:, -1], forecasts.truth[:, -1]
    with np.errstate(over="ignore"):  # a forecast on its way to infinity
        free = nrmse(last, met) if np.isfinite(last).all() else np.full(spec.n_outputs, np.inf)
    residual = true - guess
    spread = residual.std(axis=0)
    bias = np.divide(residual.mean(axis=0), spread, out=np.zeros_like(spread), where=spread > 0)
    near = nrmse(guess, true)
    fits = (near, fit_percent(guess, true), free, 100.0 * (1.0 - free), bias)
    return [
        OutputFit(channel.name, channel.unit, *map(float, row))
        for channel, row in zip(spec.outputs, np.column_stack(fits), strict=True)
    ]


def covered(spec: ModelSpec, forecasts: Forecasts, intervals: Intervals) -> list[Covered]:
    """What became of the coverages that the intervals state, as far as they reach."""
    off = np.abs(forecasts.predicted - forecasts.truth)[:, : intervals.horizon]
    groups: dict[str, list[int]] = {}
    for column, channel in enumerate(spec.outputs):
        groups.setdefault(channel.group or channel.name, []).append(column)
    found = []
    for stated in (each for each in STATED if each <= intervals.max_coverage):
        inside = (off <= intervals.half_widths(stated, off.shape[1])).mean((0, 1))
        found.append(Covered(stated, {name: float(inside[columns].mean()) for name, columns in groups.items()}))
    return found


def worst_stretches(
    spec: ModelSpec, forecasts: Forecasts, count: int = WORST, intervals: Intervals | None = None
) -> list[Stretch]:
    """The forecasts with the largest error, no two of which overlap, the worst first.

    An error is the mean over the horizon, per group in units of the median forecast, so that every group counts alike.
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
    stretches = [_stretch(spec, forecasts, k, {name: float(each[k]) for name, each in times.items()}) for k in chosen]
    if intervals is None or intervals.max_coverage < SHADED:
        return stretches
    ahead = intervals.half_widths(SHADED, min(horizon, intervals.horizon))
    half = np.concatenate((np.zeros((1, spec.n_outputs)), ahead)).T.tolist()
    names = [channel.name for channel in spec.outputs]
    return [msgspec.structs.replace(each, half=dict(zip(names, half, strict=True))) for each in stretches]


def _relative(error: Doubles) -> Doubles:
    typical = float(np.median(error))
    return np.asarray(error / typical if 0 < typical < np.inf else np.where(error > typical, np.inf, 1.0))


def _apart(a: tuple[Episode, int], b: tuple[Episode, int], horizon: int) -> bool:
    return a[0] is not b[0] or abs(a[1] - b[1]) > horizon


def _stretch(spec: ModelSpec, forecasts: Forecasts, k: int, groups: dict[str, float]) -> Stretch:
    (episode, tick), horizon = forecasts.starts[k], forecasts.truth.shape[1]
    past = min(tick, max(spec.taps, horizon // 2))
    rows = slice(tick - past, tick + horizon + 1)
    measured = episode.values[rows, spec.n_inputs :].astype(np.float64)
    predicted = np.concatenate((measured[past : past + 1], forecasts.predicted[k]))
    names = [channel.name for channel in spec.outputs]
    return Stretch(
        episode.recording,
        float(episode.t[tick]),
        float(np.mean(list(groups.values()))),
        groups,
        _beyond(spec, episode, rows),
        past,
        episode.t[rows].tolist(),
        dict(zip(names, measured.T.tolist(), strict=True)),
        dict(zip(names, predicted.T.tolist(), strict=True)),
    )


def _beyond(spec: ModelSpec, episode: Episode, rows: slice) -> list[str]:
    """Channels that leave the range of training; a channel whose level means nothing to the model never does."""
    values = episode.values[rows]
    out = (values < np.asarray(spec.scaling.low, np.float32)) | (values > np.asarray(spec.scaling.high, np.float32))
    return [c.name for i, c in enumerate(spec.channels) if out[:, i].any() and i not in spec.free_columns]


def _seconds(trace: Trace) -> str:
    return f"{trace.duration:.0f} s"
