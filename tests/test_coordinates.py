"""Coordinates: the view from the body, its inverse, and what it does not depend on."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import flight, make_body_spec, make_spec
from hypothesis import given
from hypothesis import strategies as st

from rtsysid.coordinates import Body, coordinates
from rtsysid.errors import SpecError
from rtsysid.spec import RigidBody, from_builtins, to_builtins

SPEC = make_body_spec()
BODY = coordinates(SPEC, np)
seeds = st.integers(0, 2**32 - 1)
ATTITUDE, VELOCITY, POSITION = slice(9, 13), slice(13, 16), slice(6, 9)


def turned_world(rows: np.ndarray, angle: float, shift: np.ndarray) -> np.ndarray:
    """The same flight seen in a world turned about the vertical and moved."""
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    a, b = np.sin(angle / 2), np.cos(angle / 2)
    x, y, z, w = np.moveaxis(rows[..., ATTITUDE], -1, 0)
    moved = rows.copy()
    moved[..., ATTITUDE] = np.stack([b * x - a * y, b * y + a * x, b * z + a * w, b * w - a * z], -1)
    moved[..., VELOCITY] = rows[..., VELOCITY] @ turn.T
    moved[..., POSITION] = rows[..., POSITION] @ turn.T + shift
    return moved


@given(seeds, st.floats(-4, 4), st.floats(-100, 100))
def test_the_view_does_not_depend_on_heading_and_place(seed: int, angle: float, shift: float) -> None:
    """A flight turned about the vertical and moved has the same features and, carried back, the same next outputs."""
    rows = flight(5, seed=seed)
    place = shift * np.array([1.0, -0.5, 0.25])
    moved = turned_world(rows, angle, place)
    for a, b in zip(BODY.features(rows[:, :4]), BODY.features(moved[:, :4]), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-9 * (1 + abs(shift)))
    target = np.random.default_rng(seed).uniform(-0.5, 0.5, (3, SPEC.n_targets))
    here, there = BODY.advance(rows[:, 3], target), BODY.advance(moved[:, 3], target)
    carried = turned_world(np.concatenate([rows[:, 3, :2], here], 1), angle, place)[:, 2:]
    np.testing.assert_allclose(there, carried, atol=1e-9 * (1 + abs(shift)))


@given(seeds)
def test_targets_are_the_inverse_of_advance(seed: int) -> None:
    """The answer computed from two rows leads from the first to the second; an attitude stays a unit quaternion."""
    rows = flight(2, seed=seed)
    found = BODY.advance(rows[:, 0], BODY.targets(rows[:, 0], rows[:, 1, 2:]))
    same = np.sign((found[:, 7:11] * rows[:, 1, ATTITUDE]).sum(-1, keepdims=True))  # q and -q are one rotation
    found[:, 7:11] *= same
    np.testing.assert_allclose(found, rows[:, 1, 2:], atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(found[:, 7:11], axis=1), 1.0, atol=1e-9)


@given(seeds)
def test_a_quaternion_and_its_negative_are_one_attitude(seed: int) -> None:
    """Rows whose quaternion is recorded with the other sign give the same features."""
    rows = flight(4, seed=seed)
    flipped = rows.copy()
    flipped[:, ::2, ATTITUDE] *= -1
    for a, b in zip(BODY.features(rows), BODY.features(flipped), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)


def test_what_is_seen_from_the_body() -> None:
    """A body rolled by 90 degrees about x that moves up sees itself move to its left, and the vertical there."""
    row = np.zeros((1, 4, 16))
    row[..., ATTITUDE] = [np.sqrt(0.5), 0, 0, np.sqrt(0.5)]
    row[:, -1, VELOCITY] = [0, 0, 2.0]
    rows, vertical = BODY.features(row)
    others = 3  # two inputs and the battery
    np.testing.assert_allclose(rows[0, -1, others : others + 3], [0, 2, 0], atol=1e-9)
    np.testing.assert_allclose(vertical[0], [0, 1, 0], atol=1e-9)


@pytest.mark.parametrize("make", [make_spec, make_body_spec])
def test_numpy_and_torch_agree(make: object) -> None:
    """The one formula gives the same on NumPy and torch arrays, forth and back, and the sizes that the spec states."""
    spec = make(feedback=True)  # type: ignore[operator]
    rows = flight(spec.taps)[..., : spec.width]
    ours, theirs = coordinates(spec, np), coordinates(spec, torch)
    features, tail = ours.features(rows)
    assert features.shape[-1] == spec.n_features
    assert features[0].size + (0 if tail is None else tail.shape[-1]) == spec.window_size
    np.testing.assert_allclose(features, theirs.features(torch.from_numpy(rows))[0].numpy(), atol=1e-12)
    target = np.random.default_rng(0).uniform(-0.3, 0.3, (3, spec.n_targets))
    y = ours.advance(rows[:, -1], target)
    assert y.shape[-1] == spec.n_outputs
    np.testing.assert_allclose(y, theirs.advance(*map(torch.from_numpy, (rows[:, -1], target))).numpy(), atol=1e-12)
    np.testing.assert_allclose(ours.targets(rows[:, -1], y), target, atol=1e-6)


def test_powers_stand_behind_the_channels() -> None:
    """With powers = 3 a row shows inputs, outputs, their squares and their cubes; without outputs it is refused."""
    spec = make_spec(powers=3, feedback=("y0", "y2"))
    rows = flight(spec.taps)[..., : spec.width]
    features, _ = coordinates(spec, np).features(rows)
    y = rows[..., [2, 4]]
    np.testing.assert_allclose(features, np.concatenate((rows[..., :2], y, y**2, y**3), -1))
    with pytest.raises(SpecError, match="powers"):
        make_spec(powers=2, feedback=False, output="absolute")


def test_relative_outputs_are_seen_as_travel() -> None:
    """A relative output stands behind the others as its distance from its newest value: its level says nothing."""
    spec = make_spec(relative=("y0",))
    rows = flight(spec.taps)[..., : spec.width]
    features, _ = coordinates(spec, np).features(rows)
    np.testing.assert_allclose(
        features, np.concatenate((rows[..., [0, 1, 3, 4]], rows[..., [2]] - rows[:, -1:, [2]]), -1)
    )
    assert spec.free_columns == (2,)
    for changes in ({"relative": ("u0",)}, {"relative": ("y0",), "feedback": ("y1",)}):
        with pytest.raises(SpecError, match="relative"):
            make_spec(**changes)


def test_a_choice_at_its_default_leaves_the_fingerprint() -> None:
    """Powers and travel are written into a specification only where they are asked for, and read back."""
    assert not {"powers", "relative"} & set(to_builtins(make_spec()))
    chosen = make_spec(powers=2, relative=("y0",))
    assert from_builtins(to_builtins(chosen)) == chosen


def test_an_attitude_alone_is_a_body_too() -> None:
    """Rate, velocity and position may be left out; what is not of the body is seen as it is."""
    spec = make_body_spec(rigid_body=RigidBody(("qx", "qy", "qz", "qw")))
    plane = coordinates(spec, np)
    assert isinstance(plane, Body)
    rows = flight(4)
    assert plane.features(rows)[0].shape[-1] == spec.n_features
    target = np.zeros((3, spec.n_targets))
    np.testing.assert_allclose(plane.advance(rows[:, -1], target), rows[:, -1, 2:], atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"rigid_body": RigidBody(("qx", "qy", "qz"))}, "rigid_body.attitude"),
        ({"rigid_body": RigidBody(("qx", "qy", "qz", "q"))}, "no output|q;"),
        ({"rigid_body": RigidBody(("qx", "qy", "qz", "qw"), rate=("wx", "wx", "wz"))}, "twice"),
        ({"feedback": False}, "feedback"),
        ({"output": "absolute"}, "increment"),
    ],
)
def test_a_body_that_cannot_be_is_refused(changes: dict[str, object], what: str) -> None:
    """Wrong counts, unknown or repeated channels and choices that contradict a body are one line each."""
    with pytest.raises(SpecError, match=what):
        make_body_spec(**changes)
