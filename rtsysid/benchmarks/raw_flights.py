"""Define the live nano-drone benchmark, on raw flights as received by radio: unfiltered, lost packets repeated.

The published recordings were smoothed with a zero-phase filter, which a running robot cannot use. Here a session
processes a raw flight sample by sample, and each forecast is compared with the measurements that followed.

Ref: raw logs of M. Busetto et al., arXiv 2512.14450.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from rtsysid.benchmarks.nanodrone import (
    HORIZON,
    INPUTS,
    STATES,
    Nanodrone,
    cells,
    columns_of,
    forecasts_of,
    score,
)
from rtsysid.benchmarks.score import Score
from rtsysid.errors import ConfigError, TraceError
from rtsysid.evaluation.baselines import LinearArx
from rtsysid.evaluation.forecasts import rollouts
from rtsysid.evaluation.metrics import forecast_windows, horizon_errors
from rtsysid.live.session import Session
from rtsysid.model.backends.protocol import Snapshot
from rtsysid.model.bundle import Bundle
from rtsysid.model.npz import Arrays
from rtsysid.model.predictor import Predictor
from rtsysid.recordings.home import recordings
from rtsysid.recordings.trace import Episode, Integers, Trace
from rtsysid.spec import Channel, Doubles, Floats, Sample
from rtsysid.statuses import Status

# Electrical turns per rotor turn. With 6 the raw flights hover at the rotor speeds of the smoothed ones.
POLE_PAIRS = 6
AIRBORNE_M = 0.3  # m; below this height the ground effect disturbs the flight
TEST, CHOICE = "melon_*", "multisine_*"
SETTLED = 100  # rows before the first forecast


@dataclass(frozen=True)
class NanodroneLive(Nanodrone):
    """Define the benchmark: trained with sensor noise, tested live on raw flights and offline on smoothed flights.

    In a predictions file ``pred``, ``flight`` and ``t`` belong to raw flights. Arrays of the smoothed flights, after
    50 samples, have the suffix ``_offline``.
    """

    name: str = "nanodrone-live"
    config: str = "benchmarks/nanodrone-live"
    flown: str = TEST  # pattern of the raw flights

    def validating(self) -> NanodroneLive:
        """Return this benchmark with the raw multisine flight, which is no test flight, in place of all others."""
        return replace(self, flown=CHOICE)

    def without(self, kind: str) -> Nanodrone:
        """Raise ConfigError: raw logs exist only for the test flights."""
        found = f"{kind}: there are raw logs of test flights alone"
        raise ConfigError("manoeuvre to leave out", found, "choose by benchmark nanodrone")

    @property
    def published(self) -> tuple[Score, ...]:
        """Return no results: none are published."""
        return ()

    @cached_property
    def raw(self) -> tuple[Episode, ...]:
        """Read the raw flights: three of the test manoeuvre. Raises TraceError where they are absent."""
        return raw_flights(self.flown)

    def predict(self, predictor: Predictor) -> Arrays:
        """Forecast the raw flights live, and the smoothed test flights offline."""
        live = live_forecasts(predictor, self.raw)
        if self.flown != TEST:
            return live
        offline = self._named("50 samples", forecasts_of(predictor, self.flights, "50 samples"))
        return live | {f"{name}_offline": array for name, array in offline.items()}

    def hold(self) -> Arrays:
        """Return the forecasts of the hold model. Arrays as in `predict`."""
        live, offline = held_forecasts(self.raw), self._held("50 samples") if self.flown == TEST else {}
        return live | {f"{name}_offline": array for name, array in offline.items()}

    def score(self, model: str, predictions: Arrays) -> list[Score]:
        """Compute the live error, and the offline error where there is one."""
        live = _live_score(model, predictions["pred"], measured(self.raw, predictions))
        if self.flown != TEST:
            return [live]
        return [live, score(model, self.flights, "50 samples", "boundary-safe", predictions["pred_offline"])]

    def linear(self, bundle: Bundle) -> Score:
        """Compute the live error of the linear ARX in a bundle, which was fitted to the noisy rows of the training.

        Raises ConfigError where the model has other channels, BundleError where its ARX is damaged.
        """
        arx, held = LinearArx.of(bundle), held_forecasts(self.raw)
        predicted = linear_forecasts(arx, columns_of(bundle.spec), self.raw, held)
        return _live_score("linear ARX of the bundle", predicted, measured(self.raw, held))


def raw_flights(pattern: str) -> tuple[Episode, ...]:
    """Read raw flights between take-off and landing: rotor speeds in rad/s, then the benchmark's states.

    Raises TraceError where no file matches the pattern.
    """
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


def live_forecasts(predictor: Predictor, flights: Sequence[Episode]) -> Arrays:
    """Forecast during a session: ``pred`` [K, 50, 13], ``flight`` [K], and row ``t`` [K] of the newest sample.

    A forecast starts at each row, after the first hundred, at which the model has settled. Raises
    ConfigError where the model has other channels.
    """
    into, back = columns_of(predictor.spec)
    parts = [_forecasts(predictor, flight.t, flight.values[:, into]) for flight in flights]
    number = [np.full(len(rows), k) for k, (rows, _) in enumerate(parts)]
    rows, predicted = (np.concatenate(part) for part in zip(*parts, strict=True))
    return {"pred": predicted[..., back], "flight": np.concatenate(number), "t": rows}


def held_forecasts(flights: Sequence[Episode]) -> Arrays:
    """Return the forecasts of the hold model from every row after the first hundred. Arrays as in `live_forecasts`."""
    rows = [np.arange(SETTLED, len(flight) - HORIZON) for flight in flights]
    newest = [flight.values[t, len(INPUTS) :] for flight, t in zip(flights, rows, strict=True)]
    number = [np.full(len(t), k) for k, t in enumerate(rows)]
    predicted = np.repeat(np.concatenate(newest)[:, None], HORIZON, 1)
    return {"pred": predicted, "flight": np.concatenate(number), "t": np.concatenate(rows)}


def linear_forecasts(
    arx: LinearArx, columns: tuple[list[int], list[int]], flights: Sequence[Episode], starts: Arrays
) -> Floats:
    """Forecast with a linear ARX from the raw rows: [K, 50, 13]; a missing value is the last known one.

    `columns`: see `columns_of`. `starts`: ``flight`` and ``t`` of each forecast, in order of flights.
    """
    into, back = columns
    parts = []
    for k, rows in enumerate(_filled(flight.values[:, into]) for flight in flights):
        t = starts["t"][starts["flight"] == k]
        planned = forecast_windows(rows, len(INPUTS), t, HORIZON)[0]
        parts.append(arx.forecast(rows[t[:, None] + np.arange(1 - arx.lags, 1)], planned)[..., back])
    return np.concatenate(parts).astype(np.float32)


def measured(flights: Sequence[Episode], forecasts: Arrays) -> Floats:
    """Return the measurements [K, 50, 13] that followed the start of each forecast."""
    pairs = zip(forecasts["flight"], forecasts["t"], strict=True)
    return np.stack([flights[k].values[t + 1 : t + 1 + HORIZON, len(INPUTS) :] for k, t in pairs])


def _forecasts(predictor: Predictor, t: Doubles, values: Floats) -> tuple[Integers, Floats]:
    rows, states = _streamed(predictor, t, values)
    return rows, rollouts(predictor, states, forecast_windows(_filled(values), len(INPUTS), rows, HORIZON)[0])


def _streamed(predictor: Predictor, t: Doubles, values: Floats) -> tuple[Integers, list[Snapshot]]:
    """List the rows [K] of a settled model with 50 rows to follow, and the predictor's state at each.

    A row counts whatever its status is otherwise: the score includes flights with lost and rejected samples.
    """
    predictor.reset()
    session, rows, states = Session(predictor, novelty=None), [], []
    for k in range(len(values) - HORIZON):
        settled = Status.warm_up not in session.feed(Sample(float(t[k]), values[k])).flags
        if settled and k >= SETTLED:
            rows.append(k)
            states.append(predictor.snapshot())
    return np.array(rows), states


def _filled(values: Floats) -> Floats:
    """Replace missing values by the previous row's: the inputs of a forecast must be complete."""
    known = np.where(np.isfinite(values), np.arange(len(values))[:, None], 0)
    return np.take_along_axis(values, np.maximum.accumulate(known, 0), 0)


def _live_score(model: str, predicted: Floats, truth: Floats) -> Score:
    return Score(model, cells(horizon_errors(predicted, truth, STATES)), "raw flights, live")
