"""Benchmarks scored by simulation: a free run over a whole test record after a few measured samples.

The score is the RMSE of the record without those samples, as `nonlinear_benchmarks` (PyPI, 1.0.1) defines it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from rtsysid.benchmarks.forecasting import forecast
from rtsysid.benchmarks.score import Score
from rtsysid.errors import ConfigError, TraceError
from rtsysid.metrics import rmse
from rtsysid.model.bundle import Arrays
from rtsysid.model.predictor import Predictor
from rtsysid.recordings.trace import Episode, Trace
from rtsysid.spec import Channel, Doubles, Floats

HELD_OUT = 5  # the last fifth of each training record validates


@dataclass(frozen=True, eq=False)
class Record:
    """One measured series: inputs [n] and output [n], in the units of the file."""

    name: str
    u: Doubles
    y: Doubles


@dataclass(frozen=True, eq=False)
class Split:
    """The official parts of a benchmark's recordings."""

    train: tuple[Record, ...]
    test: tuple[Record, ...]


@dataclass(frozen=True)
class Simulation:
    """One benchmark: what it measures and what was published. ``read`` finds its files under `RTSYSID_DATA`.

    ``initial``: measured samples at the start of a test record. ``unit``, ``scale``: of errors, per unit of the
    output. ``feedthrough``: the output of a tick may depend on the input of the same tick, as in records that were
    band-limited and not held; rows are then [u_{k+1}, y_k], which its configuration calls ``feedthrough``.
    """

    name: str
    rate_hz: float
    input: Channel
    output: Channel
    initial: int
    unit: str
    scale: float
    quick: float  # share of the full effort in a quick run
    read: Callable[[], Split]
    measures: tuple[str, ...]  # one per test record
    published: tuple[Score, ...]
    feedthrough: bool = False

    @property
    def config(self) -> str:
        """Name of the embedded configuration."""
        return f"benchmarks/{self.name}"

    def training(self, channels: tuple[Channel, ...]) -> Trace:
        """Training records, the last fifth of each as an episode of its own, named "... validation"."""
        wanted = (self.input, self.output)
        if [(c.name, c.unit, c.role) for c in channels] != [(c.name, c.unit, c.role) for c in wanted]:
            found = ", ".join(map(str, channels))
            raise ConfigError(f"channels of benchmark {self.name}", found, f"name {', '.join(map(str, wanted))}")
        episodes = []
        for record in self.read().train:
            rows = np.column_stack((record.u, record.y)).astype(np.float32)
            cut = _n_training_rows(len(rows))
            episodes += [self._episode(record.name, rows[:cut]), self._episode(f"{record.name} validation", rows[cut:])]
        return Trace(channels, tuple(episodes))

    def validating(self) -> Simulation:
        """The same, judged on what validates: the last fifth of each training record. The test records stay unread."""
        train = self.read().train
        held_out = tuple(
            Record(r.name, r.u[_n_training_rows(len(r.u)) :], r.y[_n_training_rows(len(r.y)) :]) for r in train
        )
        measures = tuple(f"{record.name} {self.unit}" for record in held_out)
        return replace(self, read=lambda: Split(train, held_out), measures=measures, published=())

    def rows(self, record: Record) -> Floats:
        """What the model sees of a record: samples [u, y], one less where the input stands one tick ahead."""
        pair = (record.u[1:], record.y[:-1]) if self.feedthrough else (record.u, record.y)
        return np.column_stack(pair).astype(np.float32)

    def predict(self, predictor: Predictor) -> Arrays:
        """Simulated output [n] of each test record by name; its first ``initial`` values are the measured ones."""
        return {record.name: self._simulated(predictor, record) for record in self.read().test}

    def hold(self) -> Arrays:
        """The same of a model that stands still."""
        last = self.initial - 1
        return {r.name: np.concatenate((r.y[:last], np.full(len(r.y) - last, r.y[last]))) for r in self.read().test}

    def score(self, model: str, predictions: Arrays) -> list[Score]:
        """RMSE after the initial samples of each test record."""
        errors: dict[str, tuple[float, ...]] = {}
        for measure, record in zip(self.measures, self.read().test, strict=True):
            guess = predictions[record.name]
            if guess.shape != record.y.shape:
                found = f"{guess.shape} for a record of {record.y.shape}"
                raise TraceError(f"prediction {record.name}", found, "predict every sample")
            error = rmse(guess[self.initial :], record.y[self.initial :]) if np.isfinite(guess).all() else np.inf
            errors[measure] = (self.scale * float(error),)
        return [Score(model, errors, f"{self.initial} samples")]

    def _simulated(self, predictor: Predictor, record: Record) -> Doubles:
        rows, n = self.rows(record), self.initial
        ahead = rows[n - 1 : len(record.y) - 1, :1]  # y_n .. y_{end} follow from rows n-1 .. end-1
        y = forecast(predictor, [rows[:n]], ahead[None])[0, :, 0]
        return np.concatenate((record.y[:n], y))

    def _episode(self, name: str, rows: Floats) -> Episode:
        return Episode(name, np.arange(len(rows)) / self.rate_hz, rows)


def _n_training_rows(rows: int) -> int:
    """Rows of a training record before those that validate."""
    return rows - rows // HELD_OUT
