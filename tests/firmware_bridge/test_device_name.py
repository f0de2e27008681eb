"""The name of a simulated device's port is a link that takes the place of nothing of the user's."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from support.outputs import tree

from firmware_bridge.device import SimulatedDevice
from firmware_bridge.schema import Schema, WireChannel
from rtsysid.errors import StorageError

SCHEMA, ROWS = Schema((WireChannel("y"),), 100.0), np.zeros((1, 1), np.float32)


@pytest.mark.parametrize("place", ["file", "folder", "link to a file", "dangling link", "terminal in use"])
def test_a_port_takes_no_name_that_is_taken(tmp_path: Path, place: str) -> None:
    """Where something of the user is, also a link of theirs, the device is refused and nothing is touched."""
    master, slave = os.openpty()
    name, target = tmp_path / "robot", tmp_path / "flight.csv"
    target.write_text("t,y\n")
    targets = {"link to a file": target, "dangling link": tmp_path / "gone", "terminal in use": Path(os.ttyname(slave))}
    if place == "folder":
        name.mkdir()
    elif place == "file":
        name.write_text("recorded")
    else:
        name.symlink_to(targets[place])
    before = tree(tmp_path)
    with pytest.raises(StorageError, match="it is not the link of a simulated device"):
        SimulatedDevice(SCHEMA, ROWS, port=name).__enter__()
    assert tree(tmp_path) == before
    os.close(master)
    os.close(slave)


def test_a_port_takes_the_name_of_a_device_that_was_killed(tmp_path: Path) -> None:
    """The link that a killed owner left is replaced; at the end a device removes its own link and no other."""
    master, slave = os.openpty()
    name = tmp_path / "below" / "robot"
    name.parent.mkdir()
    name.symlink_to(os.ttyname(slave))
    os.close(slave)
    os.close(master)
    with SimulatedDevice(SCHEMA, ROWS, port=name) as device:
        assert os.path.exists(device.port)
        assert [each.name for each in name.parent.iterdir()] == ["robot"]
        name.unlink()
        name.write_text("mine")
    assert name.read_text() == "mine"
