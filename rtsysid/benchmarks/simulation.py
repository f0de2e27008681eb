"""Define benchmarks scored by simulation: a free run over a whole test record after some measured samples.

The score is the RMSE over the record without those samples, as defined by `nonlinear_benchmarks` (PyPI, 1.0.1).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from rtsysid.benchmarks.forecasting import forecast
from rtsysid.benchmarks.score import Score
from rtsysid.errors import ConfigError, TraceError
from rtsysid.evaluation.metrics import rmse
from rtsysid.model.npz import Arrays
from rtsysid.model.predictor import Predictor
from rtsysid.recordings.trace import Episode, Trace
from rtsysid.spec import Channel, Doubles, Floats

VALIDATION_SHARE = 5  # the last fifth of each training record validates


@dataclass(frozen=True, eq=False)
class Record:
    """Hold one measured record: input [n] and output [n], in the units of the file."""

    name: str
    u: Doubles
    y: Doubles


@dataclass(frozen=True, eq=False)
class Split:
    """Hold the official split of a benchmark: training records and test records."""

    train: tuple[Record, ...]
    test: tuple[Record, ...]


@dataclass(frozen=True)
class Simulation:
    """Define one benchmark. ``read`` reads its records from the recordings folder.

    ``initial``: number of measured samples at the start of a test record. ``unit``: unit of errors. ``scale``: factor
    from the output's unit to ``unit``. ``feedthrough``: the output may depend on the input of the same tick, as in
    records with band-limited instead of held inputs; rows are then [u_{k+1}, y_k], as in a configuration.
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
        """Return the name of the embedded configuration."""
        return f"benchmarks/{self.name}"

    @property
    def outputs(self) -> tuple[Channel, ...]:
        """Return the channel of each predicted series."""
        return (self.output,)

    def training(self, channels: tuple[Channel, ...]) -> Trace:
        """Read the training records. The last fifth of each is a separate episode named "... validation".

        Raises ConfigError for other channels, TraceError where the recordings are absent.
        """
        wanted = (self.input, self.output)
        if [(c.name, c.unit, c.role) for c in channels] != [(c.name, c.unit, c.role) for c in wanted]:
            given = ", ".join(map(str, channels))
            raise ConfigError(f"channels of benchmark {self.name}", given, f"name {', '.join(map(str, wanted))}")
        episodes = []
        for record in self.read().train:
            rows = np.column_stack((record.u, record.y)).astype(np.float32)
            n = _n_training_rows(len(rows))
            episodes += [self._episode(record.name, rows[:n]), self._episode(f"{record.name} validation", rows[n:])]
        return Trace(channels, tuple(episodes))

    def validating(self) -> Simulation:
        """Return this benchmark with the validation data as test data. The official test records are not used."""
        train = self.read().train
        held_out = tuple(
            Record(r.name, r.u[_n_training_rows(len(r.u)) :], r.y[_n_training_rows(len(r.y)) :]) for r in train
        )
        measures = tuple(f"{record.name} {self.unit}" for record in held_out)
        return replace(self, read=lambda: Split(train, held_out), measures=measures, published=())

    def rows(self, record: Record) -> Floats:
        """Return the samples [u, y] of a record: [n, 2], or [n - 1, 2] with feedthrough."""
        pair = (record.u[1:], record.y[:-1]) if self.feedthrough else (record.u, record.y)
        return np.column_stack(pair).astype(np.float32)

    def predict(self, predictor: Predictor) -> Arrays:
        """Simulate the output [n] of each test record. The first ``initial`` values are measured.

        Raises SpecError where the delay line is longer than the initial samples.
        """
        return {record.name: self._simulated(predictor, record) for record in self.read().test}

    def hold(self) -> Arrays:
        """Return the output [n] of the hold model for each test record."""
        last = self.initial - 1
        return {r.name: np.concatenate((r.y[:last], np.full(len(r.y) - last, r.y[last]))) for r in self.read().test}

    def score(self, model: str, predictions: Arrays) -> list[Score]:
        """Compute the RMSE after the initial samples of each test record.

        Raises TraceError for a prediction of another length.
        """
        errors: dict[str, tuple[float, ...]] = {}
        for measure, record in zip(self.measures, self.read().test, strict=True):
            guess = predictions[record.name]
            if guess.shape != record.y.shape:
                shapes = f"{guess.shape} for a record of {record.y.shape}"
                raise TraceError(f"prediction {record.name}", shapes, "predict every sample")
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
    """Return the number of training rows of a record; the rows after them validate."""
    return rows - rows // VALIDATION_SHARE
