"""Test the coordinates of a default training: which group each target moves."""

from __future__ import annotations

import numpy as np
import pytest
from support.robots import (
    flight,
    make_angle_spec,
    make_attitude_spec,
    make_body_spec,
    make_driven_spec,
    make_moving_spec,
    make_spec,
)

from rtsysid.circle import group_columns
from rtsysid.model.coordinates import coordinates
from rtsysid.spec import ModelSpec
from rtsysid.train.auto.frames import target_groups

SPECS = {
    "plain": make_spec(),
    "attitude": make_attitude_spec(),
    "angles": make_angle_spec(),
    "integrated": make_spec(integrate=(("y2", "y0"),)),
    "body": make_body_spec(),
    "kinematics": make_moving_spec(),
    "rotors": make_driven_spec(),
}


@pytest.mark.parametrize("name", SPECS)
def test_every_target_moves_outputs_of_its_group(name: str) -> None:
    """There is one name for each target, and a change of a target changes an output of the group of that name."""
    spec = SPECS[name]
    names = target_groups(spec)
    assert len(names) == spec.n_targets
    for target, group in enumerate(names):
        assert _moved(spec, target) & set(group_columns(spec.outputs)[group])


def _moved(spec: ModelSpec, target: int) -> set[int]:
    """Columns of the outputs that a change of one target changes."""
    newest = flight(1, 1)[0] if spec.rigid_body else np.random.default_rng(0).standard_normal((1, spec.width))
    still, changed = np.zeros((1, spec.n_targets)), np.zeros((1, spec.n_targets))
    changed[0, target] = 1e-3
    coords = coordinates(spec, np)
    moved = np.abs(coords.next_outputs(newest, changed) - coords.next_outputs(newest, still))[0]
    return set(np.flatnonzero(moved > 1e-9).tolist())
