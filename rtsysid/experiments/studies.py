"""The models that the studies of novelty and intervals are made on, trained where they are not there yet.

Every recording has one part in a study: it trains, it validates (and calibrates), or it measures. Of the nano-drone
runs 1 and 2 train, run 3 validates, run 4 measures; the melon flights are not read. One model knows all three kinds of
manoeuvre, and three know two of them each. Of the Schunk arm the parts are those of its benchmark.
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
from rtsysid.evaluation.calibrate import HeldOut as Stretch
from rtsysid.evaluation.calibrate import calibrate_predictor, recalibrated
from rtsysid.experiments.benchmark import quickened
from rtsysid.model.bundle import Bundle
from rtsysid.model.predictor import Predictor
from rtsysid.recordings.simulate import fly
from rtsysid.recordings.trace import Trace
from rtsysid.schedule import preset
from rtsysid.train.fit import begin
from rtsysid.train.loop import Epoch

TRAINING_FLIGHTS, CALIBRATION_FLIGHTS, FLIGHT_S = 12, 15, 40.0
SIMULATED_EFFORT = 0.8  # of the preset: clean simulated flights are learned soon


def simulated(folder: Path, share: float, hours: float) -> Iterator[Epoch | Subject]:
    """The simulated quadrotor, of which there is as much to measure on as one likes."""
    config = quickened(_embedded("quadrotor"), SIMULATED_EFFORT * share)
    bundle = yield from _trained(config, fly(TRAINING_FLIGHTS, FLIGHT_S, seed=0), folder)
    calibration = fly(CALIBRATION_FLIGHTS, FLIGHT_S, seed=1).episodes
    stretches = [Stretch(each.values, each.values) for each in calibration]
    found = calibrate_predictor(Predictor.load(bundle), stretches, "ten minutes of simulated flight")
    bundle = recalibrated(bundle, *found, folder / "calibrated")
    measured = fly(round(hours * 3600 / FLIGHT_S), FLIGHT_S, seed=2).episodes
    yield Subject("simulated", bundle, calibration, measured)


def nanodrone(folder: Path, share: float, unknown: str = "", *, sampling: bool = False) -> Iterator[Epoch | Subject]:
    """The nano-drone, with one of `KINDS` unknown to it, or none; `sampling`: with a variational code."""
    config = quickened(_embedded("nanodrone"), share)
    config = msgspec.structs.replace(config, data=msgspec.structs.replace(config.data, validation=("*_run3",)))
    if sampling:
        model = msgspec.structs.replace(config.model, variational=True)
        config = msgspec.structs.replace(config, model=model, stage=preset("variational"))
    flights = Nanodrone().training(config.data.channels)
    known = [e for e in flights.episodes if not unknown or not e.name.startswith(unknown)]
    part = {run: tuple(e for e in known if e.name.endswith(f"run{run}")) for run in (1, 2, 3, 4)}
    train = Trace(flights.channels, (*part[1], *part[2], *part[3]), flights.sources)
    bundle = yield from _trained(config, train, folder)
    strange = tuple(e for e in flights.episodes if e not in known)
    name = "nanodrone" + (f" but {unknown}" if unknown else "") + (" variational" if sampling else "")
    yield Subject(name, bundle, part[3], part[4], strange)


def schunk(folder: Path, share: float) -> Iterator[Epoch | Subject]:
    """The Schunk arm."""
    arm = SchunkArm()
    config = quickened(_embedded(arm.config), share)
    training = arm.training(config.data.channels)
    bundle = yield from _trained(config, training, folder)
    calibration = tuple(e for e in training.episodes if e.name.endswith("validation"))
    yield Subject("schunk-arm", bundle, calibration, arm.test)


def subjects(folder: Path, share: float, hours: float, *, sampling: bool = False) -> Iterator[Epoch | Subject]:
    """All of them, with `sampling` the variational one too; every epoch on the way."""
    yield from simulated(folder / "simulated", share, hours)
    yield from nanodrone(folder / "nanodrone", share)
    for kind in KINDS:
        yield from nanodrone(folder / f"nanodrone-but-{kind}", share / 2, kind)  # what they cannot know takes no longer
    yield from schunk(folder / "schunk-arm", share)
    if sampling:
        yield from nanodrone(folder / "nanodrone-variational", share, sampling=True)


def _embedded(name: str) -> Config:
    return parse_config(embedded(name), name)


def _trained(config: Config, trace: Trace, folder: Path) -> Generator[Epoch, None, Bundle]:
    """Train and export what is not there yet."""
    if not (folder / "bundle" / "manifest.json").exists():
        yield from begin(config, trace, folder / "run").epochs()
        export(folder / "run", folder / "bundle")
    return Bundle.open(folder / "bundle")
