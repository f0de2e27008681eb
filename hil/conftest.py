"""The rig: one bundle, one board, the same tests on each kind of board.

`pytest hil` runs the firmware as a process and on an emulated STM32F405; `pytest hil --port /dev/ttyACM0 --bundle B`
runs it on a real board, whose firmware was built from B. At the end a report says what was measured on what.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest

from export import firmware
from export.bundle import export
from export.hil import Board, greet, open_board, predictions_here
from firmware_bridge import emulator
from firmware_bridge.rig import Rig
from rtsysid.config import Config, read_config
from rtsysid.model.bundle import Bundle
from rtsysid.recordings.home import data_folder
from rtsysid.recordings.simulate import fly
from rtsysid.recordings.trace import Episode, Trace
from rtsysid.schedule import Loss, Stage
from rtsysid.spec import Floats
from rtsysid.train.fit import begin

GOLDEN = Path(__file__).parents[1] / "tests" / "golden" / "instructions.json"
LEARNED_FROM = 800  # rows of each of two flights
REPORT: list[str] = []


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--port", help="a real board, in the place of the simulated and the emulated one")
    parser.addoption("--bundle", help="the bundle to test with; a small model is trained without")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "board" in metafunc.fixturenames:
        port = metafunc.config.getoption("--port")
        metafunc.parametrize("board", [port] if port else ["sim", "qemu"], indirect=True, scope="module")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if REPORT:
        terminalreporter.section("hardware in the loop")
        for line in dict.fromkeys(REPORT):
            terminalreporter.line(line)


@pytest.fixture(scope="session", autouse=True)
def _tools() -> None:
    if not (firmware.available() and emulator.available()):
        pytest.exit("wants the packages that `make hil` installs", returncode=3)


@pytest.fixture(scope="session")
def learned() -> tuple[Config, Trace]:
    """Real flights where there are any, else simulated ones, and a model that is small and quickly trained."""
    name = "quadrotor" if data_folder() is None else "nanodrone"
    config = read_config(name)
    if data_folder() is None:
        trace = fly(3, 110.0)  # more than the rows that are replayed
    else:
        trace = Trace.read(data_folder() / "nanodrone" / "train", config.data.channels)  # type: ignore[operator]
    return small(config), trace


@pytest.fixture(scope="session")
def bundle(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, learned: tuple[Config, Trace]
) -> Bundle:
    if given := request.config.getoption("--bundle"):
        return Bundle.open(given)
    return bundle_of(*learned, tmp_path_factory.mktemp("hil"))


@pytest.fixture(scope="session")
def flights(learned: tuple[Config, Trace]) -> tuple[Episode, ...]:
    """Recordings that are played, none of which the model has learned from."""
    return learned[1].episodes[2:]


@pytest.fixture(scope="session")
def short(flights: tuple[Episode, ...]) -> Floats:
    return flights[0].values[:60]


@pytest.fixture(scope="session")
def expected(bundle: Bundle, short: Floats) -> Floats:
    """What the bundle predicts offline."""
    return predictions_here(bundle, short)


@pytest.fixture(scope="module")
def board(request: pytest.FixtureRequest, bundle: Bundle) -> Iterator[Board]:
    """One board for a module: it starts once."""
    with open_board(bundle, request.param) as opened:
        sizes = f", flash {opened.image.flash:,} B, RAM {opened.image.ram:,} B" if opened.image else ""
        REPORT.append(f"{opened.name}: image {opened.image_sha256[:12] or 'its own'}, bundle {bundle.id}{sizes}")
        yield opened


@pytest.fixture
def rig(board: Board, bundle: Bundle) -> Iterator[Rig]:
    """A new session; after the test the line must be sound, and no message lost on either side."""
    with Rig(board.port) as opened:
        greet(opened, bundle)
        yield opened
        assert opened.faults() == {}


def small(config: Config) -> Config:
    """The same robot with a model that is trained in seconds."""
    model = msgspec.structs.replace(config.model, taps=10, encoder=(32, 12), hidden=24, warmup=10)
    stage = Stage("joint", ("encoder", "lstm", "head"), (Loss("rollout", horizon=10),), epochs=1)
    data = msgspec.structs.replace(config.data, validation=())
    train = msgspec.structs.replace(config.train, symmetry=(), stride=40)
    return msgspec.structs.replace(config, data=data, model=model, train=train, stage=(stage,))


def bundle_of(config: Config, trace: Trace, folder: Path) -> Bundle:
    """A bundle that has learned from the beginnings of the first two recordings."""
    learned = tuple(episode.piece(0, LEARNED_FROM) for episode in trace.episodes[:2])
    for _ in begin(config, Trace(trace.channels, learned), folder / "run").epochs():
        pass
    return export(folder / "run", folder / "bundle")[0]


def require_golden(name: str, found: int) -> None:
    """`found` grew by no more than 2 % over what was recorded; what is new is recorded on the bench, refused in CI."""
    recorded = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
    if name not in recorded:
        assert not os.environ.get("CI"), f"{GOLDEN.name} has no {name!r}: run `make hil` here, and commit it"
        GOLDEN.write_text(json.dumps({**recorded, name: found}, indent=1, sort_keys=True) + "\n")
    bound = 1.02 * recorded.get(name, found)
    assert found <= bound, f"{name}: {found:,} instructions, {recorded[name]:,} recorded"


def same_bits(found: Floats, expected: Floats) -> bool:
    return found.shape == expected.shape and np.asarray(found, np.float32).tobytes() == expected.tobytes()
