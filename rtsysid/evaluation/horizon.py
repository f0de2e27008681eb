"""Error per horizon of a model on recordings, always beside what it must beat: hold and linear ARX."""

from __future__ import annotations

from collections.abc import Generator

import msgspec
import numpy as np

from rtsysid.errors import TraceError
from rtsysid.evaluation.baselines import Hold, LinearArx
from rtsysid.evaluation.forecasts import forecasts
from rtsysid.metrics import HorizonErrors
from rtsysid.model.bundle import Bundle
from rtsysid.model.predictor import BackendName, Predictor
from rtsysid.recordings.trace import Trace
from rtsysid.spec import Floats

SHOWN = (1, 2, 5, 10, 20, 50, 100, 200, 500)


class Evaluation(msgspec.Struct, frozen=True):
    """Mean error per group of outputs and horizon step: ``errors[predictor][group][n - 1]`` after n ticks.

    ``units``: of each group. ``forecasts``: how many starts were averaged over.
    """

    horizon: int
    rate_hz: float
    forecasts: int
    units: dict[str, str]
    errors: dict[str, dict[str, list[float]]]

    @property
    def shown(self) -> tuple[int, ...]:
        """The horizon steps of a printed table: a few on the way, and the last."""
        return tuple(sorted({n for n in SHOWN if n < self.horizon} | {self.horizon}))

    def rows(self) -> list[list[str]]:
        """A printable table: group, predictor, error at each shown horizon, and their sum over all steps."""
        return [
            [
                f"{group} [{unit}]",
                name,
                *(f"{errors[group][n - 1]:.4g}" for n in self.shown),
                f"{sum(errors[group]):.4g}",
            ]
            for group, unit in self.units.items()
            for name, errors in self.errors.items()
        ]

    def lost(self) -> list[str]:
        """Where the model does not beat both baselines, in words; empty when it wins everywhere shown."""
        ours = self.errors["model"]
        return [
            f"{group} at {n} ticks: {name}"
            for name, errors in self.errors.items()
            if name != "model"
            for group in self.units
            for n in self.shown
            if not ours[group][n - 1] < errors[group][n - 1]
        ]


def evaluate(
    bundle: Bundle, trace: Trace, horizon: int = 50, stride: int = 1, backend: BackendName = "auto"
) -> Evaluation:
    """Forecast `horizon` ticks from every `stride`-th tick of every episode, with the state that a live run has there.

    The model has streamed the episode from its start; outputs up to the tick are measured, inputs ahead are known.
    Raises BundleError for other channels and TraceError where no episode is long enough.
    """
    session = evaluating(bundle, trace, horizon, stride, backend)
    while True:
        try:
            next(session)
        except StopIteration as done:
            result: Evaluation = done.value
            return result


def stretches(bundle: Bundle, trace: Trace) -> Trace:
    """Unbroken stretches of a recording, in rows as the model was trained on."""
    return trace.segments(bundle.spec.rate_hz, nan="split").with_feedthrough(bundle.feedthrough)


def evaluating(
    bundle: Bundle, trace: Trace, horizon: int, stride: int = 1, backend: BackendName = "auto"
) -> Generator[str, None, Evaluation]:
    """As `evaluate`, yielding the name of each finished episode for a progress bar; the result is the return value."""
    spec = bundle.spec
    bundle.require(trace.channels, "recording")
    trace = stretches(bundle, trace)
    predictor, arx = Predictor.load(bundle, backend), LinearArx.from_arrays(bundle.arrays("baseline.npz"))
    scores = {name: HorizonErrors(spec.outputs) for name in ("model", "linear ARX", "hold")}
    count = 0
    for episode in trace.episodes:
        count += _score(predictor, arx, episode.values, horizon, stride, scores)
        yield episode.name
    if not count:
        found = f"the longest of {len(trace.episodes)} episodes has {max(map(len, trace.episodes), default=0)} rows"
        raise TraceError(f"forecasts of {horizon} ticks", found, "give longer recordings or a shorter --horizon")
    errors = {name: {g: e.tolist() for g, e in score.mean().items()} for name, score in scores.items()}
    units = {c.group or c.name: "rad" if c.unit == "quat" else c.unit for c in spec.outputs}
    return Evaluation(horizon, spec.rate_hz, count, units, errors)


def _score(
    predictor: Predictor, arx: LinearArx, values: Floats, horizon: int, stride: int, scores: dict[str, HorizonErrors]
) -> int:
    """Add one episode's forecasts to the scores; how many there were."""
    nu, past = predictor.spec.n_inputs, max(arx.lags, predictor.spec.taps)
    count = 0
    for batch in forecasts(predictor, values, horizon, stride, past=past):
        history = values[batch.starts[:, None] + np.arange(1 - past, 1)]
        scores["model"].add(batch.predicted, batch.truth)
        scores["linear ARX"].add(arx.forecast(history, batch.u_future), batch.truth)
        scores["hold"].add(Hold(nu).forecast(history, batch.u_future), batch.truth)
        count += len(batch.starts)
    return count
