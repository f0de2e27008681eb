"""Test that a report names the faults of spoiled models of a real robot, whose inputs follow its outputs."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.spoiled_robots import FAULTS, RealRobot, found, robots, trained

from rtsysid.errors import TraceError

pytestmark = [pytest.mark.slow, pytest.mark.torch]
ROBOT = "humanoid_arm"  # twelve short episodes: its models are trained within seconds


@pytest.fixture(scope="module")
def robot() -> RealRobot:
    try:
        return next(each for each in robots("test") if each.name == ROBOT)
    except TraceError as error:
        pytest.skip(f"wants {error.what}")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("spoiled_robots")


@pytest.mark.parametrize("fault", FAULTS)
def test_the_fault_of_a_real_robot_is_named(fault: str, robot: RealRobot, root: Path) -> None:
    """Each spoiled model gets its fault among the causes; a good one gets none of them."""
    if fault == "ringing":
        trained(robot, "good", root)  # it is spoiled afterwards
    named = {cause.fault for cause in found(robot, fault, trained(robot, fault, root)).causes}
    assert named & (set(FAULTS) - {"good"}) == ({fault} - {"good"})
