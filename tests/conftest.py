"""Fixtures that several wings share, and the choice of fast tests. Most tests load no torch, nor does this file."""

from __future__ import annotations

import ast
import gc
import os
import signal
import sys
from collections.abc import Sequence
from functools import cache
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from support.robots import DATA_ALONE, TINY, plant
from support.shared import made_once, own_state

from rtsysid.config import Config, parse_config
from rtsysid.model.bundle import Bundle
from rtsysid.recordings.trace import Trace
from rtsysid.spec import VARIANTS

os.environ["OMP_NUM_THREADS"] = "1"  # before torch and NumPy read it: two threads are slower than one at these sizes
# `nohup make test &` leaves both ignored, and tests close a terminal and interrupt what they start.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)

# A busy machine must fail no test: Hypothesis measures no time of an example, nor of making one.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

HEAVY = ("torch", "onnx", "export", "rtsysid.train", "rtsysid.experiments")  # what training and export load
COMPILED = ("firmware_bridge.build", "firmware_bridge.device", "firmware_bridge.emulator", "support.app_board",
            "support.c_process", "support.live_host")  # what compiles the firmware  # fmt: skip
TRAINED = {"run_folder", "auto_run_folder", "bundle_folder", "calibrated_folder"}  # fixtures that train


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fast", action="store_true", help="only tests without torch, compilers, emulators and `slow`")


def pytest_configure(config: pytest.Config) -> None:
    own_state(config)
    if config.getoption("--fast"):
        sys.meta_path.insert(0, _NoTorch())


class _NoTorch:
    """With --fast torch cannot be imported, so that no test brings it in by the way."""

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: object = None) -> ModuleSpec | None:
        if name == "torch":
            raise ModuleNotFoundError("no test that `make fast` runs may load torch", name="torch")
        return None


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """With --fast: leave out test files that import what trains, exports or compiles, before they are imported."""
    if config.getoption("--fast") and collection_path.name.startswith("test_"):
        return needs(collection_path, (*HEAVY, *COMPILED)) or None
    return None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With --fast: leave out what is slow and what asks for a trained model."""
    if config.getoption("--fast"):
        kept, left = [], []
        for item in items:
            trained = TRAINED & set(getattr(item, "fixturenames", ()))
            marked = item.get_closest_marker("slow") or item.get_closest_marker("torch")
            (left if trained or marked else kept).append(item)
        items[:] = kept
        config.hook.pytest_deselected(items=left)


def pytest_collection_finish() -> None:
    """Freeze what the imports made: it stays to the end, and the garbage collector need not look at it again."""
    gc.collect()
    gc.freeze()


@cache
def needs(path: Path, packages: tuple[str, ...]) -> bool:
    """Whether a module imports one of these packages, at its top or in a function."""
    for node in ast.walk(ast.parse(path.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names = [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
        if any(name == package or name.startswith(f"{package}.") for name in names for package in packages):
            return True
    return False


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
    """A finished run of the tiny configuration; not to be changed."""

    def train(folder: Path) -> None:
        from rtsysid.train.fit import begin

        for _ in begin(tiny_config, tiny_trace, folder, TINY).epochs():
            pass

    return made_once(tmp_path_factory, "run", train)


@pytest.fixture(scope="session")
def auto_run_folder(tmp_path_factory: pytest.TempPathFactory, tiny_trace: Trace) -> Path:
    """A finished run of a configuration of [data] alone, with a few updates; not to be changed."""

    def train(folder: Path) -> None:
        from rtsysid.train.auto.begin import begin_auto
        from rtsysid.train.auto.trainer import Updates

        trace = Trace(tiny_trace.channels, plant(4, 150).episodes)
        for _ in begin_auto(parse_config(DATA_ALONE), trace, folder, DATA_ALONE, updates=Updates(1, 2)).epochs():
            pass

    return made_once(tmp_path_factory, "auto_run", train)


@pytest.fixture(scope="session")
def bundle_folder(tmp_path_factory: pytest.TempPathFactory, run_folder: Path) -> Path:
    """Its bundle; not to be changed."""

    def make(folder: Path) -> None:
        from export.bundle import export

        export(run_folder, folder)

    return made_once(tmp_path_factory, "bundle", make)


@pytest.fixture(scope="session")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An unseen recording of the same plant as CSV."""
    path = tmp_path_factory.mktemp("recording") / "unseen.csv"
    plant(1, 200, seed=5).write(path)
    return path


@pytest.fixture(scope="session")
def calibrated_folder(tmp_path_factory: pytest.TempPathFactory, bundle_folder: Path) -> Path:
    """The tiny bundle, calibrated on five minutes of the same plant; not to be changed."""

    def make(folder: Path) -> None:
        from rtsysid.evaluation.calibrate import HeldOut, calibrate_predictor, calibration_files
        from rtsysid.model.predictor import Predictor

        bundle = Bundle.open(bundle_folder)
        episodes = [HeldOut(e.values, e.values) for e in plant(30, 500, seed=9).episodes]
        found = calibrate_predictor(Predictor.load(bundle, "numpy"), episodes, "the plant", horizon=20)
        bundle.rewritten(folder, calibration_files(*found))

    return made_once(tmp_path_factory, "calibrated", make)


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a user who has no keys yet; what was logged before is forgotten."""
    from rtsysid.model import loading

    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    loading._log_once.cache_clear()
    return tmp_path / "data" / "rtsysid" / "keys"
