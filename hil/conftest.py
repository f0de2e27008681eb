"""The rig: one bundle, one board, the same tests on each kind of board.

`pytest hil` runs the firmware as a process and on an emulated STM32F405; `pytest hil --port /dev/ttyACM0 --bundle B`
runs it on a real board, whose firmware was built from B. At the end a report says what was measured on what.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from parts import REPORT, bundle_of, small
from support.shared import own_state

from export import firmware
from export.hil import RigBoard, greet, open_board, predictions_here
from firmware_bridge import emulator
from firmware_bridge.rig import Rig
from rtsysid.config import Config, read_config
from rtsysid.model.bundle import Bundle
from rtsysid.recordings.home import data_folder
from rtsysid.recordings.simulate import fly
from rtsysid.recordings.trace import Episode, Trace
from rtsysid.spec import Floats

torch.set_num_threads(1)  # two are slower than one at these sizes


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--port", help="a real board, in the place of the simulated and the emulated one")
    parser.addoption("--bundle", help="the bundle to test with; a small model is trained without")


def pytest_configure(config: pytest.Config) -> None:
    own_state(config)


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
    if not (firmware.available() and emulator.emulator_available()):
        pytest.exit("wants the packages that `make hil` installs", returncode=3)


@pytest.fixture(scope="session")
def learned() -> tuple[Config, Trace]:
    """Real flights where there are any, else simulated ones, and a small model trained in seconds."""
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
    """Recordings to play, all held out of training."""
    return learned[1].episodes[2:]


@pytest.fixture(scope="session")
def short(flights: tuple[Episode, ...]) -> Floats:
    return flights[0].values[:60]


@pytest.fixture(scope="session")
def expected(bundle: Bundle, short: Floats) -> Floats:
    """Predictions of the bundle on this machine."""
    return predictions_here(bundle, short)


@pytest.fixture(scope="module")
def board(request: pytest.FixtureRequest, bundle: Bundle) -> Iterator[RigBoard]:
    """One board for a module, started once."""
    with open_board(bundle, request.param) as opened:
        sizes = f", flash {opened.image.flash:,} B, RAM {opened.image.ram:,} B" if opened.image else ""
        REPORT.append(f"{opened.name}: image {opened.image_sha256[:12] or 'its own'}, bundle {bundle.id}{sizes}")
        yield opened


@pytest.fixture
def rig(board: RigBoard, bundle: Bundle) -> Iterator[Rig]:
    """A new session; after the test no message may be lost or damaged on either side."""
    with Rig(board.port) as opened:
        greet(opened, bundle)
        yield opened
        assert opened.faults().keys() <= {"repeats"}  # an emulator on a busy machine answers late
