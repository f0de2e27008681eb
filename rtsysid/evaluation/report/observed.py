"""Run a model over recordings once, and keep all that a report needs of it.

One pass over the samples gives the prediction of each next tick, the novelty, and the forecasts from about
`FORECASTS` ticks; a free run from the first of them to the end follows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from rtsysid.circle import nearest, unwrapped_plan
from rtsysid.evaluation.baselines import Hold, LinearArx
from rtsysid.evaluation.forecasts import BATCH, rows_for_forecast
from rtsysid.evaluation.horizon import Evaluation, stretches
from rtsysid.evaluation.metrics import HorizonErrors, forecast_windows, group_errors
from rtsysid.evaluation.residuals import OneStep
from rtsysid.guards.stages import RowCount
from rtsysid.live.novelty import Novelty
from rtsysid.model.backends.protocol import Snapshot, stacked
from rtsysid.model.bundle import Bundle
from rtsysid.model.predictor import Predictor
from rtsysid.recordings.trace import Episode, Trace
from rtsysid.spec import Doubles, Floats, ModelSpec

FORECASTS = 4000  # approximate number of forecasts, evenly spread over the recordings
PREDICTORS = ("model", "linear ARX", "hold")


@dataclass(frozen=True, eq=False)
class Observed:
    """Hold what a model says along one episode of n rows without a gap.

    ``start_s``: time of the first sample of its recording, in s. ``one_step``: prediction of y_k from the samples up to
    k - 1, ``free``: of one run that begins at `first` and never sees a measurement again; both [n, ny], NaN before they
    begin. ``starts`` [K]: rows of the forecasts `predicted`, `linear` and `truth` [K, N, ny]. ``novelty`` [n]: score
    over its threshold; empty without a calibration.
    """

    episode: Episode = field(repr=False)
    start_s: float
    first: int
    one_step: Doubles = field(repr=False)
    free: Doubles = field(repr=False)
    starts: NDArray[np.intp] = field(repr=False)
    snapshots: Snapshot = field(repr=False)
    predicted: Doubles = field(repr=False)
    linear: Doubles = field(repr=False)
    truth: Doubles = field(repr=False)
    novelty: Doubles = field(repr=False)

    @property
    def seconds(self) -> Doubles:
        """Return the times [n] in s from the start of the recording."""
        return self.episode.t - self.start_s

    @cached_property
    def steps(self) -> OneStep:
        """Return the predictions one tick ahead after the warm-up."""
        rows = slice(self.first + 1, None)
        values, nu = self.episode.values[rows].astype(np.float64), self.episode.values.shape[1] - self.one_step.shape[1]
        return OneStep(self.episode.name, self.seconds[rows], values[:, :nu], values[:, nu:], self.one_step[rows])


def observe(
    bundle: Bundle, trace: Trace, horizon: int, stride: int, label: str = "judging"
) -> tuple[list[Observed], Evaluation]:
    """Run a model over every episode; forecast `horizon` ticks from every `stride`-th tick. Compare with baselines.

    Each forecast has the state of a live run. `label`: of the stage that shows how many rows are done. Raises
    BundleError where the channels differ, TraceError where no episode is long enough.
    """
    bundle.require(trace.channels, "recording")
    predictor, arx = Predictor.load(bundle), LinearArx.of(bundle)
    past = max(arx.lags, bundle.spec.taps)
    needed = rows_for_forecast(bundle.spec, horizon, stride, past)
    begins = _first_times(trace.episodes)
    remedy = "give longer recordings or a shorter --horizon"
    whole = stretches(bundle, trace).long_enough(needed, f"forecasts of {horizon} ticks", remedy)
    found, rows = [], RowCount(label, sum(map(len, whole.episodes)))
    for episode in whole.episodes:
        starts = np.arange(needed - horizon - 1, len(episode) - horizon, stride)
        found.append(_observed(predictor, Novelty.of(bundle, predictor), arx, episode, begins, starts, horizon, rows))
    rows.end()
    return found, evaluation_of_observed(bundle.spec, found, horizon, whole)


def evaluation_of_observed(spec: ModelSpec, every: Sequence[Observed], horizon: int, trace: Trace) -> Evaluation:
    """Average the errors of model and baselines over all forecasts."""
    scores = {name: HorizonErrors(spec.outputs) for name in PREDICTORS}
    for each in every:
        for name, predicted in predictions_of(spec, each).items():
            scores[name].add(predicted, each.truth)
    errors = {name: {g: e.tolist() for g, e in score.mean().items()} for name, score in scores.items()}
    units = {c.group or c.name: "rad" if c.unit == "quat" else c.unit for c in spec.outputs}
    return Evaluation(horizon, spec.rate_hz, sum(len(o.starts) for o in every), units, errors, trace.notes)


def predictions_of(spec: ModelSpec, o: Observed) -> dict[str, Doubles]:
    """Return the forecasts [K, N, ny] of the model and of the baselines."""
    held = Hold(spec.n_inputs).forecast(
        o.episode.values[o.starts, None], np.zeros((1, o.truth.shape[1], 1), np.float32)
    )
    return dict(zip(PREDICTORS, (o.predicted, o.linear, held), strict=True))


def forecast_errors_of(spec: ModelSpec, every: Sequence[Observed]) -> dict[str, Doubles]:
    """Return the error [K, N] of each forecast by group, over all episodes."""
    predicted, truth = (np.concatenate([getattr(o, name) for o in every]) for name in ("predicted", "truth"))
    return group_errors(predicted, truth, spec.outputs)


def _first_times(episodes: Sequence[Episode]) -> dict[str, float]:
    first: dict[str, float] = {}
    for each in episodes:
        first[each.recording] = min(first.get(each.recording, np.inf), float(each.t[0]))
    return first


def _observed(
    predictor: Predictor,
    novelty: Novelty | None,
    arx: LinearArx,
    episode: Episode,
    begins: dict[str, float],
    starts: NDArray[np.intp],
    horizon: int,
    rows: RowCount,
) -> Observed:
    spec, values = predictor.spec, episode.values
    one_step, scores, snapshots = _streamed_once(predictor, novelty, values, starts, rows)
    truth = values[starts[:, None] + np.arange(1, horizon + 1), spec.n_inputs :].astype(np.float64)
    predicted, linear = _rolled_out(predictor, arx, values, starts, snapshots, horizon)
    first = spec.settling_samples - 1
    return Observed(
        episode,
        begins[episode.recording],
        first,
        nearest(one_step, values[:, spec.n_inputs :], spec.outputs),
        _free_run(predictor, values, first),
        starts,
        snapshots,
        nearest(predicted, truth, spec.outputs),
        linear,
        truth,
        scores,
    )


def _streamed_once(
    predictor: Predictor, novelty: Novelty | None, values: Floats, starts: NDArray[np.intp], rows: RowCount
) -> tuple[Doubles, Doubles, Snapshot]:
    """Feed every sample [n, C]; return predictions [n, ny], novelty [n], and the snapshots at `starts` [K]."""
    spec, wanted, kept = predictor.spec, set(starts.tolist()), list[Snapshot]()
    one_step = np.full((len(values) + 1, spec.n_outputs), np.nan)
    scores = np.full(len(values) if novelty else 0, np.nan)
    predictor.reset()
    for tick, sample in enumerate(rows.over(values)):
        if novelty is not None:
            novelty.sample[:] = sample
            novelty.update()
            scores[tick] = novelty.score
        one_step[tick + 1] = predictor.step(sample)
        if tick in wanted:
            kept.append(predictor.snapshot())
    one_step[: spec.settling_samples] = np.nan
    return one_step[:-1], scores, stacked(kept)


def _rolled_out(
    predictor: Predictor, arx: LinearArx, values: Floats, starts: NDArray[np.intp], at: Snapshot, horizon: int
) -> tuple[Doubles, Doubles]:
    """Forecast [K, N, ny] from snapshots, by the model and by the linear baseline."""
    spec, predicted, linear = predictor.spec, list[Floats](), list[Doubles]()
    for k in range(0, len(starts), BATCH):
        rows = slice(k, k + BATCH)
        u_future, _ = forecast_windows(values, spec.n_inputs, starts[rows], horizon)
        predicted.append(predictor.rollout(Snapshot(*(part[rows] for part in at)), u_future))
        history = values[starts[rows, None] + np.arange(1 - arx.lags, 1)]
        linear.append(arx.forecast(*unwrapped_plan(history, u_future, spec.channels)))
    return np.concatenate(predicted).astype(np.float64), np.concatenate(linear)


def _free_run(predictor: Predictor, values: Floats, first: int) -> Doubles:
    """Forecast from row `first` to the end of an episode [n, C] under its inputs: [n, ny], NaN up to that row."""
    spec, free = predictor.spec, np.full((len(values), predictor.spec.n_outputs), np.nan)
    predictor.reset()
    for sample in values[: first + 1]:
        predictor.step(sample)
    start = stacked([predictor.snapshot()])
    with np.errstate(over="ignore", invalid="ignore"):  # a run that diverges
        ran = predictor.rollout(start, np.ascontiguousarray(values[None, first:-1, : spec.n_inputs]))[0]
    free[first + 1 :] = ran
    predictor.reset()
    return nearest(free, values[:, spec.n_inputs :], spec.outputs)
