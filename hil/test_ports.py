"""Ports: flags of their own, an example that samples and predicts by itself, int8, and images that do not fit."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import numpy as np
import pytest

from export.firmware import PORTS, build_image, model_files, model_hash
from export.hil import open_board, play, predictor_here
from firmware_bridge.emulator import MACHINES, EmulatedDevice
from firmware_bridge.link import Link
from rtsysid.errors import BundleError
from rtsysid.model.bundle import Bundle
from rtsysid.recordings.trace import Episode
from rtsysid.spec import Floats

PATIENCE = 60  # lines of log at most: they come ten times a second


def sensors(count: int, channels: int) -> Floats:
    """What the simulated sensors of the example give: [count, C]."""
    phase = (np.arange(count)[:, None] + 7 * np.arange(channels)) % 64
    wave = np.where(phase < 32, phase, 64 - phase).astype(np.float32) * np.float32(1 / 16) - np.float32(1)
    return np.float32(0.1) * wave


@pytest.mark.parametrize("port", MACHINES)
def test_the_example_samples_and_predicts_by_itself(bundle: Bundle, tmp_path: Path, port: str) -> None:
    """On each emulated machine the sampling interrupt feeds the model on the board: its predictions are the bits of C
    here, and the host gets the same samples."""
    image = build_image("sensors", model_files(bundle), tmp_path / "s.elf", port=port, model_hash=model_hash(bundle))
    told: list[list[int]] = []
    streamed: list[Floats] = []
    with EmulatedDevice(image.path, port) as device, Link(device.port) as link:
        for batch in link.batches(0.1):
            streamed += [arrival.sample.values.copy() for arrival in batch]
            lines = [re.fullmatch(r"board: ([0-9a-f]{8}(?: [0-9a-f]{8})+)", line) for line in link.events()]
            told += [[int(word, 16) for word in line[1].split()] for line in lines if line]
            if len(told) >= 3 and len(streamed) >= 20:
                break
            assert len(told) < PATIENCE
    newest = told[-1][0]
    rows, predictor = sensors(newest + 1 + 64, bundle.spec.width), predictor_here(bundle)
    expected = [predictor.step(row).copy() for row in rows[: newest + 1]]
    for count, *bits in told:
        assert struct.pack(f"<{len(bits)}I", *bits) == expected[count].tobytes()
    cycle = {row.tobytes() for row in rows[:64]}
    assert all(values.tobytes() in cycle for values in streamed)


def test_int8_on_a_board_is_int8_here(bundle: Bundle, flights: tuple[Episode, ...]) -> None:
    """The board with int8 weights gives the bits of int8 C on this machine, which are not those of float32."""
    piece = flights[0].piece(0, 40)
    with open_board(bundle, "qemu", int8=True) as board:
        (report,) = play(board, bundle, [piece], int8=True)
        assert report.equal
        assert report.compared > 0
        assert board.image is not None
        small = board.image.flash
    with open_board(bundle, "qemu") as board:
        (other,) = play(board, bundle, [piece], int8=True)
        assert not other.equal
        assert board.image is not None
        assert small < board.image.flash


def test_what_does_not_fit_is_said_with_both_sizes(bundle: Bundle, tmp_path: Path) -> None:
    """An image that is too large for the chip is refused in one line, with what it needs and what there is."""
    small = tmp_path / "tiny"
    small.mkdir()
    (small / "chip.h").write_text((PORTS / "stm32f405" / "chip.h").read_text())
    (small / "flags.txt").write_text((PORTS / "stm32f405" / "flags.txt").read_text())
    script = (PORTS / "stm32f405" / "stm32f405.ld").read_text()
    (small / "tiny.ld").write_text(script.replace("LENGTH = 1024K", "LENGTH = 8K"))
    with pytest.raises(BundleError, match=r"it does not fit: 0\.\d MB of 8 KiB \(FLASH\); use int8") as refused:
        build_image("app", model_files(bundle), tmp_path / "a.elf", port=str(small))
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "a.elf").exists()


def test_a_port_without_flags_is_named() -> None:
    """A folder that is no port is refused with the names of those that are."""
    with pytest.raises(BundleError, match="choose among mps2-an385, mps2-an386, stm32f405"):
        build_image("app", {"model.c": ""}, Path("a.elf"), port="posix")
