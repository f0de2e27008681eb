"""Rigid-body coordinates: the motion of one body in its own frame, and its kinematics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rtsysid.model.coordinates.angles import Angles
from rtsysid.model.coordinates.columns import Array, Immutable, columns
from rtsysid.model.coordinates.quaternions import TINY, unit
from rtsysid.spec import ModelSpec, RigidBody, Rotors

SINC = (1.0, -1 / 6, 1 / 120, -1 / 5040, 1 / 362880, -1 / 39916800)  # sin(x) / x in powers of x^2
QUARTER = 2.4674011  # (pi / 2)^2


class Body(Immutable):
    """The frame of the body at the newest tick.

    The features of a row are the inputs and the outputs that do not belong to the body, then velocity, position
    relative to the newest row, rotation relative to the newest row, and rotation rate, each in the newest body frame.
    """

    def __init__(self, spec: ModelSpec, body: RigidBody, xp: Any) -> None:
        self._xp, self._nu, self._dt = xp, spec.n_inputs, 1 / spec.rate_hz
        names = [channel.name for channel in spec.channels]
        vectors = [[names.index(n) for n in part] for part in (body.velocity, body.position, body.attitude, body.rate)]
        self._velocity, self._position, self._attitude, self._rate = map(columns, vectors)
        others = [i for i in range(spec.width) if not any(i in part for part in vectors)]
        self._others, outputs = columns(others), [i for i in others if i >= self._nu]
        self._angles, self._apart = Angles(spec, xp), (others, [i - self._nu for i in outputs])
        self._other_outputs = columns(outputs)
        # Targets come in the order: others, velocity, position, rotation, rate; outputs in that of the channels.
        self._sizes = [len(outputs), len(vectors[0]), len(vectors[1]), 3, len(vectors[3])]
        order = [i - self._nu for part in (outputs, *vectors) for i in part]
        self._order = columns([order.index(i) for i in range(len(order))])
        every = [i for part in (others, *vectors) for i in part]
        self._every = columns([every.index(i) for i in range(len(every))])
        self._moved = slice(len(body.position))  # of a velocity: nothing, or the whole

    def features(self, window: Array) -> tuple[Array, Array | None]:
        """Compute rows [..., L, K] in engineering units, and the tail [..., F - L * K].

        The tail is the world's vertical in the body frame, then the directions of angles.
        """
        newest = window[..., -1:, :]
        q = self._unit(newest[..., self._attitude])[..., 0, :]
        turn = self._rotation(q)
        moved = window[..., self._position] - newest[..., self._position]
        product = self._relative(q, window[..., self._attitude])
        # sin(angle) axis: smooth everywhere, and the same for q and -q
        turned = 2 * product[..., :3] * product[..., 3:]
        vectors = (part @ turn for part in (window[..., self._velocity], moved) if part.shape[-1])
        rows = self._join((window[..., self._others], *vectors, turned, window[..., self._rate]))
        directions = self._angles.directions(newest[..., 0, :])
        tail = turn[..., 2, :] if directions is None else self._join((turn[..., 2, :], directions))
        return self._angles.shown(rows, window, self._apart[0]), tail

    def next_outputs(self, newest: Array, target: Array) -> Array:
        """Compute the next outputs [..., ny] from the newest row [..., C] and increments in its body frame [..., T]."""
        q = self._unit(newest[..., self._attitude])
        turn = self._rotation(q)
        others, velocity, position, rotation, rate = self._split(target)
        following = (
            newest[..., self._other_outputs] + others,
            newest[..., self._velocity] + self._turned(turn, velocity),
            newest[..., self._position] + self._turned(turn, position),
            self._composed(q, rotation),
            newest[..., self._rate] + rate,
        )
        return self._angles.wrapped(self._join(following)[..., self._order])

    def targets(self, newest: Array, following: Array) -> Array:
        """Compute the targets that lead to the `following` outputs, for rotations below half a turn."""
        xp = self._xp
        after = xp.concatenate((newest[..., : self._nu], following), -1)
        q = self._unit(newest[..., self._attitude])
        back = self._rotation(q).swapaxes(-1, -2)
        product = self._relative(q, after[..., None, self._attitude])[..., 0, :]
        # 2 sin(angle / 2) axis, as `_composed` takes it; q and -q are one rotation: the shorter way
        rotation = 2 * product[..., :3] * xp.sign(product[..., 3:])
        return self._join(
            (
                self._angles.increments((after - newest)[..., self._other_outputs], self._apart[1]),
                self._turned(back, (after - newest)[..., self._velocity]),
                self._turned(back, (after - newest)[..., self._position]),
                rotation,
                (after - newest)[..., self._rate],
            )
        )

    def error(self, predicted: Array, truth: Array) -> Array:
        """Subtract true outputs from predicted ones [..., ny]; for an angle the short way around."""
        return self._angles.error(predicted, truth)

    def synthetic_history(self, row: Array, samples: int) -> Array:
        """Make a history [..., samples, C] that ends with the row [..., C].

        The body moves with the row's velocity and rotation rate, under the row's inputs.
        """
        past = self._xp.stack([row] * samples, -2)
        ago = self._dt * (samples - self._xp.ones_like(past[..., :1]).cumsum(-2))
        velocity, rate, position = past[..., self._velocity], past[..., self._rate], past[..., self._position]
        if velocity.shape[-1]:
            position = position - ago * velocity[..., self._moved]
        attitude = past[..., self._attitude]
        if rate.shape[-1]:
            attitude = self._composed(self._unit(attitude), self._chord(-ago * rate))
        return self._join((past[..., self._others], velocity, position, attitude, rate))[..., self._every]

    def _join(self, parts: Sequence[Array]) -> Array:
        return self._xp.concatenate([part for part in parts if part.shape[-1]], -1)

    def _split(self, target: Array) -> list[Array]:
        ends = [sum(self._sizes[: k + 1]) for k in range(len(self._sizes))]
        return [target[..., end - size : end] for end, size in zip(ends, self._sizes, strict=True)]

    def _unit(self, q: Array) -> Array:
        return unit(q, self._xp)

    def _turned(self, turn: Array, vector: Array) -> Array:
        return (turn @ vector[..., None])[..., 0] if vector.shape[-1] else vector

    def _rotation(self, q: Array) -> Array:
        """Matrix [..., 3, 3] from body to world of unit quaternions x, y, z, w [..., 4]."""
        x, y, z, w = (q[..., i] for i in range(4))
        rows = (
            1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
            2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
            2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
        )  # fmt: skip
        return self._xp.stack(rows, -1).reshape(*q.shape[:-1], 3, 3)

    def _relative(self, q: Array, others: Array) -> Array:
        """Quaternions [..., L, 4] that lead from `q` [..., 4] to `others` [..., L, 4], in the frame of q."""
        x, y, z, w = (q[..., i] for i in range(4))
        rows = (w, -z, y, x, z, w, -x, y, -y, x, w, z, -x, -y, -z, w)  # others @ this = conjugate(q) * others
        return others @ self._xp.stack(rows, -1).reshape(*q.shape[:-1], 4, 4)

    def _composed(self, q: Array, rotation: Array) -> Array:
        """The quaternion after a rotation of 2 sin(angle / 2) axis in the frame of q."""
        half = rotation / 2
        a, b, c = (half[..., i] for i in range(3))
        d = self._xp.sqrt(self._xp.clip(1 - a * a - b * b - c * c, 0.0, 1.0) + TINY)
        x, y, z, w = (q[..., i] for i in range(4))
        product = (
            w * a + x * d + y * c - z * b,
            w * b - x * c + y * d + z * a,
            w * c + x * b - y * a + z * d,
            w * d - x * a - y * b - z * c,
        )
        return self._unit(self._xp.stack(product, -1))

    def _chord(self, turned: Array) -> Array:
        """2 sin(angle / 2) axis of a rotation by angle about axis, of up to half a turn, to 1e-7.

        A polynomial: C, NumPy and torch compute the same, where their sines differ.
        """
        square = self._xp.clip((turned * turned).sum(-1)[..., None] / 4, 0.0, QUARTER)
        ratio = SINC[-1] * square + SINC[-2]
        for coefficient in SINC[-3::-1]:
            ratio = ratio * square + coefficient
        return turned * ratio


class KinematicBody(Body):
    """A body whose motion is integrated from accelerations: the targets, plus those of known rotors.

    The targets are the increments of the outputs that do not belong to the body, then, in the newest body frame, the
    specific force that an accelerometer measures, m/s^2 (where there is a velocity), and the angular acceleration,
    rad/s^2. Both are constant over the tick; position follows the mean velocity, attitude the mean rate.
    """

    def __init__(self, spec: ModelSpec, body: RigidBody, xp: Any) -> None:
        super().__init__(spec, body, xp)
        self._gravity, self._rotors = body.gravity, None if body.rotors is None else RotorModel(spec, body.rotors, xp)
        self._sizes = [self._sizes[0], len(body.velocity), 3]

    def features(self, window: Array) -> tuple[Array, Array | None]:
        """Compute the features of `Body`; with learned rotors the tail also holds the lift of each rotor."""
        rows, vertical = super().features(window)
        if self._rotors is None or not self._rotors.learned:
            return rows, vertical
        return rows, self._join((vertical, self._rotors.lifts(window[..., -1, :])))

    def next_outputs(self, newest: Array, target: Array) -> Array:
        """Compute the next outputs [..., ny] from the newest row [..., C] and the accelerations [..., T]."""
        q, dt = self._unit(newest[..., self._attitude]), self._dt
        turn = self._rotation(q)
        others, force, spin = self._split(target)
        before, rate = newest[..., self._velocity], newest[..., self._rate]
        if self._rotors is not None:
            force, spin = force + self._rotors.force(newest), spin + self._rotors.spin(newest, rate)
        velocity = before + dt * self._turned(turn, self._falling(force, turn, -self._gravity))
        following = (
            newest[..., self._other_outputs] + others,
            velocity,
            newest[..., self._position] + dt / 2 * (before + velocity)[..., self._moved],
            self._composed(q, self._chord(dt * (rate + dt / 2 * spin))),
            rate + dt * spin,
        )
        return self._angles.wrapped(self._join(following)[..., self._order])

    def targets(self, newest: Array, following: Array) -> Array:
        """Compute the accelerations that lead to the `following` velocity and rate."""
        after = self._xp.concatenate((newest[..., : self._nu], following), -1)
        change = after - newest
        turn = self._rotation(self._unit(newest[..., self._attitude]))
        force = self._turned(turn.swapaxes(-1, -2), change[..., self._velocity] / self._dt)
        force, spin = self._falling(force, turn, self._gravity), change[..., self._rate] / self._dt
        if self._rotors is not None:
            rate = newest[..., self._rate]
            force, spin = force - self._rotors.force(newest), spin - self._rotors.spin(newest, rate)
        others = self._angles.increments(change[..., self._other_outputs], self._apart[1])
        return self._join((others, force, spin))

    def _falling(self, force: Array, turn: Array, gravity: float) -> Array:
        """Add `gravity` along the vertical, which is the last row of the rotation, in the body frame."""
        return force + gravity * turn[..., 2, :] if force.shape[-1] else force


class RotorModel:
    """Accelerations by rotors of known constants. Ref: N. Mohajerin, S. Waslander, arXiv 1806.00526, section III."""

    def __init__(self, spec: ModelSpec, rotors: Rotors, xp: Any) -> None:
        names = [channel.name for channel in spec.channels]
        self._xp, self._speeds, self.learned = xp, [names.index(name) for name in rotors.speeds], rotors.learned
        self._effect, self._gyro = effects(rotors), gyration(rotors)

    def lifts(self, newest: Array) -> Array:
        """Compute the upward acceleration by each rotor, m/s^2: [..., C] -> [..., rotors]."""
        pairs = zip(self._effect[0], self._speeds, strict=True)
        return self._xp.stack([effect * newest[..., i] * newest[..., i] for effect, i in pairs], -1)

    def force(self, newest: Array) -> Array:
        """Compute the specific force of all rotors in the body frame, m/s^2: [..., C] -> [..., 3]."""
        lift = self._sum(newest, self._effect[0])
        return self._xp.stack((0 * lift, 0 * lift, lift), -1)

    def spin(self, newest: Array, rate: Array) -> Array:
        """Compute the angular acceleration by Euler's equations, rad/s^2: [..., C], rate [..., 3] -> [..., 3]."""
        x, y, z = (rate[..., i] for i in range(3))
        products = zip(self._effect[1:], self._gyro, (y * z, z * x, x * y), strict=True)
        return self._xp.stack([self._sum(newest, effect) + gyro * product for effect, gyro, product in products], -1)

    def _sum(self, newest: Array, effect: Sequence[float]) -> Array:
        total = 0.0
        for each, i in zip(effect, self._speeds, strict=True):
            total = total + each * newest[..., i] * newest[..., i]
        return total


def effects(rotors: Rotors) -> list[list[float]]:
    """Compute the acceleration per squared speed of each rotor: upward, and about x, y and z."""
    about_x, about_y, about_z = rotors.inertia
    return [
        [rotors.thrust / rotors.mass for _ in rotors.speeds],
        [rotors.thrust * y / about_x for y in rotors.y],
        [-rotors.thrust * x / about_y for x in rotors.x],
        [rotors.drag * spin / about_z for spin in rotors.spin],
    ]


def gyration(rotors: Rotors) -> list[float]:
    """Compute Euler's coefficients of y z, z x and x y in the angular acceleration about x, y and z."""
    a, b, c = rotors.inertia
    return [(b - c) / a, (c - a) / b, (a - b) / c]
