"""The model on a board that is a process: link 5 of the parity chain, and a wire that does harm."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from support.robots import plant
from support.shim import FAULTS, Fault, Shim

from export import firmware
from export.firmware import build_image, model_files, model_hash
from export.hil import greet, predictions_here
from firmware_bridge import emulator
from firmware_bridge.build import SANITIZERS
from firmware_bridge.device import SimulatedDevice
from firmware_bridge.messages import Prediction, Status, TraceSample
from firmware_bridge.rig import Rig
from firmware_bridge.schema import Schema
from rtsysid.cli import cli
from rtsysid.errors import BundleError, LinkError
from rtsysid.model.bundle import Bundle
from rtsysid.spec import Floats

ROWS = 120


@pytest.fixture(scope="module")
def bundle(bundle_folder: Path) -> Bundle:
    return Bundle.open(bundle_folder)


@pytest.fixture(scope="module")
def rows() -> Floats:
    return plant(1, ROWS, seed=9).episodes[0].values


@pytest.fixture(scope="module")
def here(bundle: Bundle, rows: Floats) -> Floats:
    return predictions_here(bundle, rows)


@pytest.fixture(scope="module")
def device(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatedDevice]:
    folder = tmp_path_factory.mktemp("model")
    for name, text in model_files(bundle).items():
        (folder / name).write_text(text)
    schema, idle = Schema.of(bundle.spec.channels, bundle.spec.rate_hz), np.zeros((1, bundle.spec.width), np.float32)
    options = {"model": folder, "model_hash": model_hash(bundle), "flags": SANITIZERS}
    with SimulatedDevice(schema, idle, **options) as running:  # type: ignore[arg-type]
        yield running
        running._order("status")  # no sanitizer has ended it


def played(rig: Rig, rows: Floats) -> bytes:
    return np.stack([answer.y for answer in rig.play(rows)]).tobytes()


def test_link_5_the_firmware_predicts_the_same_bits(
    device: SimulatedDevice, bundle: Bundle, rows: Floats, here: Floats
) -> None:
    """Over the wire, under sanitizers, each prediction is bit by bit that of strict C here; nothing is said twice."""
    with Rig(device.port) as rig:
        greet(rig, bundle)
        assert rig.board.model_hash == model_hash(bundle)
        assert played(rig, rows) == here.tobytes()
        assert rig.faults() == {}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_bad_wire_only_delays(
    device: SimulatedDevice, bundle: Bundle, rows: Floats, here: Floats, tmp_path: Path, fault: Fault
) -> None:
    """Rows and predictions that are damaged, lost, doubled or late are said again; each steps the model once."""
    with Shim(device.port, tmp_path) as shim, Rig(shim.port, again_s=0.05) as rig:
        greet(rig, bundle)
        shim.to_host.code, shim.to_board.code = Prediction.CODE, TraceSample.CODE
        shim.to_host.start(fault, 11)
        shim.to_board.start(fault, 13)
        assert played(rig, rows) == here.tobytes()
        assert min(shim.to_host.done, shim.to_board.done) >= 5
        assert rig.faults()


def test_only_the_right_row_is_stepped(device: SimulatedDevice, bundle: Bundle, rows: Floats, here: Floats) -> None:
    """A row out of turn and a row of another width are refused, and leave the model as it was."""
    with Rig(device.port) as rig:
        greet(rig, bundle)
        rig.play(rows[:20])
        rig._index = 25
        with pytest.raises(LinkError, match="next index"):
            rig.step(rows[20])
        rig._index = 20
        with pytest.raises(LinkError, match="channels"):
            rig.step(rows[20, :-1])
        assert rig.step(rows[20]).y.tobytes() == here[20].tobytes()


def test_predictions_warm_up(device: SimulatedDevice, bundle: Bundle, rows: Floats) -> None:
    """Until the delay line is full a prediction is NaN and says so."""
    with Rig(device.port) as rig:
        greet(rig, bundle)
        answers = rig.play(rows[:10])
    taps = bundle.spec.taps
    assert [answer.status for answer in answers] == [Status.warm_up] * (taps - 1) + [Status.ok] * (11 - taps)
    assert [bool(np.isnan(answer.y).all()) for answer in answers] == [True] * (taps - 1) + [False] * (11 - taps)


def test_a_board_with_another_model_is_refused(bundle: Bundle, rows: Floats) -> None:
    """Without a model, or with another one, the board is refused in one line before any row is said."""
    schema = Schema.of(bundle.spec.channels, bundle.spec.rate_hz)
    with (
        SimulatedDevice(schema, rows[:1]) as device,
        Rig(device.port) as rig,
        pytest.raises(LinkError, match="its model is 00000000, not"),
    ):
        greet(rig, bundle)


def test_the_verb_tells_whether_all_bits_are_equal(bundle_folder: Path, recording: Path) -> None:
    """`rtsysid hil --device sim --json` plays a recording and reports that its predictions equal the bundle's here."""
    arguments = ["hil", str(bundle_folder), str(recording), "--device", "sim", "--rows", "50", "--json"]
    done = CliRunner().invoke(cli, arguments)
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    [report] = found["recordings"]
    assert found["equal"]
    assert (report["rows"], report["error"]) == (50, 0.0)


def test_what_is_not_installed_is_one_line(bundle: Bundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without the cross compiler or the emulator the error says what is missing and what installs it."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not firmware.available()
    assert not emulator.emulator_available()
    with pytest.raises(BundleError, match="arm-none-eabi-gcc is not installed; run make hil"):
        build_image("replay", model_files(bundle), tmp_path / "image.elf")
    with pytest.raises(LinkError, match="qemu-system-arm is not installed; run make hil"):
        emulator.replay_image(tmp_path / "image.elf", np.zeros((1, 3), np.float32), 2)
