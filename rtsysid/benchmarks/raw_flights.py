"""Nano-drone flights as the radio delivered them: unfiltered, and where a packet was lost, the one before once more.

The published recordings were smoothed with hindsight, which no robot has while it flies. Here a model lives through a
raw flight sample by sample, and at each tick its forecast is compared with what was measured afterwards. Ref: the raw
logs of M. Busetto et al., arXiv 2512.14450.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from rtsysid.benchmarks.nanodrone import HORIZON, INPUTS, MEASURES, SHOWN, STATES
from rtsysid.benchmarks.score import Score
from rtsysid.errors import TraceError
from rtsysid.metrics import forecast_windows, horizon_errors
from rtsysid.predictor import Predictor
from rtsysid.recordings import recordings
from rtsysid.session import Session
from rtsysid.spec import Channel, Doubles, Floats, Sample
from rtsysid.trace import Episode, Trace

# Electrical turns per turn of the rotor: so read, the raw flights hover at the rotor speeds of the smoothed ones.
POLE_PAIRS = 6
AIRBORNE_M = 0.3  # below, the ground pushes back
TEST, VALIDATION = "melon_*", "multisine_*"
BATCH = 256  # forecasts per call


def raw_flights(pattern: str) -> tuple[Episode, ...]:
    """Flights between take-off and landing: rotor speeds in rad/s, then the states in the order of the benchmark."""
    paths = sorted(recordings("nanodrone", "raw").glob(f"{pattern}.parquet"))
    if not paths:
        raise TraceError(f"recordings nanodrone/raw/{pattern}", "none", "get the raw logs of the benchmark")
    return tuple(map(_flight, paths))


def _flight(path: Path) -> Episode:
    electrical = tuple(Channel(f"m{k}_erpm", role="input") for k in (1, 2, 3, 4))
    states = tuple(Channel(state.name) for state in STATES)  # the raw files name no units
    (episode,) = Trace.read(path, (*electrical, *states)).episodes
    high = np.flatnonzero(episode.values[:, len(INPUTS) + 2] > AIRBORNE_M)
    span = slice(high[0], high[-1] + 1)
    values = episode.values[span].copy()
    values[:, : len(INPUTS)] *= np.float32(2 * np.pi / 60 / POLE_PAIRS)
    return Episode(path.stem, episode.t[span], values)


class Lived(NamedTuple):
    """Forecasts [K, 50, 13] from every tick of a flight at which the model had its warm-up, what was measured after
    each [K, 50, 13], and at each [K, 13]; channels in the order of the benchmark.
    """

    predicted: Floats
    truth: Floats
    newest: Floats


def lived(predictor: Predictor, flight: Episode) -> Lived:
    """One flight, sample by sample through a session."""
    names, order = ([c.name for c in side] for side in (predictor.spec.channels, (*INPUTS, *STATES)))
    values = flight.values[:, [order.index(name) for name in names]]
    back = [names[len(INPUTS) :].index(state.name) for state in STATES]
    starts, (window, h, c) = _streamed(predictor, flight.t, values)
    u_future, truth = forecast_windows(values, len(INPUTS), starts, HORIZON)
    batches = [slice(k, k + BATCH) for k in range(0, len(starts), BATCH)]
    predicted = [predictor.backend.rollout(window[b], h[b], c[b], u_future[b]) for b in batches]
    return Lived(np.concatenate(predicted)[..., back], truth[..., back], flight.values[starts, len(INPUTS) :])


def _streamed(predictor: Predictor, t: Doubles, values: Floats) -> tuple[list[int], list[Floats]]:
    """Rows at which the session says something usable and a forecast fits in; window, h and c at each of them."""
    predictor.reset()
    session, rows, states = Session(predictor), [], []
    for k in range(len(values) - HORIZON):
        if session.feed(Sample(float(t[k]), values[k])).usable:
            rows.append(k)
            states.append(predictor.snapshot())
    return rows, [np.stack(part) for part in zip(*states, strict=True)]


def live_scores(model: str, predictor: Predictor, pattern: str = TEST) -> list[Score]:
    """Errors at 1, 10 and 50 ticks and the sum over all 50: of the model, and of standing still at what it saw."""
    flights = [lived(predictor, flight) for flight in raw_flights(pattern)]
    predicted, truth, newest = (np.concatenate(part) for part in zip(*flights, strict=True))
    return [_score(model, predicted, truth), _score("hold (here)", np.repeat(newest[:, None], HORIZON, 1), truth)]


def _score(model: str, predicted: Floats, truth: Floats) -> Score:
    errors = {}
    for group, curve in horizon_errors(predicted, truth, STATES).items():
        shown = (*(float(curve[h - 1]) for h in SHOWN), float(curve.sum()))
        errors[f"{group} {MEASURES[group]}"] = shown
    return Score(model, errors, "raw flights, live")
