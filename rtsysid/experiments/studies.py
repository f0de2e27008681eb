"""Train the models for the studies of novelty and intervals. Existing models are reused.

A recording has one role in a study: training, validation and calibration, or measurement. Of the nano-drone, runs 1 and
2 train, run 3 validates, and run 4 measures; the melon flights are not read. One model is trained on all three kinds of
manoeuvre, and three models on two kinds each. The Schunk arm has the split of its benchmark.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path

import msgspec

from export.bundle import export
from rtsysid.benchmarks.nanodrone import KINDS, Nanodrone
from rtsysid.benchmarks.schunk import SchunkArm
from rtsysid.benchmarks.studies import Subject
from rtsysid.config import Config, embedded, parse_config
from rtsysid.evaluation.calibrate import HeldOut, calibrate_predictor, calibration_files
from rtsysid.experiments.benchmark import quickened
from rtsysid.model.bundle import Bundle
from rtsysid.model.predictor import Predictor
from rtsysid.recordings.simulate import fly
from rtsysid.recordings.trace import Trace
from rtsysid.schedule import noise_stages, preset
from rtsysid.train.fit import begin
from rtsysid.train.loop import Epoch

TRAINING_FLIGHTS, CALIBRATION_FLIGHTS, FLIGHT_S = 12, 15, 40.0
SIMULATED_EFFORT = 0.8  # of the preset's epochs: simulated flights need less training


def simulated(folder: Path, share: float, hours: float) -> Iterator[Epoch | Subject]:
    """Yield the simulated quadrotor, measured on `hours` of flight."""
    config = quickened(_embedded("quadrotor"), SIMULATED_EFFORT * share)
    bundle = yield from _trained_bundle(config, fly(TRAINING_FLIGHTS, FLIGHT_S, seed=0), folder)
    calibration = fly(CALIBRATION_FLIGHTS, FLIGHT_S, seed=1).episodes
    held_out = [HeldOut(each.values, each.values) for each in calibration]
    calibrated = calibrate_predictor(Predictor.load(bundle), held_out, "ten minutes of simulated flight")
    bundle = bundle.rewritten(folder / "calibrated", calibration_files(*calibrated))
    measured = fly(round(hours * 3600 / FLIGHT_S), FLIGHT_S, seed=2).episodes
    yield Subject("simulated", bundle, calibration, measured)


def nanodrone(folder: Path, share: float, unknown: str = "", *, sampling: bool = False) -> Iterator[Epoch | Subject]:
    """Yield the nano-drone, trained without the kind `unknown` if given; with `sampling`, with a variational code.

    Raises TraceError where the recordings are absent.
    """
    config = quickened(_embedded("nanodrone"), share)
    config = msgspec.structs.replace(config, data=msgspec.structs.replace(config.data, validation=("*_run3",)))
    if sampling:
        model = msgspec.structs.replace(config.model, distribution="variational")
        stages = (*preset("variational"), *noise_stages("variational"))
        config = msgspec.structs.replace(config, model=model, stage=stages)
    flights = Nanodrone().training(config.data.channels)
    known = [e for e in flights.episodes if not unknown or not e.name.startswith(unknown)]
    runs = {run: tuple(e for e in known if e.name.endswith(f"run{run}")) for run in (1, 2, 3, 4)}
    train = Trace(flights.channels, (*runs[1], *runs[2], *runs[3]), flights.sources)
    bundle = yield from _trained_bundle(config, train, folder)
    unseen = tuple(e for e in flights.episodes if e not in known)
    name = "nanodrone" + (f" but {unknown}" if unknown else "") + (" variational" if sampling else "")
    yield Subject(name, bundle, runs[3], runs[4], unseen)


def schunk(folder: Path, share: float) -> Iterator[Epoch | Subject]:
    """Yield the Schunk arm. Raises TraceError where the recordings are absent."""
    arm = SchunkArm()
    config = quickened(_embedded(arm.config), share)
    training = arm.training(config.data.channels)
    bundle = yield from _trained_bundle(config, training, folder)
    calibration = tuple(e for e in training.episodes if e.name.endswith("validation"))
    yield Subject("schunk-arm", bundle, calibration, arm.test)


def subjects(folder: Path, share: float, hours: float, *, sampling: bool = False) -> Iterator[Epoch | Subject]:
    """Yield all subjects, and every epoch of their training; with `sampling`, the variational model too."""
    yield from simulated(folder / "simulated", share, hours)
    yield from nanodrone(folder / "nanodrone", share)
    for kind in KINDS:
        yield from nanodrone(folder / f"nanodrone-but-{kind}", share / 2, kind)  # two kinds need half of the training
    yield from schunk(folder / "schunk-arm", share)
    if sampling:
        yield from nanodrone(folder / "nanodrone-variational", share, sampling=True)


def _embedded(name: str) -> Config:
    return parse_config(embedded(name), name)


def _trained_bundle(config: Config, trace: Trace, folder: Path) -> Generator[Epoch, None, Bundle]:
    """Train and export a model, unless its bundle exists."""
    if not (folder / "bundle" / "manifest.json").exists():
        yield from begin(config, trace, folder / "run").epochs()
        export(folder / "run", folder / "bundle")
    return Bundle.open(folder / "bundle")
