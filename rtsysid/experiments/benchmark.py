"""Run a benchmark: train its configuration, export, predict with the runtime, score."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import msgspec

from export.bundle import export
from rtsysid.benchmarks import Benchmark
from rtsysid.benchmarks.raw_flights import NanodroneLive
from rtsysid.benchmarks.score import Score
from rtsysid.config import Config, embedded, parse_config
from rtsysid.model.bundle import Bundle
from rtsysid.model.npz import Arrays
from rtsysid.model.predictor import Predictor
from rtsysid.train.fit import begin
from rtsysid.train.loop import Epoch

OURS = "rtsysid"


class BenchmarkResult(msgspec.Struct, frozen=True):
    """Hold the result of one trained model. ``validation``: loss of its last epoch, in units of the linear model."""

    seed: int
    bundle: str
    parameters: int
    macs: int
    validation: float
    scores: list[Score]
    predictions: Arrays


def quickened(config: Config, share: float) -> Config:
    """Return the configuration with `share` of its epochs."""
    effort = config.train.effort * share
    return msgspec.structs.replace(config, train=msgspec.structs.replace(config.train, effort=effort))


def without_validation_training(config: Config) -> Config:
    """Return the configuration without a final training on the validation recordings."""
    return msgspec.structs.replace(config, data=msgspec.structs.replace(config.data, train_on_validation=False))


def run_benchmark(benchmark: Benchmark, config: Config, folder: Path) -> Iterator[Epoch | BenchmarkResult]:
    """Train, export, predict and score in `folder`. Yield every epoch, then the result.

    The test recordings are read after training. Raises TraceError where the recordings are absent, and the errors of
    training and export.
    """
    trainer = begin(config, benchmark.training(config.data.channels), folder / "run")
    yield from trainer.epochs()
    bundle, _ = export(folder / "run", folder / "bundle")
    yield scored(benchmark, bundle)


def scored(benchmark: Benchmark, bundle: Bundle) -> BenchmarkResult:
    """Score an existing bundle. Raises TraceError where the recordings are absent, BundleError for another robot."""
    bundle.require(parse_config(embedded(benchmark.config)).data.channels, f"benchmark {benchmark.name}")
    predictions, training = benchmark.predict(Predictor.load(bundle)), bundle.manifest.training
    return BenchmarkResult(
        training.config.train.seed,
        str(bundle.folder),
        sum(array.size for array in bundle.arrays("weights.npz").values()),
        bundle.spec.macs,
        float(training.validation or math.nan),
        [*benchmark.score(OURS, predictions), *_linear_score(benchmark, bundle)],
        predictions,
    )


def _linear_score(benchmark: Benchmark, bundle: Bundle) -> list[Score]:
    """Score the linear model of a bundle that was trained for noisy sensors: no other table has it."""
    return [benchmark.linear(bundle)] if isinstance(benchmark, NanodroneLive) else []


def baselines(benchmark: Benchmark) -> list[Score]:
    """Return the reference scores: the published ones, and that of the hold model."""
    return [*benchmark.published, *benchmark.score("hold (here)", benchmark.hold())]
