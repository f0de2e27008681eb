"""A benchmark from its recordings to its score: train its own configuration, export, predict with the runtime."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from export.bundle import export
from rtsysid.benchmarks import Benchmark
from rtsysid.benchmarks.score import Score
from rtsysid.config import Config
from rtsysid.model.bundle import Arrays, Bundle
from rtsysid.model.predictor import Predictor
from rtsysid.train.fit import begin
from rtsysid.train.loop import Epoch

OURS = "rtsysid"


class BenchmarkResult(msgspec.Struct, frozen=True):
    """One trained model. ``validation``: loss of its last epoch, in units of the linear model."""

    seed: int
    bundle: str
    parameters: int
    macs: int
    validation: float
    scores: list[Score]
    predictions: Arrays


def quickened(config: Config, share: float) -> Config:
    """The same configuration with a share of its epochs."""
    effort = config.train.effort * share
    return msgspec.structs.replace(config, train=msgspec.structs.replace(config.train, effort=effort))


def without_validation_training(config: Config) -> Config:
    """The same configuration, which leaves out of training what validates."""
    return msgspec.structs.replace(config, data=msgspec.structs.replace(config.data, train_on_validation=False))


def run(benchmark: Benchmark, config: Config, folder: Path) -> Iterator[Epoch | BenchmarkResult]:
    """Train, export, predict and score in `folder`; yields every epoch, and the result at last.

    The test recordings are read after training alone. Raises TraceError where the recordings are absent.
    """
    trainer = begin(config, benchmark.training(config.data.channels), folder / "run")
    yield from trainer.epochs()
    bundle, _ = export(folder / "run", folder / "bundle")
    yield scored(benchmark, bundle)


def scored(benchmark: Benchmark, bundle: Bundle) -> BenchmarkResult:
    """The result of a bundle that stands."""
    predictions, training = benchmark.predict(Predictor.load(bundle)), bundle.manifest["training"]
    return BenchmarkResult(
        training["config"]["train"]["seed"],
        str(bundle.folder),
        sum(array.size for array in bundle.arrays("weights.npz").values()),
        bundle.spec.macs,
        float(training["validation"]),
        benchmark.score(OURS, predictions),
        predictions,
    )


def baselines(benchmark: Benchmark) -> list[Score]:
    """What must be beaten at least: a model that stands still, and the published ones."""
    return [*benchmark.published, *benchmark.score("hold (here)", benchmark.hold())]
