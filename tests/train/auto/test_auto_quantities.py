"""Test what a default training takes for an angle or a quaternion."""

from __future__ import annotations

import numpy as np
import pytest

from rtsysid.config import parse_config
from rtsysid.recordings.trace import Episode, Trace
from rtsysid.spec import Doubles
from rtsysid.train.auto.quantities import with_quantities

ROWS = np.arange(200)
TURNING = (0.1 * ROWS + np.pi) % (2 * np.pi) - np.pi
TURNED = {
    "rad": TURNING,
    "deg": np.degrees(TURNING),
    "rad from 0": TURNING + np.pi,
    "noise at the end of the turn": np.where(ROWS % 3, 3.1, -3.1) + 0.01 * np.sin(ROWS),
}
NO_ANGLES = {
    "a command of two levels": np.where(ROWS // 20 % 2, 3.0, -3.0),
    "a counter": np.cumsum(np.where(ROWS == 50, 6.0, ROWS % 2)),
    "a speed": 3.2 * np.sign(np.sin(ROWS / 5)) * (1 + 0.01 * ROWS),
}


def found(outputs: Doubles, names: str) -> list[tuple[str, bool]]:
    """Unit and whether it is an angle of each output [n, ny], of which nothing is said."""
    text = ", ".join(f'"{name}"' for name in names)
    config = parse_config(f'[data]\nrate_hz = 50\ninputs = ["u [V]"]\noutputs = [{text}]\n')
    values = np.column_stack((np.sin(ROWS), outputs)).astype(np.float32)
    trace = Trace(config.data.channels, (Episode("run", ROWS / 50, values),))
    return [(channel.unit, channel.angle) for channel in with_quantities(config, trace)[1].channels[1:]]


@pytest.mark.parametrize("name", TURNED)
def test_what_comes_back_after_a_turn_is_an_angle(name: str) -> None:
    """A channel without a unit that jumps by a turn and moves on is an angle, in the unit of its turn."""
    assert found(TURNED[name], "a") == [("deg" if name == "deg" else "rad", True)]


@pytest.mark.parametrize("name", NO_ANGLES)
def test_what_only_jumps_is_no_angle(name: str) -> None:
    """Two levels that lie a turn apart by chance, and a value that leaves the turn, are compared as they are."""
    assert found(NO_ANGLES[name], "a") == [("", False)]


def test_a_command_without_a_unit_is_no_angle() -> None:
    """A noisy command that switches between 3 and -3 looks like an angle near the end of its turn."""
    command = np.where(ROWS // 20 % 2, 3.0, -3.0) + 0.01 * np.sin(ROWS)
    for unit, angle in (("", False), (" [rad]", True)):
        config = parse_config(f'[data]\nrate_hz = 50\ninputs = ["u{unit}"]\noutputs = ["y"]\n')
        values = np.column_stack((command, np.sin(ROWS))).astype(np.float32)
        trace = Trace(config.data.channels, (Episode("run", ROWS / 50, values),))
        assert with_quantities(config, trace)[1].channels[0].angle is angle


def test_flags_of_four_states_are_no_quaternion() -> None:
    """One of four flags is 1 in every row, so their squares sum to 1, and nothing rotates."""
    assert found(np.eye(4)[ROWS // 7 % 4], "abcd") == [("", False)] * 4
    half = ROWS[:, None] / 50 + np.array([0, np.pi / 2])
    rotating = np.concatenate((np.cos(half), np.zeros((len(ROWS), 2))), 1)
    assert [unit for unit, _ in found(rotating, "abcd")] == ["quat"] * 4
