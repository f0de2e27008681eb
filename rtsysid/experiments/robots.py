"""Run the benchmark of robots: train the default model and its peers on each, and compare them.

A folder keeps what is finished, so that an interrupted run goes on with the same command:

=========================== =====================================================================
NAME/seedN/run, bundle      the model of one seed
NAME/seedN/finished.json    what it was trained on, and how long it took
NAME/errors/                test errors of models and peers, by what they depend on
=========================== =====================================================================
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec

from export.bundle import export
from rtsysid.benchmarks.robot_bars import (
    GRU,
    HOLD,
    LINEAR,
    MODEL,
    ONE_STEP,
    Cell,
    Promise,
    promises,
    robot_cells,
)
from rtsysid.benchmarks.robot_files import FINISHED, TrainedModel, read_trained_model
from rtsysid.benchmarks.robots import HORIZON, TICKS, Peer, Robot, forecast_counts, model_errors, peer_errors
from rtsysid.circle import group_columns, unwrapped
from rtsysid.errors import ConfigError
from rtsysid.evaluation.baselines import Hold, LinearArx
from rtsysid.evaluation.expectation import read_expectation
from rtsysid.experiments.benchmark import quickened
from rtsysid.experiments.compare import seeded
from rtsysid.experiments.gru_peer import fit_gru, processor_shares
from rtsysid.model.bundle import Bundle
from rtsysid.model.npz import ArrayType, read_npz, write_npz
from rtsysid.model.predictor import Predictor
from rtsysid.model.untrusted import Refusal, read_regular
from rtsysid.spec import Floats, ModelSpec, digest
from rtsysid.storage import rewriting
from rtsysid.storage.claim import storage_errors
from rtsysid.train.fit import begin
from rtsysid.train.loop import Epoch
from rtsysid.train.run import Run

LAGS = (2, 5, 10, 20, 40)
RIDGES = (1e-12, 1e-8, 1e-5, 1e-3)
QUICK_EFFORT = 0.1  # share of the epochs in a quick run


class Effort(msgspec.Struct, frozen=True):
    """Say how much is trained: seeds of model and GRU, seconds of one core for a GRU, share of the model's epochs."""

    seeds: int = 3
    gru_seconds: float = 60.0
    share: float = 1.0


FULL, QUICK = Effort(), Effort(seeds=1, gru_seconds=10.0, share=QUICK_EFFORT)


class RobotResult(msgspec.Struct, frozen=True):
    """Hold the result of one robot. ``units`` of the errors by group; ``promises`` is empty where none were stated."""

    name: str
    units: dict[str, str]
    forecasts: int
    models: list[TrainedModel]
    cells: list[Cell]
    promises: list[Promise]


def run_robot(robot: Robot, effort: Effort, folder: Path) -> Iterator[str | Epoch | RobotResult]:
    """Train and test the model and its peers on one robot. Yield lines of progress and epochs, then the result.

    Raises the errors of training and export, and those of `Robot`.
    """
    models = yield from _trained_models(robot, effort, folder)
    bundles = [Bundle.open(folder / f"seed{model.seed}" / "bundle") for model in models]
    tests = RobotTests(robot, bundles[0].spec, folder / "errors")
    errors = {MODEL: [tests.model_errors(bundle) for bundle in bundles]}
    for name in (HOLD, LINEAR, ONE_STEP, GRU):
        errors[name] = []
        for seed in range(effort.seeds if name == GRU else 1):
            errors[name] += [(yield from tests.peer_errors(name, seed, effort.gru_seconds))]
    yield _robot_result(tests, models, errors, folder)


def _trained_models(robot: Robot, effort: Effort, folder: Path) -> Generator[str | Epoch, None, list[TrainedModel]]:
    models = []
    for seed in range(effort.seeds):
        models += [(yield from _trained_model(robot, seed, effort.share, folder / f"seed{seed}"))]
    return models


def _trained_model(robot: Robot, seed: int, share: float, folder: Path) -> Generator[str | Epoch, None, TrainedModel]:
    """Train and export the default model of one seed, unless that was finished before."""
    config, trace = quickened(seeded(robot.config, seed), share), robot.training()
    key = digest([msgspec.to_builtins(config), trace.sources])
    known = read_trained_model(folder)
    if known is not None and known.key == key:
        yield f"seed {seed}: its run was finished before and is used again"
        return known
    begun, continued = time.monotonic(), Run(folder / "run").begun
    yield from begin(config, trace, folder / "run").epochs()
    seconds = None if continued else time.monotonic() - begun
    export(folder / "run", folder / "bundle")
    model = TrainedModel(key, seed, len(trace), seconds)
    with rewriting(folder / FINISHED) as path:
        path.write_bytes(msgspec.json.encode(model))
    return model


class RobotTests:
    """Hold the recordings of one robot in the coordinates of its model, and keep what was measured on them.

    ``test``: test episodes. ``counts``: forecasts of each. ``groups``: the groups of outputs.
    """

    def __init__(self, robot: Robot, spec: ModelSpec, folder: Path) -> None:
        self.robot, self.spec, self.folder = robot, spec, folder
        self.test = robot.testing(spec.channels, spec.rotations)
        self.counts, self.groups = forecast_counts(self.test), list(group_columns(spec.outputs))
        sources = [robot.training().sources, self.test.sources]
        self._about = [sources, msgspec.to_builtins([robot.config.data, spec.channels, spec.relative])]

    @cached_property
    def parts(self) -> tuple[list[Floats], list[Floats]]:
        """Read the training and the validation episodes [n, C] for the peers."""
        return self.robot.split(self.spec)

    def model_errors(self, bundle: Bundle) -> Floats:
        """Measure the test errors of a model, unless they are known: [K, G, T]."""
        path = self._path("model", bundle.manifest.digest)
        if not path.exists():
            self._keep(path, model_errors(Predictor.load(bundle), self.test))
        return self._kept(path)

    def peer_errors(self, name: str, seed: int, gru_seconds: float) -> Generator[str, None, Floats]:
        """Fit a peer and measure its test errors, unless they are known: [K, G, T]."""
        path = self._path(name, [seed, gru_seconds] if name == GRU else [LAGS, RIDGES])
        if not path.exists():
            yield f"peer {name}" + (f" seed {seed}, {gru_seconds:g} s" if name == GRU else "")
            peer = _fitted_peer(name, self.parts, self.spec, seed, gru_seconds)
            self._keep(path, peer_errors(peer, self.test, self.spec))
        return self._kept(path)

    def _path(self, name: str, about: Any) -> Path:
        """Name a file by all that its errors depend on."""
        return self.folder / f"{name.replace(' ', '-')}-{digest([about, self._about])[:12]}.npz"

    def _keep(self, path: Path, errors: Floats) -> None:
        with storage_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        with rewriting(path) as new:
            new.write_bytes(write_npz({"errors": errors}))

    def _kept(self, path: Path) -> Floats:
        refusal = Refusal(ConfigError, f"errors {path}", "remove the file")
        types = {"errors": ArrayType("<f4", (sum(self.counts), len(self.groups), len(TICKS)))}
        return read_npz(read_regular(path, refusal), path.name, types, refusal)["errors"]


def _fitted_peer(
    name: str, parts: tuple[list[Floats], list[Floats]], spec: ModelSpec, seed: int, gru_seconds: float
) -> Peer:
    if name == HOLD:
        return Hold(spec.n_inputs)
    if name == GRU:
        return fit_gru(*parts, spec, seed, processor_shares(gru_seconds))
    return best_arx(*parts, spec, HORIZON if name == LINEAR else 1)


def best_arx(train: Sequence[Floats], validation: Sequence[Floats], spec: ModelSpec, ticks: int) -> LinearArx:
    """Fit a linear ARX to episodes [n, C]; lags and ridge are chosen by the error of the first `ticks` of a forecast.

    Raises the errors of `LinearArx.select`.
    """
    smooth, held_out = ([unwrapped(each, spec.channels) for each in part] for part in (train, validation))
    moving = [k for k, c in enumerate(spec.channels) if c.angle or c.name in spec.relative]
    return LinearArx.select(smooth, held_out, spec.n_inputs, horizon=ticks, lags=LAGS, ridges=RIDGES, relative=moving)


def _robot_result(
    tests: RobotTests, models: list[TrainedModel], errors: dict[str, list[Floats]], folder: Path
) -> RobotResult:
    name, groups = tests.robot.name, tests.groups
    promised: list[Promise] = []
    for model, found in zip(models, errors[MODEL], strict=True):
        stated = read_expectation(folder / f"seed{model.seed}" / "run")
        promised += [] if stated is None else promises(name, model.seed, groups, stated, found)
    units = {c.group or c.name: "rad" if c.unit == "quat" else c.unit for c in tests.spec.outputs}
    cells = robot_cells(name, groups, errors, tests.counts)
    return RobotResult(name, units, sum(tests.counts), models, cells, promised)
