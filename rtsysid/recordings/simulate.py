"""Simulate flights of a quadrotor of Crazyflie size, as example recordings.

The log does not contain the rotor speeds (they lag behind the commands), the battery charge and the gusts. Frames:
world z up, body x forward and y left, quaternion (x, y, z, w) from body to world. Arrays hold one flight per column,
[components, F]. Sums over components are written out, because the rounding of a NumPy reduction may depend on F, and a
flight must not depend on the number of flights.

Ref: rigid body and rotor constants from Busetto et al., arXiv 2512.14450. Lag, drag, battery and gusts are our choice,
in the range of vehicles of 45 g.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rtsysid.errors import TraceError
from rtsysid.recordings.trace import Episode, Trace
from rtsysid.spec import Channel, Doubles, Floats
from rtsysid.storage import replacing
from rtsysid.storage.products import SIMULATION, sha256, write_mark

GRAVITY = 9.81  # m/s2
PHYSICS_HZ = 1000
LONGEST = 180.0  # s of flight with a battery that is 60 % full
LEAST_COMMAND = 0.05  # rotors never stop
WIDEST_DITHER, STRONGEST_GUSTS = 0.2, 50.0
NOISE = (0.0003, 0.003, 0.0007, 0.003)  # m, m/s, rad, rad/s: white noise on the log; the autopilot uses the true state

CHANNELS: tuple[Channel, ...] = (
    *(Channel(f"m{i}", "", "input") for i in (1, 2, 3, 4)),
    *(Channel(name, "m", group="position") for name in ("x", "y", "z")),
    *(Channel(name, "m/s", group="velocity") for name in ("vx", "vy", "vz")),
    *(Channel(name, "quat", group="attitude") for name in ("qx", "qy", "qz", "qw")),
    *(Channel(name, "rad/s", group="rotation rate") for name in ("wx", "wy", "wz")),
)


@dataclass(frozen=True)
class Quadrotor:
    """Hold the constants of the quadrotor, in SI units."""

    mass: float = 0.045
    inertia: tuple[float, float, float] = (2.3951e-5, 2.3951e-5, 3.2347e-6)
    arm: float = 0.0353  # of each rotor from the centre, along x and along y
    thrust: float = 3.72e-8  # N/(rad/s)^2
    torque: float = 7.74e-12  # N m/(rad/s)^2
    rotor_lag: float = 0.040
    rotor_speed: float = 2800.0  # rad/s at full command and full voltage
    rotor_inertia: float = 1e-8  # its angular momentum resists tilting; 0 disables the effect
    drag_lateral: float = 0.012  # N/(m/s) across the thrust axis
    drag_axial: float = 0.008  # N/(m/s) along it
    drag_quadratic: float = 0.010  # N/(m/s)^2
    full_voltage: float = 4.2
    empty_voltage: float = 3.4
    capacity: float = 1260.0  # coulomb: a 350 mAh cell
    resistance: float = 0.1
    current: float = 1.2e-10  # A/(rad/s)^3 of each rotor: 2.4 A in hover
    gust_force: float = 0.003  # N, standard deviation per axis
    gust_time: float = 0.5


class FlightState(NamedTuple):
    """Hold the state of F flights. The log does not contain the rotors and the charge (1 full, 0 empty)."""

    position: Doubles  # [3, F] m, world
    velocity: Doubles  # [3, F] m/s, world
    attitude: Doubles  # [4, F] unit quaternion x, y, z, w
    rates: Doubles  # [3, F] rad/s, body
    rotors: Doubles  # [4, F] rad/s
    charge: Doubles  # [F]


def write_flights(trace: Trace, folder: Path | str, suffix: str = "csv", *, overwrite: bool = False) -> Iterator[str]:
    """Write one file for each episode to `folder`, and yield its name. The folder appears when it is complete.

    It replaces an older simulation. Raises StorageError where the folder is refused (`rtsysid.storage`).
    """
    with replacing(folder, SIMULATION, overwrite=overwrite) as new:
        for episode in trace.episodes:
            Trace(trace.channels, (episode,)).write(new / f"{episode.name}.{suffix}")
            yield episode.name
        write_mark(new, SIMULATION, files={path.name: sha256(path) for path in sorted(new.iterdir())})


def advance(
    state: FlightState, commands: Doubles, gust: Doubles, plant: Quadrotor, dt: float = 1 / PHYSICS_HZ
) -> FlightState:
    """Advance the state by `dt` seconds (semi-implicit Euler), for motor commands [4, F] in 0..1 and gusts [3, F] in N.

    Position and attitude use the mean of the old and the new rates, which is exact in free fall.
    """
    a, b, c, d = state.rotors * state.rotors * state.rotors
    current = plant.current * (a + b + c + d)  # aerodynamic power grows with the cube of speed
    open_circuit = plant.empty_voltage + (plant.full_voltage - plant.empty_voltage) * state.charge
    voltage = open_circuit - plant.resistance * current
    target = commands * (voltage * (plant.rotor_speed / plant.full_voltage))
    rotors = target + (state.rotors - target) * np.exp(-dt / plant.rotor_lag)
    charge = state.charge - current * (dt / plant.capacity)
    thrusts = plant.thrust * rotors * rotors
    rates = state.rates + dt * _angular_acceleration(state.rates, rotors, thrusts, plant)
    attitude = turned(state.attitude, (state.rates + rates) * (0.25 * dt))
    velocity = state.velocity + dt * _acceleration(state.velocity, attitude, thrusts, gust, plant)
    position = state.position + (0.5 * dt) * (state.velocity + velocity)
    return FlightState(position, velocity, attitude, rates, rotors, charge)


def turned(attitude: Doubles, half_angle: Doubles) -> Doubles:
    """Rotate unit quaternions [4, F] by small body rotations, given as half rotation vectors [3, F] in rad."""
    x, y, z, w = attitude
    a, b, c = half_angle
    moved = np.array((w * a + y * c - z * b, w * b + z * a - x * c, w * c + x * b - y * a, -x * a - y * b - z * c))
    moved += attitude
    norm: Doubles = np.sqrt(_dot(moved, moved) + moved[3] * moved[3])
    return moved / norm


def body_axes(attitude: Doubles) -> tuple[Doubles, Doubles, Doubles]:
    """Return the body x, y and z axes in the world frame, each [3, F], for quaternions [4, F]."""
    x, y, z, w = attitude
    forward = np.array((1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y)))
    left = np.array((2 * (x * y - w * z), 1 - 2 * (x * x + z * z), 2 * (y * z + w * x)))
    return forward, left, _thrust_axis(attitude)


def fly(
    flights: int = 12, seconds: float = 40.0, seed: int = 0, rate_hz: float = 100.0, *, dither: float = 0.0,
    gusts: float | Doubles = 1.0,
) -> Trace:  # fmt: skip
    """Simulate random flights with `CHANNELS`: episodes flight_01, ... of round(seconds * rate_hz) samples each.

    A command is held from its sample to the next one. On one machine the same arguments give the same bits. A flight
    does not depend on the number of flights. ``dither``: standard deviation of noise that is added to each motor's
    command, which lies in 0..1; it excites what a controller may try. ``gusts``: factor on their strength, or one
    for each sample [n]. Raises TraceError where an argument is out of range.
    """
    _check_request(flights, seconds, seed, rate_hz)
    n = round(seconds * rate_hz)
    strength = _checked_disturbances(dither, gusts, n)
    plans = [_draw_flight_plan(np.random.default_rng([seed, i]), strength, rate_hz, dither) for i in range(flights)]
    values = _record(_FlightPlan(*(np.stack(each, -1) for each in zip(*plans, strict=True))), Quadrotor(), rate_hz)
    episodes = (Episode(f"flight_{i + 1:02d}", np.arange(n) / rate_hz, values[i]) for i in range(flights))
    return Trace(CHANNELS, tuple(episodes))


class _FlightPlan(NamedTuple):
    """Hold the random quantities of a flight of n ticks. For F flights, F is the last axis."""

    position: Doubles  # [n, 3] m
    velocity: Doubles  # [n, 3] m/s
    acceleration: Doubles  # [n, 3] m/s2
    heading: Doubles  # [n, 2] sine and cosine of the yaw angle
    gust: Doubles  # [n, 3] white; of unit variance at the usual strength
    noise: Doubles  # [n, 12] white, unit variance
    charge: Doubles  # []
    dither: Doubles  # [n, 4] added to the commands


def _checked_disturbances(dither: float, gusts: float | Doubles, n: int) -> Doubles:
    """Return the strength of the gusts at each of n samples."""
    if np.size(gusts) not in (1, n):
        raise TraceError("gusts", f"{np.size(gusts)} factors", f"give one, or one for each of {n} samples")
    for name, values, most in (("dither", dither, WIDEST_DITHER), ("gusts", gusts, STRONGEST_GUSTS)):
        if wrong := [value for value in np.ravel(values) if not 0.0 <= value <= most]:
            raise TraceError(name, f"{wrong[0]}", f"give 0 to {most}")
    return np.full(n, gusts)


def _check_request(flights: int, seconds: float, seed: int, rate_hz: float) -> None:
    if flights < 1 or seed < 0:
        raise TraceError("simulated flights", f"{flights} with seed {seed}", "give 1 or more, and a seed from 0 on")
    if not 50 <= rate_hz <= PHYSICS_HZ or PHYSICS_HZ % rate_hz:
        raise TraceError("simulated rate", f"{rate_hz} Hz", f"give a divisor of {PHYSICS_HZ} from 50 on")
    if not 1.0 <= seconds <= LONGEST:
        raise TraceError("simulated flight", f"{seconds} s", f"give 1 to {LONGEST:.0f} s (the battery), more flights")


def _draw_flight_plan(rng: np.random.Generator, gusts: Doubles, rate_hz: float, dither: float) -> _FlightPlan:
    """Draw a flight, with gusts [n] times as strong: half follow sums of sines, half fly from waypoint to waypoint."""
    t = np.arange(n := len(gusts)) / rate_hz
    path = _sines(rng, t) if rng.random() < 0.5 else _waypoints(rng, t)
    velocity = np.gradient(path, 1 / rate_hz, axis=0)
    acceleration = np.gradient(velocity, 1 / rate_hz, axis=0)
    swing, pace, phase = rng.uniform(1.0, 2.5), rng.uniform(0.3, 0.8), rng.uniform(0, 2 * np.pi)
    yaw = swing * (np.sin(pace * t + phase) - np.sin(phase))
    heading = np.stack((np.sin(yaw), np.cos(yaw)), -1)
    gust, noise = gusts[:, None] * rng.standard_normal((n, 3)), rng.standard_normal((n, 12))
    charge = np.array(rng.uniform(0.6, 1.0))
    return _FlightPlan(path, velocity, acceleration, heading, gust, noise, charge, _dither(rng, n, dither))


def _dither(rng: np.random.Generator, n: int, size: float) -> Doubles:
    """Draw noise [n, 4] for the commands, of a given standard deviation; neighbouring ticks are correlated by 0.8."""
    white, drawn = size * rng.standard_normal((n, 4)), np.zeros((n, 4))
    for k in range(1, n):
        drawn[k] = 0.8 * drawn[k - 1] + 0.6 * white[k]
    return drawn


def _sines(rng: np.random.Generator, t: Doubles) -> Doubles:
    """Draw a path [n, 3] in m at times t [n]: four sines per axis, from rest, of random amplitude."""
    hertz, phase = rng.uniform(0.08, 0.5, (3, 4)), rng.uniform(0, 2 * np.pi, (3, 4))
    weight = rng.uniform(0.3, 1.0, (3, 4)) / hertz
    path = (weight * (np.sin(2 * np.pi * hertz * t[:, None, None] + phase) - np.sin(phase))).sum(-1)
    path *= _quintic(t / 4.0)[:, None] * (0.3, 0.3, 0.1)
    path[:, 2] *= min(1.0, 0.8 / max(np.abs(path[:, 2]).max(), 1e-9))
    velocity = np.gradient(path, t, axis=0)
    speed = np.linalg.norm(velocity, axis=1).max()
    push = np.linalg.norm(np.gradient(velocity, t, axis=0), axis=1).max()
    scale = min(rng.uniform(1.0, 3.0) / speed, rng.uniform(2.5, 6.0) / push)
    return np.asarray(path * min(scale, 1.0) + (0.0, 0.0, 1.5))


def _waypoints(rng: np.random.Generator, t: Doubles) -> Doubles:
    """Draw a path [n, 3] in m at times t [n]: minimum-jerk moves between random points, with pauses."""
    here, clock = np.array((0.0, 0.0, 1.5)), 1.0
    path = np.tile(here, (len(t), 1))
    while clock < t[-1]:
        hop = rng.uniform((-2.0, -2.0, 0.8), (2.0, 2.0, 2.2)) - here
        length, speed, push = np.linalg.norm(hop), rng.uniform(0.8, 3.0), rng.uniform(2.0, 6.0)
        lasts = max(1.875 * length / speed, np.sqrt(5.774 * length / push))  # peaks of the quintic's derivatives
        later = t >= clock
        path[later] = here + hop * _quintic((t[later] - clock) / lasts)[:, None]
        here, clock = here + hop, clock + lasts + rng.uniform(0.0, 0.6)
    return path


def _quintic(s: Doubles) -> Doubles:
    """Return a smooth step from 0 to 1 over s [n] in 0..1; velocity and acceleration are 0 at both ends."""
    s = np.clip(s, 0.0, 1.0)
    return s**3 * (10 - 15 * s + 6 * s * s)


def hover(position: Doubles, charge: Doubles, plant: Quadrotor) -> FlightState:
    """Return the hovering state at `position` [3, F] in m with battery `charge` [F]."""
    still: Doubles = np.zeros((3, len(charge)))
    rotors = np.full((4, len(charge)), np.sqrt(plant.mass * GRAVITY / (4 * plant.thrust)))
    return FlightState(position, still, np.vstack((still, np.ones(len(charge)))), still, rotors, charge)


def _record(plan: _FlightPlan, plant: Quadrotor, rate_hz: float) -> Floats:
    """Simulate F flights and return their logs [F, n, 17]."""
    n, dt, substeps = len(plan.position), 1 / rate_hz, round(PHYSICS_HZ / rate_hz)
    state, autopilot = hover(plan.position[0], plan.charge, plant), _Autopilot(plant, dt)
    keep, gust = np.exp(-dt / plant.gust_time), np.zeros(plan.gust[0].shape)
    log = np.empty((plan.charge.size, n, len(CHANNELS)), np.float32)
    for k in range(n):
        commands = np.clip(autopilot.commands(state, plan, k) + plan.dither[k], LEAST_COMMAND, 1.0)
        log[:, k, :4] = commands.T
        log[:, k, 4:] = noisy_outputs(state, plan.noise[k]).T
        gust = keep * gust + plant.gust_force * np.sqrt(1 - keep * keep) * plan.gust[k]
        for _ in range(substeps):
            state = advance(state, commands, gust, plant)
    return log


def noisy_outputs(state: FlightState, white: Doubles) -> Doubles:
    """Return logged outputs [13, F] with white noise [12, F]. The quaternion never changes sign."""
    position, velocity, angle, rates = (scale * each for scale, each in zip(NOISE, np.split(white, 4), strict=True))
    attitude = turned(state.attitude, 0.5 * angle)
    return np.concatenate((state.position + position, state.velocity + velocity, attitude, state.rates + rates))


class _Autopilot:
    """Control a flight: cascade position, velocity, attitude, rates, rotors. One call per tick; gains in 1/s."""

    position, velocity, integral, attitude, yaw, rates, damping = 1.2, 2.5, 0.8, 6.0, 2.0, 35.0, 1.0
    steepest = 0.75  # tangent of the largest tilt: 37 degrees

    def __init__(self, plant: Quadrotor, dt: float) -> None:
        self._plant, self._dt = plant, dt
        self._drift: Doubles = np.zeros((3, 1))
        self._last: Doubles = np.zeros((3, 1))  # rates one tick earlier; flights start at rest

    def commands(self, state: FlightState, plan: _FlightPlan, k: int) -> Doubles:
        """Return motor commands [4, F] in 0..1 at tick k."""
        forward, left, up = body_axes(state.attitude)
        push = self._wanted_push(state, plan, k)
        lift, length = self._plant.mass * _dot(push, up), np.sqrt(_dot(push, push))
        sine, cosine = plan.heading[k]
        roll = -self.attitude * _dot(push, left) / length
        pitch = self.attitude * _dot(push, forward) / length
        yaw = self.yaw * (sine * forward[0] - cosine * forward[1])
        return self._mixed(lift, self._wanted_torque(state, np.array((roll, pitch, yaw))))

    def _wanted_push(self, state: FlightState, plan: _FlightPlan, k: int) -> Doubles:
        """Return the specific force [3, F] in m/s2 that follows the plan, with limited tilt."""
        closing = np.clip(self.position * (plan.position[k] - state.position), -1.5, 1.5)
        error = plan.velocity[k] + closing - state.velocity
        self._drift = np.clip(self._drift + self.integral * self._dt * error, -2.0, 2.0)
        push = plan.acceleration[k] + self.velocity * error + self._drift
        vertical = np.clip(push[2] + GRAVITY, 0.4 * GRAVITY, 1.6 * GRAVITY)
        sideways = np.sqrt(push[0] * push[0] + push[1] * push[1])
        shrink = np.minimum(1.0, self.steepest * vertical / np.maximum(sideways, 1e-9))
        return np.array((push[0] * shrink, push[1] * shrink, vertical))

    def _wanted_torque(self, state: FlightState, wanted: Doubles) -> Doubles:
        """Return the torque [3, F] in N m. Damping by the measured acceleration compensates half of the rotor lag."""
        measured, self._last = (state.rates - self._last) / self._dt, state.rates
        error = np.clip(wanted, -6.0, 6.0) - state.rates
        return np.array(self._plant.inertia)[:, None] * (self.rates * error - self.damping * measured)

    def _mixed(self, lift: Doubles, torque: Doubles) -> Doubles:
        """Convert lift [F] in N and torque [3, F] in N m to commands [4, F], for a battery at 90 % of full voltage."""
        plant = self._plant
        roll, pitch = torque[0] / (4 * plant.arm), torque[1] / (4 * plant.arm)
        # Rotor drag is weak: an unbounded yaw command would use the thrust that lift and tilt need
        yaw = np.clip(torque[2] * plant.thrust / (4 * plant.torque), -0.015, 0.015)
        shares = (-roll - pitch - yaw, pitch + yaw - roll, roll + pitch - yaw, roll + yaw - pitch)
        speed = np.sqrt(np.maximum(lift / 4 + np.array(shares), 0.0) / plant.thrust)
        return np.asarray(np.clip(speed / (0.9 * plant.rotor_speed), LEAST_COMMAND, 1.0))


def _dot(a: Doubles, b: Doubles) -> Doubles:
    return np.asarray(a[0] * b[0] + a[1] * b[1] + a[2] * b[2])


def _thrust_axis(attitude: Doubles) -> Doubles:
    x, y, z, w = attitude
    return np.array((2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)))


def _angular_acceleration(rates: Doubles, rotors: Doubles, thrusts: Doubles, plant: Quadrotor) -> Doubles:
    """Return angular accelerations [3, F] in rad/s2 (Euler's equations).

    Rotors: front right (turning left), rear right, rear left, front left.
    """
    a, b, c, d = thrusts
    p, q, r = rates
    jx, jy, jz = plant.inertia
    spin = plant.rotor_inertia * (rotors[0] - rotors[1] + rotors[2] - rotors[3])
    roll = plant.arm * (c + d - a - b) + (jy - jz) * q * r - spin * q
    pitch = plant.arm * (b + c - a - d) + (jz - jx) * r * p + spin * p
    yaw = (plant.torque / plant.thrust) * (b + d - a - c) + (jx - jy) * p * q
    return np.array((roll / jx, pitch / jy, yaw / jz))


def _acceleration(velocity: Doubles, attitude: Doubles, thrusts: Doubles, gust: Doubles, plant: Quadrotor) -> Doubles:
    """Return accelerations [3, F] in m/s2. Drag differs along and across the thrust axis and grows with speed."""
    (a, b, c, d), up = thrusts, _thrust_axis(attitude)
    along = a + b + c + d + (plant.drag_lateral - plant.drag_axial) * _dot(velocity, up)
    across = plant.drag_lateral + plant.drag_quadratic * np.sqrt(_dot(velocity, velocity))
    force = up * along - velocity * across + gust
    force[2] -= plant.mass * GRAVITY
    return np.asarray(force / plant.mass)
