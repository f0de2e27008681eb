"""Coordinates: the view from the body, its inverse, and what it does not depend on."""

from __future__ import annotations

import copy
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.robots import flight, make_body_spec, make_driven_spec, make_moving_spec, make_spec

from rtsysid.errors import SpecError
from rtsysid.model.coordinates import Body, coordinates
from rtsysid.spec import RigidBody, from_builtins, to_builtins
from rtsysid.train.network import Network

SPEC = make_body_spec()
BODY = coordinates(SPEC, np)
MOVING_SPEC = make_moving_spec()
MOVING = coordinates(MOVING_SPEC, np)
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


@pytest.mark.parametrize("make", [make_body_spec, make_moving_spec, make_driven_spec])
@given(seeds, st.floats(-4, 4), st.floats(-100, 100))
def test_the_view_does_not_depend_on_heading_and_place(make: Any, seed: int, angle: float, shift: float) -> None:
    """A flight turned about the vertical and moved has the same features and, carried back, the same next outputs."""
    spec = make()
    coords = coordinates(spec, np)
    rows = flight(5, seed=seed)
    place = shift * np.array([1.0, -0.5, 0.25])
    moved = turned_world(rows, angle, place)
    for a, b in zip(coords.features(rows[:, :4]), coords.features(moved[:, :4]), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-9 * (1 + abs(shift)))
    target = np.random.default_rng(seed).uniform(-0.5, 0.5, (3, spec.n_targets))
    here, there = coords.next_outputs(rows[:, 3], target), coords.next_outputs(moved[:, 3], target)
    carried = turned_world(np.concatenate([rows[:, 3, :2], here], 1), angle, place)[:, 2:]
    np.testing.assert_allclose(there, carried, atol=1e-9 * (1 + abs(shift)))


@given(seeds)
def test_targets_are_the_inverse_of_advance(seed: int) -> None:
    """The answer computed from two rows leads from the first to the second; an attitude stays a unit quaternion."""
    rows = flight(2, seed=seed)
    found = BODY.next_outputs(rows[:, 0], BODY.targets(rows[:, 0], rows[:, 1, 2:]))
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


@pytest.mark.parametrize("make", [make_spec, make_body_spec, make_driven_spec])
def test_a_network_can_be_copied(make: Any) -> None:
    """The average of a network's weights starts as a copy of it, whatever its coordinates."""
    network = Network(make()).eval()
    rows = torch.from_numpy(flight(4)[..., : network.spec.width].astype(np.float32))
    state = network.initial_state(rows)
    assert torch.equal(copy.deepcopy(network).step(rows, state)[0], network.step(rows, state)[0])


def test_what_is_seen_from_the_body() -> None:
    """A body rolled by 90 degrees about x that moves up sees itself move to its left, and the vertical there."""
    row = np.zeros((1, 4, 16))
    row[..., ATTITUDE] = [np.sqrt(0.5), 0, 0, np.sqrt(0.5)]
    row[:, -1, VELOCITY] = [0, 0, 2.0]
    rows, vertical = BODY.features(row)
    others = 3  # two inputs and the battery
    np.testing.assert_allclose(rows[0, -1, others : others + 3], [0, 2, 0], atol=1e-9)
    np.testing.assert_allclose(vertical[0], [0, 1, 0], atol=1e-9)


@pytest.mark.parametrize("make", [make_spec, make_body_spec, make_moving_spec, make_driven_spec])
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
    newest = rows[:, -1]
    y = ours.next_outputs(newest, target)
    assert y.shape[-1] == spec.n_outputs
    np.testing.assert_allclose(
        y, theirs.next_outputs(*map(torch.from_numpy, (rows[:, -1], target))).numpy(), atol=1e-12
    )
    np.testing.assert_allclose(ours.targets(rows[:, -1], y), target, atol=1e-6)


def test_powers_stand_behind_the_channels() -> None:
    """With degree = 3 a row shows inputs, outputs, their squares and their cubes; without outputs it is refused."""
    spec = make_spec(degree=3, feedback=("y0", "y2"))
    rows = flight(spec.taps)[..., : spec.width]
    features, _ = coordinates(spec, np).features(rows)
    y = rows[..., [2, 4]]
    np.testing.assert_allclose(features, np.concatenate((rows[..., :2], y, y**2, y**3), -1))
    with pytest.raises(SpecError, match="degree"):
        make_spec(degree=2, feedback=False, output="absolute")


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


def test_friction_opposes_the_way_things_move() -> None:
    """The tail is tanh(speed / slow): a position that travels has its newest step times the rate."""
    spec = make_spec(relative=("y1",), friction=(("y1", 40.0), ("y2", 0.5), ("y1", 90.0)))
    rows = flight(spec.taps)[..., : spec.width]
    _, tail = coordinates(spec, np).features(rows)
    travel = (rows[:, -1, 3] - rows[:, -2, 3]) * spec.rate_hz
    np.testing.assert_allclose(tail, np.tanh(np.stack((travel / 40, rows[:, -1, 4] / 0.5, travel / 90), -1)))
    assert spec.window_size == spec.taps * spec.n_features + 3


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"friction": (("u0", 0.1),)}, "u0 is not fed back"),
        ({"friction": (("y0", 0.1),), "feedback": ("y1",)}, "y0 is not fed back"),
        ({"friction": (("y0", 0.1), ("y0", 0.1))}, "twice"),
        ({"friction": (("y0", 0.0),)}, "not positive"),
        ({"friction": (("y0", 0.1),), "relative": ("y0",), "taps": 1, "encoder": (2,)}, "one row"),
    ],
)
def test_a_friction_that_cannot_be_is_refused(changes: dict[str, object], found: str) -> None:
    """Friction of what the window does not show, twice, without a speed, or of a travel that one row does not have."""
    with pytest.raises(SpecError, match=f"friction: .*{found}"):
        make_spec("lstm-tdl-aeu", **{"encoder": (2,), **changes})


def test_a_specification_is_read_back() -> None:
    """Degree, relative outputs and friction survive the way through plain values."""
    chosen = make_spec(degree=2, relative=("y0",), friction=(("y0", 0.1),))
    assert from_builtins(to_builtins(chosen)) == chosen


def test_a_body_that_falls_and_spins_moves_by_the_textbook() -> None:
    """At constant accelerations a tick's velocity, position, attitude and rate are those of closed form."""
    dt, rate, spin = 1 / MOVING_SPEC.rate_hz, 30.0, 200.0
    row = np.zeros((1, 16))
    row[:, ATTITUDE], row[:, 3], row[:, 14] = [0, np.sin(0.2), 0, np.cos(0.2)], rate, 3.0  # pitched by 0.4 rad
    y = MOVING.next_outputs(row, np.array([[0, 0, 0, 2.0, 0, spin, 0]]))[0]
    forward = np.array([np.sin(0.4), 0, np.cos(0.4)]) * 2.0  # z of the body, in the world
    before = np.array([0, 3.0, 0])
    after = before + dt * (forward - np.array([0, 0, 9.80665]))
    np.testing.assert_allclose(y[VELOCITY.start - 2 : VELOCITY.stop - 2], after, atol=1e-9)
    np.testing.assert_allclose(y[4:7], dt / 2 * (before + after), atol=1e-9)
    half = 0.2 + (dt * rate + dt**2 / 2 * spin) / 2
    np.testing.assert_allclose(y[7:11], [0, np.sin(half), 0, np.cos(half)], atol=1e-6)
    np.testing.assert_allclose(y[:3], [0, rate + dt * spin, 0], atol=1e-9)


@given(st.floats(0, 3), seeds)
def test_a_constant_rate_turns_by_rate_times_time(angle: float, seed: int) -> None:
    """Up to 3 rad per tick, the attitude turns by rate times time about the axis of the rate."""
    axis = np.random.default_rng(seed).standard_normal(3)
    axis /= np.linalg.norm(axis)
    row = np.zeros((1, 16))
    row[:, ATTITUDE], row[:, 2:5] = [0, 0, 0, 1], angle * axis * MOVING_SPEC.rate_hz
    q = MOVING.next_outputs(row, np.zeros((1, MOVING_SPEC.n_targets)))[0, 7:11]
    np.testing.assert_allclose(q, [*np.sin(angle / 2) * axis, np.cos(angle / 2)], atol=2e-6)


@given(seeds)
def test_accelerations_lead_to_velocity_and_rate(seed: int) -> None:
    """The answer computed from two rows with kinematics leads to the velocity and the rate of the second, exactly."""
    rows = flight(2, seed=seed)
    found = MOVING.next_outputs(rows[:, 0], MOVING.targets(rows[:, 0], rows[:, 1, 2:]))
    for part in (slice(0, 4), slice(11, 14)):  # rate and battery, velocity
        np.testing.assert_allclose(found[:, part], rows[:, 1, 2:][:, part], atol=1e-9)


@pytest.mark.parametrize("output", ["increment", "absolute"])
def test_a_position_follows_the_mean_of_its_velocity(output: str) -> None:
    """An integrated output needs no answer: it moves by the mean of its velocity before and after, times the tick."""
    spec = make_spec(integrate=(("y0", "y2"),), output=output)
    coords, rows = coordinates(spec, np), np.random.default_rng(0).standard_normal((4, 5))
    target = np.random.default_rng(1).standard_normal((4, spec.n_targets))
    y = coords.next_outputs(rows, target)
    assert spec.n_targets == 2
    np.testing.assert_allclose(y[:, 1:], target + (rows[:, 3:] if output == "increment" else 0))
    np.testing.assert_allclose(y[:, 0], rows[:, 2] + (rows[:, 4] + y[:, 2]) / 2 / spec.rate_hz)
    np.testing.assert_allclose(coords.targets(rows, y), target, atol=1e-12)


@pytest.mark.parametrize(
    ("pairs", "what"),
    [
        ((("y0", "u0"),), "no output is named u0"),
        ((("y0", "y1"), ("y0", "y2")), "twice"),
        ((("y0", "y1"), ("y1", "y2")), "integral of an integral"),
    ],
)
def test_an_integral_that_cannot_be_is_refused(pairs: tuple[tuple[str, str], ...], what: str) -> None:
    """Unknown outputs, one position twice and chains are one line each; so is a rigid body next to it."""
    with pytest.raises(SpecError, match=what):
        make_spec(integrate=pairs)
    with pytest.raises(SpecError, match="together with a rigid body"):
        make_body_spec(integrate=pairs)


def test_rotors_push_and_turn_by_the_textbook() -> None:
    """Thrust over mass, arms and drag over inertia, and Euler's term: what known rotors do in a tick, by hand."""
    spec = make_driven_spec()
    body = spec.rigid_body
    assert body is not None
    assert body.rotors is not None
    row = np.zeros((1, 16))
    row[:, :2], row[:, ATTITUDE], row[:, 2:5] = (3.0, 2.0), (0, 0, 0, 1), (1.0, 2.0, 3.0)
    y, dt = coordinates(spec, np).next_outputs(row, np.zeros((1, spec.n_targets)))[0], 1 / spec.rate_hz
    forces = 0.7 * np.array([9.0, 4.0])
    np.testing.assert_allclose(y[11:14], [0, 0, dt * (forces.sum() / 1.5 - 9.80665)], atol=1e-9)
    inertia, rate = np.array([0.4, 0.5, 0.8]), np.array([1.0, 2.0, 3.0])
    torque = np.array([forces @ [0.3, -0.1], -forces @ [0.1, -0.2], 0.2 * (9.0 - 4.0)])
    expected = rate + dt * (torque - np.cross(rate, inertia * rate)) / inertia
    np.testing.assert_allclose(y[:3], expected, atol=1e-9)
    fixed = msgspec.structs.replace(body, rotors=msgspec.structs.replace(body.rotors, learned=False))
    assert make_body_spec(rigid_body=fixed).window_size == spec.window_size - 2
    lifts = coordinates(spec, np).features(np.repeat(row[:, None], 4, 1))[1][0, 3:]
    np.testing.assert_allclose(lifts, forces / 1.5)


def test_a_rigid_body_is_read_back() -> None:
    """A specification with a rigid body survives the way through plain values; kinematics change its fingerprint."""
    for spec in (SPEC, MOVING_SPEC):
        assert from_builtins(to_builtins(spec)) == spec
    assert SPEC.fingerprint != MOVING_SPEC.fingerprint


def test_an_attitude_alone_is_a_body_too() -> None:
    """Rate, velocity and position may be left out; what is not of the body is seen as it is."""
    spec = make_body_spec(rigid_body=RigidBody(("qx", "qy", "qz", "qw")))
    coords = coordinates(spec, np)
    assert isinstance(coords, Body)
    rows = flight(4)
    assert coords.features(rows)[0].shape[-1] == spec.n_features
    target = np.zeros((3, spec.n_targets))
    np.testing.assert_allclose(coords.next_outputs(rows[:, -1], target), rows[:, -1, 2:], atol=1e-6)


def rotors(kinematics: bool = False, **changes: Any) -> dict[str, RigidBody]:
    """A choice of body with the rotors of `make_driven_spec`, changed."""
    body = make_driven_spec().rigid_body
    assert body is not None
    assert body.rotors is not None
    driven = msgspec.structs.replace(body.rotors, **changes)
    return {"rigid_body": msgspec.structs.replace(body, kinematics=kinematics, rotors=driven)}


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"rigid_body": RigidBody(("qx", "qy", "qz"))}, "rigid_body.attitude"),
        ({"rigid_body": RigidBody(("qx", "qy", "qz", "q"))}, "no output|q;"),
        ({"rigid_body": RigidBody(("qx", "qy", "qz", "qw"), rate=("wx", "wx", "wz"))}, "twice"),
        ({"feedback": False}, "feedback"),
        ({"output": "absolute"}, "increment"),
        ({"rigid_body": RigidBody(("qx", "qy", "qz", "qw"), kinematics=True)}, "no rate"),
        (rotors(), "no kinematics"),
        (rotors(True, speeds=("u0", "y")), "no input is named y"),
        (rotors(True, spin=(1,)), "differ in length"),
        (rotors(True, mass=0.0), "not positive"),
    ],
)
def test_a_body_that_cannot_be_is_refused(changes: dict[str, object], what: str) -> None:
    """Wrong counts, unknown or repeated channels and choices that contradict a body are one line each."""
    with pytest.raises(SpecError, match=what):
        make_body_spec(**changes)
