"""Forecasts from many ticks of a recording, each with the state that a live run has there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rtsysid.circle import nearest
from rtsysid.errors import TraceError
from rtsysid.evaluation.metrics import forecast_windows
from rtsysid.model.backends.protocol import Snapshot, stacked
from rtsysid.model.predictor import Predictor
from rtsysid.spec import Doubles, Floats, ModelSpec

BATCH = 256  # forecasts per call


class ForecastBatch(NamedTuple):
    """K forecasts of N ticks from one episode, and the measurements to compare them with.

    ``starts`` [K]: row of s_k. ``u_future`` [K, N, nu]: inputs from s_k on. ``predicted``, ``truth`` [K, N, ny]; of
    each predicted quaternion q and its twin -q the one that is nearer to the truth.
    """

    starts: NDArray[np.intp]
    u_future: Floats
    predicted: Doubles
    truth: Floats


def rows_for_forecast(spec: ModelSpec, horizon: int, stride: int = 1, past: int = 0) -> int:
    """Return the rows that an episode needs for one forecast of `horizon` ticks; see `forecasts`.

    Raises TraceError for a horizon or a stride below 1.
    """
    if horizon < 1 or stride < 1:
        found = f"{horizon} ticks from every {stride}-th tick"
        raise TraceError("forecasts", found, "give a horizon and a stride of 1 or more")
    first = max(spec.settling_samples, past) - 1
    return -(-first // stride) * stride + horizon + 1


def forecasts(
    predictor: Predictor,
    values: Floats,
    horizon: int,
    stride: int = 1,
    *,
    past: int = 0,
    truth: Floats | None = None,
) -> Iterator[ForecastBatch]:
    """Stream an episode [n, C] and forecast `horizon` ticks from every `stride`-th tick, in batches.

    Starts where the predictor is ready and at least `past` samples have come; an episode of less than
    `rows_for_forecast` rows has none. `truth` [n, C] gives planned inputs and
    measurements where these are not `values` themselves, as where `values` carry sensor noise. Raises TraceError for
    a horizon or a stride below 1.
    """
    spec, truth = predictor.spec, values if truth is None else truth
    first = rows_for_forecast(spec, horizon, stride, past) - horizon - 1
    starts = np.arange(first, len(values) - horizon, stride)
    stream = _SnapshotStream(predictor, values)
    for batch in (starts[k : k + BATCH] for k in range(0, len(starts), BATCH)):
        u_future, measured = forecast_windows(truth, spec.n_inputs, batch, horizon)
        predicted = predictor.rollout(stream.take(batch), u_future)
        yield ForecastBatch(batch, u_future, nearest(predicted, measured, spec.outputs), measured)


def rollouts(predictor: Predictor, snapshots: Iterable[Snapshot], u_future: Floats) -> Floats:
    """Forecast from K snapshots, each under its own plan, `BATCH` at a time: [K, N, nu] -> [K, N, ny].

    Raises ValueError where there is no snapshot.
    """
    parts, done, stream = [], 0, iter(snapshots)
    while batch := list(islice(stream, BATCH)):
        parts.append(predictor.rollout(stacked(batch), u_future[done : done + len(batch)]))
        done += len(batch)
    return np.concatenate(parts)


class _SnapshotStream:
    """Streams an episode [n, C] through a predictor, and stops at ticks that are asked for in ascending order."""

    def __init__(self, predictor: Predictor, values: Floats) -> None:
        self._predictor, self._values, self._next = predictor, values, 0
        predictor.reset()

    def take(self, ticks: NDArray[np.intp]) -> Snapshot:
        """Return the stacked snapshots after the samples of these ticks."""
        return stacked([self._after(tick) for tick in ticks])

    def _after(self, tick: int) -> Snapshot:
        for sample in self._values[self._next : tick + 1]:
            self._predictor.step(sample)
        self._next = tick + 1
        return self._predictor.snapshot()
