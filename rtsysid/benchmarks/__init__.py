"""Define benchmarks on public recordings: loading, official split, official metric, published results.

`rtsysid.experiments.benchmark` trains on them. Nothing here needs torch. The repository holds no recordings.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from rtsysid.benchmarks.nanodrone import Nanodrone
from rtsysid.benchmarks.raw_flights import NanodroneLive
from rtsysid.benchmarks.schunk import SchunkArm
from rtsysid.benchmarks.score import Score
from rtsysid.benchmarks.tasks import SIMULATIONS
from rtsysid.errors import ConfigError
from rtsysid.model.npz import Arrays
from rtsysid.model.predictor import Predictor
from rtsysid.recordings.trace import Trace
from rtsysid.spec import Channel


class Benchmark(Protocol):
    """Define the members of a benchmark."""

    @property
    def name(self) -> str:
        """Return the name on the command line."""

    @property
    def config(self) -> str:
        """Return the name of the embedded configuration."""

    @property
    def quick(self) -> float:
        """Return the share of the epochs in a quick run."""

    @property
    def measures(self) -> tuple[str, ...]:
        """List the names of the errors, with units."""

    @property
    def published(self) -> tuple[Score, ...]:
        """List the published scores."""

    @property
    def outputs(self) -> tuple[Channel, ...]:
        """List the predicted channels: one for each column of ``pred``, or that of each series."""

    def training(self, channels: tuple[Channel, ...]) -> Trace:
        """Read the recordings for training and validation. Raises TraceError where they are absent."""

    def predict(self, predictor: Predictor) -> Arrays:
        """Predict the test recordings."""

    def hold(self) -> Arrays:
        """Return the predictions of the hold model."""

    def score(self, model: str, predictions: Arrays) -> list[Score]:
        """Compute the errors of predictions."""


class ForecastingBenchmark(Benchmark, Protocol):
    """Define a benchmark with forecasts from every sample, so that any two models can be compared on it."""

    def testing(self, channels: tuple[Channel, ...]) -> Trace:
        """Read the test recordings. Raises TraceError where they are absent."""


FORECASTING: tuple[ForecastingBenchmark, ...] = (Nanodrone(), SchunkArm())
HISTORY_FREE = Nanodrone("nanodrone-history-free", "benchmarks/nanodrone-history-free", starts=("history-free",))
ALL: tuple[Benchmark, ...] = (Nanodrone(), HISTORY_FREE, NanodroneLive(), *SIMULATIONS, SchunkArm())
NAMES = tuple(benchmark.name for benchmark in ALL)


def benchmark(name: str) -> Benchmark:
    """Return a benchmark by name. Raises ConfigError for an unknown name."""
    if name not in NAMES:
        raise ConfigError("benchmark", repr(name), f"choose among {', '.join(NAMES)}")
    return ALL[NAMES.index(name)]


def forecasting_benchmark(names: Sequence[str]) -> ForecastingBenchmark:
    """Return the forecasting benchmark of this name. Raises ConfigError unless `names` is one known name."""
    named = [each for each in FORECASTING if [each.name] == list(names)]
    if not named:
        known = " or ".join(each.name for each in FORECASTING)
        raise ConfigError("compare", f"{', '.join(names)} without recordings", f"give --data, or compare {known}")
    return named[0]
