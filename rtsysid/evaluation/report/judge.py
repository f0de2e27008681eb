"""Measure everything that a report shows of a model on recordings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from rtsysid.evaluation.horizon import Evaluation
from rtsysid.evaluation.metrics import group_errors
from rtsysid.evaluation.report.causes import Cause, causes_of
from rtsysid.evaluation.report.lags import LateInput
from rtsysid.evaluation.report.missing_input import UnusedColumn
from rtsysid.evaluation.report.observed import FORECASTS, Observed
from rtsysid.evaluation.report.quantities import ShownOutputs
from rtsysid.evaluation.report.study import Study
from rtsysid.evaluation.report.verdict import Verdict, reach_of, verdict_of
from rtsysid.evaluation.residuals import CrossCorrelation, Whiteness, cross_correlation, lags_for, whiteness
from rtsysid.live.trained_range import TrainedRange
from rtsysid.model.bundle import Bundle
from rtsysid.model.golden import Row
from rtsysid.model.intervals import Intervals
from rtsysid.model.parity import verify
from rtsysid.model.predictor import Predictor
from rtsysid.recordings.trace import Episode, Trace
from rtsysid.spec import Doubles, ModelSpec

WORST = 3  # worst forecasts on the page
SHADED = 0.9  # coverage of the intervals in the plots
STATED = (0.5, 0.8, 0.9, 0.95)  # coverages to check


class OutputFit(msgspec.Struct, frozen=True):
    """Score one output, or one rotation: one tick ahead, and at the end of the horizon in free run (``free_``).

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

    ``start_s``: time from the start of its recording. ``times``: its error over the error of the median forecast,
    averaged over the groups; ``groups``: the same per group. ``outside``: channels outside the range of the training
    recordings. ``n_before``: rows before the start of the forecast. ``t`` [n_before + N + 1] s and ``measured`` cover
    all rows, by shown value; ``predicted`` [N + 1] begins at the start. ``half``: half the width of the interval of
    coverage `SHADED`, from the start; empty without intervals.
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


@dataclass(frozen=True, eq=False)
class Judgement:
    """Hold all numbers of a report.

    ``recordings``: text about the recordings. ``residuals``: number of one-step residuals. ``cross``: correlation of
    residuals with inputs. ``causes``: of the error, the largest effect first. ``every``: the episodes with predictions.
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
    causes: list[Cause]
    verdict: Verdict
    every: Sequence[Observed] = field(repr=False)
    intervals: Intervals | None = field(repr=False)

    @property
    def shown(self) -> ShownOutputs:
        """Return how outputs are shown."""
        return ShownOutputs(self.spec)

    def to_builtins(self) -> dict[str, Any]:
        """Convert to plain values for JSON."""
        return {
            "recordings": self.recordings,
            "verdict": msgspec.to_builtins(self.verdict),
            "causes": [{**msgspec.to_builtins(each), "grade": each.grade} for each in self.causes],
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
    """Hold K forecasts of N ticks: episode and tick of each start, `predicted` and `truth` [K, N, ny].

    ``begins``: the time of the first sample of each recording, in s.
    """

    starts: list[tuple[Episode, int]]
    predicted: Doubles
    truth: Doubles
    begins: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, every: Sequence[Observed]) -> Forecasts:
        """Join the forecasts of all episodes."""
        starts = [(o.episode, int(tick)) for o in every for tick in o.starts]
        predicted, truth = (np.concatenate([getattr(o, name) for o in every]) for name in ("predicted", "truth"))
        return cls(starts, predicted, truth, {o.episode.recording: o.start_s for o in every})


def stride_for(trace: Trace) -> int:
    """Compute the ticks between starts that give about `FORECASTS` forecasts."""
    return max(1, len(trace) // FORECASTS)


def judge(
    bundle: Bundle,
    every: Sequence[Observed],
    recordings: str,
    evaluation: Evaluation,
    stride: int,
    *,
    columns: Sequence[UnusedColumn] = (),
    faults: Sequence[Cause] = (),
    late: Sequence[LateInput] = (),
) -> Judgement:
    """Measure all numbers of a report on observed recordings; `observe` gives `every` and `evaluation`.

    `recordings` describes them in words; `columns` are those that the model does not use; `faults` are known faults of
    the recordings, `late` the inputs that act late in them. Raises TraceError where residuals are fewer than lags.
    """
    spec, predictor, shown = bundle.spec, Predictor.load(bundle), ShownOutputs(bundle.spec)
    ahead, steps = Forecasts.of(every), [o.steps for o in every]
    residuals = [shown.differences(step.measured, step.predicted) for step in steps]
    inputs = [step.inputs for step in steps]
    causes = [
        *faults,
        *causes_of(bundle, predictor, Study.of(spec, every, stride), columns, beyond_training(spec, every), late),
    ]
    worst = worst_forecasts(spec, ahead, intervals=predictor.intervals)
    ringing = _ringing_groups(shown, causes, evaluation)
    where = f"{worst[0].recording} at {worst[0].start_s:.3g} s"
    return Judgement(
        spec,
        recordings,
        evaluation,
        output_fits(spec, every, ahead),
        sum(map(len, residuals)),
        whiteness(residuals),
        cross_correlation(residuals, inputs, lags_for(residuals, evaluation.horizon)),
        worst,
        [row for row in verify(bundle) if isinstance(row, Row)],
        [] if predictor.intervals is None else interval_coverage(spec, ahead, predictor.intervals),
        causes,
        verdict_of(spec, reach_of(spec, every, ringing), evaluation.horizon, where, causes),
        every,
        predictor.intervals,
    )


def beyond_training(spec: ModelSpec, every: Sequence[Observed]) -> NDArray[np.bool_]:
    """Tell which values [n, C] of all rows are outside the range of training."""
    known = TrainedRange(spec, 0.02, 0.0)
    return np.concatenate([known.beyond(o.episode.values) for o in every])


def _ringing_groups(shown: ShownOutputs, causes: Sequence[Cause], evaluation: Evaluation) -> dict[str, int]:
    """Return the groups whose forecasts ring, with the tick from where on."""
    ringing = {name: each.from_tick for each in causes if each.fault == "ringing" for name in each.names}
    groups = {name: q.group for q in shown.quantities for name in (shown.names[c] for c in q.columns)}
    return {groups[name]: tick for name, tick in ringing.items() if tick <= evaluation.horizon}


def output_fits(spec: ModelSpec, every: Sequence[Observed], forecasts: Forecasts) -> list[OutputFit]:
    """Score each output or rotation: one tick ahead over all ticks, and at the last tick of all forecasts."""
    guess, true = (np.concatenate([getattr(o.steps, name) for o in every]) for name in ("predicted", "measured"))
    return quantity_fits(spec, (guess, true), (forecasts.predicted[:, -1], forecasts.truth[:, -1]))


def quantity_fits(spec: ModelSpec, near: tuple[Doubles, Doubles], far: tuple[Doubles, Doubles]) -> list[OutputFit]:
    """Score pairs of predicted and measured outputs [n, ny]: one tick ahead, and at the end of the horizon."""
    shown = ShownOutputs(spec)
    (errors, free), fits = (shown.differences(*pair) for pair in (near, far)), list[OutputFit]()
    spreads = [_spreads(shown, true) for _, true in (near, far)]
    for k, q in enumerate(shown.quantities):
        own = errors[:, list(q.columns)]
        one, end = (
            _ratio_of(each[:, list(q.columns)], spread[k]) for each, spread in zip((errors, free), spreads, strict=True)
        )
        deviation = float(np.sqrt(own.var(0).sum()))
        bias = (
            float(-own.mean(0)[0] if own.shape[1] == 1 else np.linalg.norm(own.mean(0))) / deviation
            if deviation
            else 0.0
        )
        fits.append(OutputFit(q.name, q.unit, one, 100 * (1 - one), end, 100 * (1 - end), bias))
    return fits


def _ratio_of(errors: Doubles, spread: float) -> float:
    """Return the RMS of errors [n, m] over a spread: inf where it is not finite, or nothing moves."""
    with np.errstate(over="ignore", invalid="ignore"):
        size = float(np.sqrt((errors**2).sum(1).mean()))
    return size / spread if spread > 0 and np.isfinite(size) else 0.0 if size == 0 else np.inf


def _spreads(shown: ShownOutputs, truth: Doubles) -> list[float]:
    """Return the standard deviation of each output [n, ny], and the RMS angle of each rotation from its mean."""
    values = shown.values(truth)
    middle = np.repeat(truth.mean(0, keepdims=True), len(truth), axis=0)
    turned = shown.differences(truth, middle)
    return [
        float(np.sqrt((turned[:, list(q.columns)] ** 2).sum(1).mean())) if len(q.columns) == 3
        else float(values[:, q.columns[0]].std())
        for q in shown.quantities
    ]  # fmt: skip


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
    half = half_widths(spec, intervals, horizon)
    return [msgspec.structs.replace(each, half=half) for each in worst]


def half_widths(spec: ModelSpec, intervals: Intervals, horizon: int) -> dict[str, list[float]]:
    """Return half the width of the interval of coverage `SHADED` after 0, 1, .. ticks, of each output but rotations."""
    ahead = intervals.half_widths(SHADED, min(horizon, intervals.horizon))
    half = np.concatenate((np.zeros((1, spec.n_outputs)), ahead))
    return {q.name: half[:, q.outputs[0]].tolist() for q in ShownOutputs(spec).quantities if len(q.outputs) == 1}


def _relative(error: Doubles) -> Doubles:
    typical = float(np.median(error))
    return np.asarray(error / typical if 0 < typical < np.inf else np.where(error > typical, np.inf, 1.0))


def _apart(a: tuple[Episode, int], b: tuple[Episode, int], horizon: int) -> bool:
    return a[0] is not b[0] or abs(a[1] - b[1]) > horizon


def _worst_forecast(spec: ModelSpec, forecasts: Forecasts, k: int, groups: dict[str, float]) -> WorstForecast:
    (episode, tick), horizon, shown = forecasts.starts[k], forecasts.truth.shape[1], ShownOutputs(spec)
    before = min(tick, max(spec.taps, horizon // 2))
    rows = slice(tick - before, tick + horizon + 1)
    outputs = episode.values[rows, spec.n_inputs :].astype(np.float64)
    measured = shown.values(outputs)
    ahead = np.concatenate((outputs[before : before + 1], forecasts.predicted[k]))
    predicted = shown.near_truth(ahead, outputs[before:], measured[before:])
    begin = forecasts.begins.get(episode.recording, 0.0)
    return WorstForecast(
        episode.recording,
        float(episode.t[tick] - begin),
        float(np.mean(list(groups.values()))),
        groups,
        _beyond(spec, episode, rows),
        before,
        (episode.t[rows] - begin).tolist(),
        dict(zip(shown.names, measured.T.tolist(), strict=True)),
        dict(zip(shown.names, predicted.T.tolist(), strict=True)),
    )


def _beyond(spec: ModelSpec, episode: Episode, rows: slice) -> list[str]:
    """Channels outside the range of training. Channels whose level the model does not use are left out."""
    out = TrainedRange(spec, 0.0, 0.0).beyond(episode.values[rows])
    return [c.name for i, c in enumerate(spec.channels) if out[:, i].any() and i not in spec.free_columns]
