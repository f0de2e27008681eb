"""Test the simulated quadrotor: physics against analytic results, and repeatable, bounded flights."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtsysid.errors import TraceError
from rtsysid.recordings.simulate import (
    CHANNELS,
    GRAVITY,
    FlightState,
    Quadrotor,
    _Autopilot,
    advance,
    body_axes,
    fly,
    hover,
    turned,
)

PLANT = Quadrotor()
STEADY = replace(PLANT, resistance=0.0, capacity=np.inf)  # battery without sag and without end
CALM = np.zeros((3, 1))


def at_rest(plant: Quadrotor = STEADY, **changes: np.ndarray) -> FlightState:
    return hover(np.zeros((3, 1)), np.ones(1), plant)._replace(**changes)


def after(state: FlightState, commands: np.ndarray, plant: Quadrotor, seconds: float) -> FlightState:
    for _ in range(round(seconds * 1000)):
        state = advance(state, commands, CALM, plant)
    return state


def outputs(trace) -> np.ndarray:
    return np.stack([episode.values[:, 4:].astype(np.float64) for episode in trace.episodes])


@pytest.fixture(scope="module")
def flights():
    """Ninety flights; they fly at once, so that many cost little more than one."""
    return fly(flights=90, seconds=15.0)


def test_hover_stays():
    """At the hover command nothing moves for two seconds."""
    start = at_rest()
    end = after(start, start.rotors / STEADY.rotor_speed, STEADY, 2.0)
    for before, now in zip(start, end, strict=True):
        np.testing.assert_allclose(now, before, atol=1e-9)


def test_free_fall_has_the_acceleration_of_gravity():
    """Without rotors and drag, speed is g t and distance is g t^2 / 2."""
    plant = replace(STEADY, drag_lateral=0.0, drag_axial=0.0, drag_quadratic=0.0)
    end = after(at_rest(rotors=np.zeros((4, 1))), np.zeros((4, 1)), plant, 1.0)
    np.testing.assert_allclose(end.velocity[:, 0], (0, 0, -GRAVITY), rtol=1e-9)
    np.testing.assert_allclose(end.position[:, 0], (0, 0, -GRAVITY / 2), rtol=1e-9)


def test_free_spin_keeps_energy_and_momentum():
    """A body without torque keeps its kinetic energy and its angular momentum in the world frame."""
    inertia = np.array(STEADY.inertia)[:, None]
    start = at_rest(rotors=np.zeros((4, 1)), rates=np.array([[4.0], [0.5], [3.0]]))
    end = after(start, np.zeros((4, 1)), STEADY, 1.0)
    energy = [float((inertia * s.rates**2).sum() / 2) for s in (start, end)]
    momentum = [np.stack(body_axes(s.attitude), 1)[..., 0] @ (inertia * s.rates)[:, 0] for s in (start, end)]
    assert np.abs(end.rates - start.rates).max() > 1.0
    assert energy[1] == pytest.approx(energy[0], rel=0.01)
    np.testing.assert_allclose(momentum[1], momentum[0], atol=0.01 * np.linalg.norm(momentum[0]))


def test_rotors_follow_commands_with_their_lag():
    """After one time constant a rotor has made 63 % of the change."""
    start = at_rest(rotors=np.zeros((4, 1)))
    end = after(start, np.full((4, 1), 0.5), STEADY, STEADY.rotor_lag)
    np.testing.assert_allclose(end.rotors, 0.5 * STEADY.rotor_speed * (1 - np.exp(-1)), rtol=1e-9)


def test_battery_sags_under_load_and_empties():
    """Rotors are slower with an emptier cell and with internal resistance, and flying uses charge."""
    full, flat = np.full((4, 1), 0.6), at_rest(charge=np.zeros(1))
    empty = after(flat, full, STEADY, 1.0).rotors / after(at_rest(), full, STEADY, 1.0).rotors
    np.testing.assert_allclose(empty, STEADY.empty_voltage / STEADY.full_voltage, rtol=1e-6)
    loaded = after(at_rest(), full, replace(STEADY, resistance=PLANT.resistance), 1.0).rotors
    drop = PLANT.resistance * PLANT.current * (loaded**3).sum()
    np.testing.assert_allclose(loaded, 0.6 * PLANT.rotor_speed * (1 - drop / PLANT.full_voltage), rtol=1e-6)
    hovered = after(at_rest(), at_rest().rotors / PLANT.rotor_speed, PLANT, 1.0)
    assert 0.997 < hovered.charge[0] < 0.999  # 2.4 A of 1,260 C for a second


@pytest.mark.parametrize(
    ("faster", "axis"), [((2, 3), 0), ((1, 2), 1), ((1, 3), 2)], ids=["left rolls", "rear pitches", "even yaw"]
)
def test_rotors_turn_the_body_the_right_way(faster, axis):
    """Faster left, rear, or right-turning rotors give a positive rate about one axis."""
    start = at_rest()
    commands = start.rotors / STEADY.rotor_speed
    commands[list(faster)] += 0.01
    commands[[i for i in range(4) if i not in faster]] -= 0.01
    rates = after(start, commands, replace(STEADY, rotor_inertia=0.0), 0.05).rates[:, 0]
    assert rates[axis] > 0.01
    np.testing.assert_allclose(np.delete(rates, axis), 0.0, atol=1e-9)


def test_drag_differs_along_and_across_the_thrust_axis():
    """At 1 m/s the deceleration is the linear drag of the axis plus the quadratic drag, divided by the mass."""
    sideways, upwards = np.array([[1.0], [0.0], [0.0]]), np.array([[0.0], [0.0], [1.0]])
    for velocity, linear in ((sideways, PLANT.drag_lateral), (upwards, PLANT.drag_axial)):
        start = at_rest(velocity=velocity)
        end = advance(start, start.rotors / STEADY.rotor_speed, CALM, STEADY)
        slower = velocity * (linear + PLANT.drag_quadratic) / PLANT.mass
        np.testing.assert_allclose((start.velocity - end.velocity) * 1000, slower, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(("turning", "deflected", "sign"), [(0, 1, 1), (1, 0, -1)], ids=["roll", "pitch"])
def test_unbalanced_rotor_spin_couples_roll_and_pitch(turning, deflected, sign):
    """A net left-turning spin couples roll into pitch, and pitch into negative roll."""
    rotors, rates = np.array([[1800.0], [1650.0], [1800.0], [1650.0]]), np.zeros((3, 1))
    rates[turning] = 2.0
    start, commands = at_rest(rotors=rotors, rates=rates), rotors / STEADY.rotor_speed
    without, with_ = (
        after(start, commands, replace(STEADY, rotor_inertia=inertia), 0.01).rates[deflected, 0]
        for inertia in (0.0, 1e-8)
    )
    # Its rate of change is the rotors' angular momentum times the turning rate over the inertia, for 10 ms
    assert with_ - without == pytest.approx(sign * 1e-8 * 300 * 2.0 / PLANT.inertia[0] * 0.01, rel=0.02)


def test_mixer_inverts_the_plant():
    """The commands for a lift and a torque give that lift and torque at 90 % of full voltage."""
    plant = replace(STEADY, rotor_speed=0.9 * STEADY.rotor_speed, rotor_lag=1e-6)
    lift, torque = np.array([0.5]), np.array([[8e-4], [-5e-4], [6e-6]])
    commands = _Autopilot(STEADY, 0.01)._mixed(lift, torque)
    end = advance(at_rest(plant), commands, CALM, plant)
    np.testing.assert_allclose(end.rates * 1000, torque / np.array(PLANT.inertia)[:, None], rtol=1e-6)
    thrust = plant.thrust * (end.rotors**2).sum()
    assert thrust == pytest.approx(lift[0], rel=1e-9)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-0.05, 0.05), min_size=3, max_size=3))
def test_turned_stays_a_rotation(angle):
    """After any small rotation the quaternion has unit length and its axes are orthonormal."""
    start = np.array([[0.1], [-0.5], [0.3], [0.8]]) / np.sqrt(0.99)
    end = turned(start, np.array(angle)[:, None])
    axes = np.stack(body_axes(end), 1)[..., 0]
    assert np.linalg.norm(end) == pytest.approx(1.0, abs=1e-12)
    np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-12)
    assert np.linalg.det(axes) == pytest.approx(1.0)


def test_same_seed_gives_the_same_bits():
    """Two recordings with one seed are equal bit for bit; another seed gives another flight."""
    first, again, other = (fly(2, 2.0, seed) for seed in (5, 5, 6))
    for a, b, c in zip(first.episodes, again.episodes, other.episodes, strict=True):
        assert a.values.tobytes() == b.values.tobytes()
        assert not np.array_equal(a.values, c.values)


def test_a_flight_does_not_depend_on_the_number_of_flights():
    """Flight i has the same bits alone, among three and among nine."""
    runs = [fly(count, 2.0, 3).episodes for count in (1, 3, 9)]
    assert runs[0][0].values.tobytes() == runs[1][0].values.tobytes() == runs[2][0].values.tobytes()
    for a, b in zip(runs[1], runs[2][:3], strict=True):
        assert a.name == b.name
        assert a.values.tobytes() == b.values.tobytes()


def test_gusts_push_a_flight_off_its_path():
    """The same flight in stronger gusts is farther from the one in still air; its path and noise are the same."""
    still, gentle, strong = (fly(1, 4.0, 3, gusts=gusts).episodes[0].values[:, 4:7] for gusts in (0.0, 1.0, 20.0))
    assert 0 < 5 * np.abs(gentle - still).max() < np.abs(strong - still).max()


def test_gusts_may_grow_within_a_flight():
    """With a factor for each sample, the rows before it changes stay the same, bit for bit, and later ones differ."""
    usual, growing = (fly(1, 2.0, 3, gusts=g).episodes[0].values for g in (1.0, np.where(np.arange(200) < 100, 1, 30)))
    assert np.array_equal(usual[:101], growing[:101])
    assert np.abs(growing - usual)[-1].max() > 0.1


def test_flights_neither_crash_nor_diverge(flights):
    """Over ninety flights, altitude, tilt, speed and commands stay within bounds."""
    values = outputs(flights)
    commands = np.stack([episode.values[:, :4] for episode in flights.episodes])
    tilt = np.degrees(np.arccos(1 - 2 * (values[..., 6] ** 2 + values[..., 7] ** 2)))
    assert np.isfinite(values).all()
    assert 0.3 < values[..., 2].min() <= values[..., 2].max() < 3.0
    assert np.abs(values[..., :2]).max() < 6.0
    assert tilt.max() < 45.0
    assert np.abs(values[..., 3:6]).max() < 4.0
    assert 0.0 < commands.min() <= commands.max() <= 1.0


def test_flights_are_lively(flights):
    """Half of the flights tilt beyond 20 degrees, some beyond 30, and the fastest pass 2.5 m/s."""
    values = outputs(flights)
    tilt = np.degrees(np.arccos(1 - 2 * (values[..., 6] ** 2 + values[..., 7] ** 2))).max(axis=1)
    speed = np.linalg.norm(values[..., 3:6], axis=-1).max(axis=1)
    assert np.median(tilt) > 20
    assert tilt.max() > 30
    assert np.median(speed) > 1.5
    assert speed.max() > 2.5


def test_quaternions_have_length_one_and_never_jump(flights):
    """No logged quaternion differs from length one by more than float32 allows, nor leaps to its negative."""
    attitude = outputs(flights)[..., 6:10]
    np.testing.assert_allclose(np.linalg.norm(attitude, axis=-1), 1.0, atol=2e-7)
    assert np.linalg.norm(np.diff(attitude, axis=1), axis=-1).max() < 0.1


def test_logged_velocity_is_the_change_of_logged_position(flights):
    """Over half a second, position moves by the mean of the logged velocity: units and frames agree."""
    values = outputs(flights)
    moved = values[:, 50:, :3] - values[:, :-50, :3]
    total = np.cumsum(values[..., 3:6], axis=1)
    np.testing.assert_allclose((total[:, 50:] - total[:, :-50]) / 100, moved, atol=0.04)


def test_channels_and_times_are_as_documented():
    """Four commands, thirteen outputs with units and groups, even times, float32, and no hidden state."""
    trace = fly(flights=1, seconds=1.0, rate_hz=50.0)
    episode = trace.episodes[0]
    assert trace.channels == CHANNELS
    assert [str(c) for c in CHANNELS[:5]] == ["m1", "m2", "m3", "m4", "x [m]"]
    assert [c.role for c in CHANNELS] == ["input"] * 4 + ["output"] * 13
    assert {c.group for c in CHANNELS[4:]} == {"position", "velocity", "attitude", "rotation rate"}
    assert episode.name == "flight_01"
    assert episode.values.shape == (50, 17)
    assert episode.values.dtype == np.float32
    np.testing.assert_allclose(np.diff(episode.t), 0.02, rtol=1e-12)


@pytest.mark.parametrize(
    "request_",
    [
        {"flights": 0},
        {"seed": -1},
        {"rate_hz": 30.0},
        {"rate_hz": 40.0},
        {"seconds": 0.5},
        {"seconds": 1e4},
        {"gusts": -1.0},
        {"gusts": 51.0},
        {"gusts": np.ones(7)},
    ],
    ids=str,
)
def test_impossible_requests_are_refused_in_one_line(request_):
    """Arguments out of range raise a one-line TraceError."""
    with pytest.raises(TraceError) as caught:
        fly(**request_)
    assert "\n" not in str(caught.value)
