"""Plain coordinates: channels as they are, powers of outputs, and dry friction."""

from __future__ import annotations

from typing import Any, NamedTuple

from rtsysid.model.coordinates.angles import Angles
from rtsysid.model.coordinates.columns import Array, Immutable, columns, powers
from rtsysid.model.coordinates.quaternions import Quaternions
from rtsysid.spec import ModelSpec


class CoulombFriction(NamedTuple):
    """Dry friction of one output: the feature tanh(speed / slow)."""

    channel: int
    travels: bool  # a position, seen relative to its newest row
    slow: float


def brakes(spec: ModelSpec) -> list[CoulombFriction]:
    """List the friction features of a specification, in its order."""
    at = {channel.name: i for i, channel in enumerate(spec.channels)}
    return [CoulombFriction(at[name], at[name] in spec.distances, slow) for name, slow in spec.friction]


class Plain(Immutable):
    """Channels as they are; where the specification says so, relative to the newest row, and with powers of outputs.

    An angle is always relative to the newest row; unless the specification calls it relative, the tail holds its sine
    and cosine there.

    A quaternion among the outputs has length one.

    An integrated output follows the mean of its velocity over the tick. Dry friction depends on the direction of motion
    more than on the speed: the tail holds tanh(speed / slow) of the newest row for each output with friction. The speed
    of a relative output is its change over the last tick; any other output with friction is a speed itself.
    """

    def __init__(self, spec: ModelSpec, xp: Any) -> None:
        self._xp, self._nu, self._degree = xp, spec.n_inputs, spec.degree
        self._angles, self._seen = Angles(spec, xp), spec.columns
        self._quaternions = Quaternions(spec.quaternions, spec.n_outputs, xp)
        absolute = sum(i < spec.n_inputs or i not in spec.distances for i in spec.columns)
        self._absolute, self._relative = columns(spec.columns[:absolute]), columns(spec.columns[absolute:])
        self._moving = absolute < len(spec.columns)
        self._brakes = brakes(spec)
        self._increments, self._dt = spec.output == "increment", 1 / spec.rate_hz
        names = [channel.name for channel in spec.outputs]
        pairs = [(names.index(position), names.index(velocity)) for position, velocity in spec.integrate]
        positions = [position for position, _ in pairs]
        head_outputs = [i for i in range(len(names)) if i not in positions]
        order = [*head_outputs, *positions]
        self._heads = head_outputs
        self._head_outputs, self._positions = columns(head_outputs), columns(positions)
        self._velocities = columns([velocity for _, velocity in pairs])
        self._order = columns([order.index(i) for i in range(len(order))])
        self._after = columns([head_outputs.index(velocity) for _, velocity in pairs])
        self._integrates = bool(pairs)

    def features(self, window: Array) -> tuple[Array, Array | None]:
        """Compute rows [..., L, K] in engineering units, and the tail [..., F - L * K] or None, from [..., L, C]."""
        rows = window[..., self._absolute]
        if self._moving:
            moved = window[..., self._relative] - window[..., -1:, self._relative]
            rows = self._xp.concatenate((rows, moved), -1)
        rows = self._angles.shown(rows, window, self._seen)
        if self._degree > 1:
            rows = self._xp.concatenate((rows, *powers(rows[..., self._nu :], self._degree)), -1)
        return rows, self._tail(window)

    def _tail(self, window: Array) -> Array | None:
        friction = self._friction(window) if self._brakes else None
        directions = self._angles.directions(window[..., -1, :])
        if friction is None or directions is None:
            return directions if friction is None else friction
        return self._xp.concatenate((friction, directions), -1)

    def _friction(self, window: Array) -> Array:
        """Compute tanh(speed / slow) of each output with friction: [..., L, C] -> [..., F - L * K]."""
        scaled = [self._speed(window, brake) * (1 / brake.slow) for brake in self._brakes]
        return self._xp.tanh(self._xp.stack(scaled, -1))

    def _speed(self, window: Array, brake: CoulombFriction) -> Array:
        newest = window[..., -1, brake.channel]
        if not brake.travels:
            return newest
        travel = self._angles.travel(newest - window[..., -2, brake.channel], brake.channel)
        return travel * (1 / self._dt)

    def next_outputs(self, newest: Array, target: Array) -> Array:
        """Compute the next outputs [..., ny] from the newest row [..., C] and the targets [..., T]."""
        y = newest[..., self._nu :]
        head_outputs = target + y[..., self._head_outputs] if self._increments else target
        if not self._integrates:
            return self._within(head_outputs)
        moved = self._dt / 2 * (y[..., self._velocities] + head_outputs[..., self._after])
        every = self._xp.concatenate((head_outputs, y[..., self._positions] + moved), -1)[..., self._order]
        return self._within(every)

    def _within(self, y: Array) -> Array:
        """Bring the angles among outputs [..., ny] into their turn, and the quaternions to length one."""
        return self._angles.wrapped(self._quaternions.unit(y))

    def targets(self, newest: Array, following: Array) -> Array:
        """Compute the targets that lead to the `following` outputs: the inverse of `next_outputs`."""
        y = newest[..., self._nu :]
        head_outputs = self._quaternions.near(following, y)[..., self._head_outputs]
        if not self._increments:
            return head_outputs
        return self._angles.increments(head_outputs - y[..., self._head_outputs], self._heads)

    def error(self, predicted: Array, truth: Array) -> Array:
        """Subtract true outputs from predicted ones [..., ny]: angles the short way around, of q and -q the nearer."""
        return self._angles.error(self._quaternions.near(predicted, truth), truth)

    def synthetic_history(self, row: Array, samples: int) -> Array:
        """Make a history [..., samples, C] that ends with the row [..., C]: the robot does not move."""
        return self._xp.stack([row] * samples, -2)
