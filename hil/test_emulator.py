"""The emulator itself: both machines, and no process is left behind."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from parts import same_bits

from export.firmware import build_image, model_files, model_hash
from export.hil import greet
from firmware_bridge import emulator
from firmware_bridge.emulator import MACHINES, EmulatedDevice
from firmware_bridge.rig import Rig
from rtsysid.errors import LinkError
from rtsysid.model.bundle import Bundle
from rtsysid.spec import Floats

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("port", MACHINES)
def test_every_port_predicts_the_same_bits(
    bundle: Bundle, short: Floats, expected: Floats, tmp_path: Path, port: str
) -> None:
    """On each emulated machine both images, that of files and that of the wire, give the bits of C here."""
    files = model_files(bundle)
    replay = build_image("replay", files, tmp_path / "replay.elf", port=port)
    assert same_bits(emulator.replay_image(replay.path, short, bundle.spec.n_outputs, port).y, expected)
    app = build_image("app", files, tmp_path / "app.elf", port=port, model_hash=model_hash(bundle))
    with EmulatedDevice(app.path, port) as device, Rig(device.port) as rig:
        greet(rig, bundle)
        assert same_bits(np.stack([answer.y for answer in rig.play(short)]), expected)
        assert rig.faults() == {}


def test_an_image_of_another_model_is_found_out(bundle: Bundle, short: Floats, tmp_path: Path) -> None:
    """Rows of another width than the image's model end in one line, not in wrong predictions."""
    image = build_image("replay", model_files(bundle), tmp_path / "replay.elf")
    with pytest.raises(LinkError, match="answers to 60 samples"):
        emulator.replay_image(image.path, short[:, :-1], bundle.spec.n_outputs)


def test_nothing_outlives_who_started_it(bundle: Bundle, tmp_path: Path) -> None:
    """Where the process that owns an emulated board is killed, emulator and cable end too."""
    image = build_image("app", model_files(bundle), tmp_path / "app.elf")
    code = (
        "import sys; from pathlib import Path; from firmware_bridge.emulator import EmulatedDevice\n"
        f"d = EmulatedDevice(Path({str(image.path)!r})).__enter__(); print(*d.pids, flush=True); sys.stdin.read()"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment, cwd=ROOT) as owner:
        assert owner.stdout is not None
        watched = [os.pidfd_open(int(pid)) for pid in owner.stdout.readline().split()]
        owner.kill()
        for watch in watched:
            assert select.select([watch], [], [], 10)[0], "it lives on"
            os.close(watch)
