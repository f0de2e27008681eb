"""Measure the error of a model per horizon, compared with the baselines `Hold` and `LinearArx`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from rtsysid.circle import unwrapped_plan
from rtsysid.errors import TraceError
from rtsysid.evaluation.baselines import Hold, LinearArx
from rtsysid.evaluation.forecasts import forecasts, rows_for_forecast
from rtsysid.evaluation.metrics import HorizonErrors
from rtsysid.guards.stages import RowCount
from rtsysid.model.bundle import Bundle
from rtsysid.model.loading import BackendName
from rtsysid.model.predictor import Predictor
from rtsysid.recordings.pieces import Note
from rtsysid.recordings.trace import Trace
from rtsysid.spec import Floats

TABLE_TICKS = (1, 2, 5, 10, 20, 50, 100, 200, 500)  # ticks ahead in a printed table


class LostTicks(NamedTuple):
    """Name a group of outputs and the ticks ahead at which a baseline is as good as the model or better."""

    predictor: str
    group: str
    ticks: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.predictor}: {self.group} at {', '.join(map(str, self.ticks))} ticks"


class Evaluation(msgspec.Struct, frozen=True):
    """Hold the mean error per group of outputs and horizon: ``errors[predictor][group][n - 1]`` after n ticks.

    ``units``: the unit of each group. ``forecasts``: number of forecasts in the mean. ``notes``: what was left out of
    the recordings.
    """

    horizon: int
    rate_hz: float
    forecasts: int
    units: dict[str, str]
    errors: dict[str, dict[str, list[float]]]
    notes: tuple[Note, ...] = ()

    def __repr__(self) -> str:
        ends = (f"{name} {', '.join(f'{errors[g][-1]:.3g} {unit}'.strip() for g, unit in self.units.items())}"
                for name, errors in self.errors.items())  # fmt: skip
        return f"Evaluation({self.forecasts} forecasts; error after {self.horizon} ticks: {'; '.join(ends)})"

    @property
    def table_ticks(self) -> tuple[int, ...]:
        """Choose the ticks ahead for a printed table: some of `TABLE_TICKS`, and the last tick."""
        return tuple(sorted({n for n in TABLE_TICKS if n < self.horizon} | {self.horizon}))

    def label(self, group: str, more: str = "") -> str:
        """Name a group of outputs, and `more` of it, with its unit where it has one."""
        return f"{group}{more} [{self.units[group]}]" if self.units[group] else f"{group}{more}"

    def rows(self) -> list[list[str]]:
        """Return a printable table: group, predictor, error at each of `table_ticks`, and the sum over all ticks."""
        return [
            [
                self.label(group),
                name,
                *(f"{errors[group][n - 1]:.4g}" for n in self.table_ticks),
                f"{sum(errors[group]):.4g}",
            ]
            for group in self.units
            for name, errors in self.errors.items()
        ]

    def lost(self) -> list[LostTicks]:
        """List where a baseline is as good or better; empty where the model always wins."""
        baselines = [name for name in self.errors if name != "model"]
        every = (LostTicks(name, group, self._lost_to(name, group)) for name in baselines for group in self.units)
        return [each for each in every if each.ticks]

    def _lost_to(self, name: str, group: str) -> tuple[int, ...]:
        ours, theirs = self.errors["model"][group], self.errors[name][group]
        return tuple(n for n in self.table_ticks if not ours[n - 1] < theirs[n - 1])


def evaluate(
    bundle: Bundle,
    trace: Trace,
    horizon: int = 50,
    stride: int = 1,
    backend: BackendName = "auto",
) -> Evaluation:
    """Forecast `horizon` ticks from every `stride`-th tick of every episode, and average the errors.

    The model streams each episode from its start, as in a live run. A forecast knows the outputs up to its start and
    all inputs. Raises BundleError where the channels differ, TraceError where no episode is long enough, or no error of
    the model is finite.
    """
    spec = bundle.spec
    bundle.require(trace.channels, "recording")
    predictor, arx = Predictor.load(bundle, backend), LinearArx.of(bundle)
    needed = rows_for_forecast(spec, horizon, stride, max(arx.lags, spec.taps))
    remedy = "give longer recordings or a shorter --horizon"
    trace = stretches(bundle, trace).long_enough(needed, f"forecasts of {horizon} ticks", remedy)
    pieces = [episode.values for episode in trace.episodes]
    return msgspec.structs.replace(evaluation_of(predictor, arx, pieces, horizon, stride), notes=trace.notes)


def evaluation_of(
    predictor: Predictor, arx: LinearArx, pieces: Sequence[Floats], horizon: int, stride: int
) -> Evaluation:
    """Do as `evaluate` with pieces of recordings [n, C]. Raises TraceError where no error of the model is finite."""
    spec = predictor.spec
    scores = {name: HorizonErrors(spec.outputs) for name in ("model", "linear ARX", "hold")}
    rows = RowCount("evaluating", sum(map(len, pieces)))
    count = sum(_score(predictor, arx, values, horizon, stride, scores, rows) for values in pieces)
    errors = {name: {g: e.tolist() for g, e in score.mean().items()} for name, score in scores.items()}
    if not np.isfinite(list(errors["model"].values())).any():
        remedy = "check units and ranges of the recording"
        raise TraceError(f"forecasts of {horizon} ticks", f"no error of {count} forecasts is finite", remedy)
    units = {c.group or c.name: "rad" if c.unit == "quat" else c.unit for c in spec.outputs}
    return Evaluation(horizon, spec.rate_hz, count, units, errors)


def stretches(bundle: Bundle, trace: Trace) -> Trace:
    """Cut a trace at every gap, and arrange its rows as in training.

    Raises TraceError where its rate is not the rate of the model.
    """
    pieces = trace.segments(bundle.spec.rate_hz, nan="split").with_continuous(bundle.spec.rotations)
    return pieces.with_feedthrough(bundle.feedthrough)


def _score(
    predictor: Predictor, arx: LinearArx, values: Floats, horizon: int, stride: int, scores: dict[str, HorizonErrors],
    rows: RowCount,
) -> int:  # fmt: skip
    """Add the forecasts of one episode to the scores, and its rows to `rows`; return the number of forecasts."""
    nu, past = predictor.spec.n_inputs, max(arx.lags, predictor.spec.taps)
    count = done = 0
    for batch in forecasts(predictor, values, horizon, stride, past=past):
        history = values[batch.starts[:, None] + np.arange(1 - past, 1)]
        scores["model"].add(batch.predicted, batch.truth)
        linear = arx.forecast(*unwrapped_plan(history, batch.u_future, predictor.spec.channels))
        scores["linear ARX"].add(linear, batch.truth)
        scores["hold"].add(Hold(nu).forecast(history, batch.u_future), batch.truth)
        count += len(batch.starts)
        rows.add(int(batch.starts[-1]) - done)
        done = int(batch.starts[-1])
    rows.add(len(values) - done)
    return count
