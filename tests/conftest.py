"""Fixtures that several wings share. What trains is imported where it trains: most tests load no torch."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.robots import TINY, plant

from rtsysid.config import Config, parse_config
from rtsysid.model.bundle import Bundle
from rtsysid.recordings.trace import Trace
from rtsysid.spec import VARIANTS

os.environ["OMP_NUM_THREADS"] = "1"  # before torch and NumPy read it: two threads are slower than one at these sizes


@pytest.fixture(params=VARIANTS)
def variant(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def tiny_config() -> Config:
    return parse_config(TINY)


@pytest.fixture(scope="session")
def tiny_trace(tiny_config: Config) -> Trace:
    return Trace(tiny_config.data.channels, plant().episodes)


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory, tiny_config: Config, tiny_trace: Trace) -> Path:
    """A finished run of the tiny configuration."""
    from rtsysid.train.fit import begin

    folder = tmp_path_factory.mktemp("tiny") / "run"
    for _ in begin(tiny_config, tiny_trace, folder, TINY).epochs():
        pass
    return folder


@pytest.fixture(scope="session")
def bundle_folder(run_folder: Path) -> Path:
    """Its bundle; not to be changed."""
    from export.bundle import export

    export(run_folder, run_folder.parent / "bundle")
    return run_folder.parent / "bundle"


@pytest.fixture(scope="session")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An unseen recording of the same plant as CSV."""
    path = tmp_path_factory.mktemp("recording") / "unseen.csv"
    plant(1, 200, seed=5).write(path)
    return path


@pytest.fixture(scope="session")
def calibrated_folder(bundle_folder: Path) -> Path:
    """The tiny bundle, calibrated on five minutes of the same plant; not to be changed."""
    from rtsysid.evaluation.calibrate import HeldOut, calibrate_predictor, recalibrated
    from rtsysid.model.predictor import Predictor

    bundle = Bundle.open(bundle_folder)
    episodes = [HeldOut(e.values, e.values) for e in plant(30, 500, seed=9).episodes]
    found = calibrate_predictor(Predictor.load(bundle, "numpy"), episodes, "the plant", horizon=20)
    return recalibrated(bundle, *found, bundle_folder.parent / "calibrated").folder
