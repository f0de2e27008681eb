"""Real recordings whose published results are known: loading, official split, official metric, published figures.

`rtsysid.experiments.benchmark` trains on them; here nothing needs torch. None of the recordings is in this repository.
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
from rtsysid.model.bundle import Arrays
from rtsysid.model.predictor import Predictor
from rtsysid.recordings.trace import Trace
from rtsysid.spec import Channel


class Benchmark(Protocol):
    """What a benchmark must say. ``quick``: share of the full effort in a quick run."""

    @property
    def name(self) -> str: ...
    @property
    def config(self) -> str: ...
    @property
    def quick(self) -> float: ...
    @property
    def measures(self) -> tuple[str, ...]: ...
    @property
    def published(self) -> tuple[Score, ...]: ...
    def training(self, channels: tuple[Channel, ...]) -> Trace: ...
    def predict(self, predictor: Predictor) -> Arrays: ...
    def hold(self) -> Arrays: ...
    def score(self, model: str, predictions: Arrays) -> list[Score]: ...


class ForecastingBenchmark(Benchmark, Protocol):
    """One whose test recordings are forecast from every sample, so that any model can be compared on them."""

    def testing(self, channels: tuple[Channel, ...]) -> Trace: ...


FORECASTING: tuple[ForecastingBenchmark, ...] = (Nanodrone(), SchunkArm())
HISTORY_FREE = Nanodrone("nanodrone-history-free", "benchmarks/nanodrone-history-free", starts=("history-free",))
ALL: tuple[Benchmark, ...] = (Nanodrone(), HISTORY_FREE, NanodroneLive(), *SIMULATIONS, SchunkArm())
NAMES = tuple(benchmark.name for benchmark in ALL)


def benchmark(name: str) -> Benchmark:
    """A benchmark by name."""
    if name not in NAMES:
        raise ConfigError("benchmark", repr(name), f"choose among {', '.join(NAMES)}")
    return ALL[NAMES.index(name)]


def forecasting_benchmark(names: Sequence[str]) -> ForecastingBenchmark:
    """The one that is named, where exactly one is."""
    found = [each for each in FORECASTING if [each.name] == list(names)]
    if not found:
        known = " or ".join(each.name for each in FORECASTING)
        raise ConfigError("compare", f"{', '.join(names)} without recordings", f"give --data, or compare {known}")
    return found[0]
