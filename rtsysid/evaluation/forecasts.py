"""Forecasts from many ticks of a recording, each with the state that a live run has there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rtsysid.evaluation.metrics import forecast_windows
from rtsysid.model.predictor import Predictor, Snapshot
from rtsysid.quaternions import same_sign
from rtsysid.spec import Doubles, Floats

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

    Starts where the predictor is ready and at least `past` samples have come. `truth` [n, C] gives planned inputs and
    measurements where these are not `values` themselves, as where `values` carry sensor noise. Raises TraceError for
    a horizon below 1.
    """
    spec, truth = predictor.spec, values if truth is None else truth
    first = max(spec.settling_samples, past) - 1
    starts = np.arange(-(-first // stride) * stride, len(values) - horizon, stride)
    stream = _SnapshotStream(predictor, values)
    for batch in (starts[k : k + BATCH] for k in range(0, len(starts), BATCH)):
        u_future, measured = forecast_windows(truth, spec.n_inputs, batch, horizon)
        predicted = predictor.rollout(*stream.take(batch), u_future)
        yield ForecastBatch(batch, u_future, same_sign(predicted, measured, spec.outputs), measured)


def rollouts(predictor: Predictor, snapshots: Iterable[Snapshot], u_future: Floats) -> Floats:
    """Forecast from K snapshots, each under its own plan, `BATCH` at a time: [K, N, nu] -> [K, N, ny].

    Raises ValueError where there is no snapshot.
    """
    parts, done, stream = [], 0, iter(snapshots)
    while batch := list(islice(stream, BATCH)):
        window, state = (np.stack(part) for part in zip(*batch, strict=True))
        parts.append(predictor.rollout(window, state, u_future[done : done + len(batch)]))
        done += len(batch)
    return np.concatenate(parts)


class _SnapshotStream:
    """Streams an episode [n, C] through a predictor, and stops at ticks that are asked for in ascending order."""

    def __init__(self, predictor: Predictor, values: Floats) -> None:
        self._predictor, self._values, self._next = predictor, values, 0
        predictor.reset()

    def take(self, ticks: NDArray[np.intp]) -> Snapshot:
        """Return the stacked snapshots after the samples of these ticks: window [K, L, C], state [K, S]."""
        window, state = (np.stack(part) for part in zip(*map(self._after, ticks), strict=True))
        return Snapshot(window, state)

    def _after(self, tick: int) -> Snapshot:
        for sample in self._values[self._next : tick + 1]:
            self._predictor.step(sample)
        self._next = tick + 1
        return self._predictor.snapshot()
