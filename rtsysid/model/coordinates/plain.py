"""Plain coordinates: channels as they are, powers of outputs, and dry friction."""

from __future__ import annotations

from typing import Any, NamedTuple

from rtsysid.model.coordinates.columns import Array, Immutable, columns, powers
from rtsysid.spec import ModelSpec


class CoulombFriction(NamedTuple):
    """Dry friction of one output: the feature tanh(speed / slow)."""

    channel: int
    travels: bool  # a position, seen relative to its newest row
    slow: float


def brakes(spec: ModelSpec) -> list[CoulombFriction]:
    """List the friction features of a specification, in its order."""
    at = {channel.name: i for i, channel in enumerate(spec.channels)}
    return [CoulombFriction(at[name], name in spec.relative, slow) for name, slow in spec.friction]


class Plain(Immutable):
    """Channels as they are; where the specification says so, relative to the newest row, and with powers of outputs.

    An integrated output follows the mean of its velocity over the tick. Dry friction depends on the direction of motion
    more than on the speed: the tail holds tanh(speed / slow) of the newest row for each output with friction. The speed
    of a relative output is its change over the last tick; any other output with friction is a speed itself.
    """

    def __init__(self, spec: ModelSpec, xp: Any) -> None:
        self._xp, self._nu, self._degree = xp, spec.n_inputs, spec.degree
        absolute = len(spec.columns) - len(spec.relative)
        self._absolute, self._relative = columns(spec.columns[:absolute]), columns(spec.columns[absolute:])
        self._moving = bool(spec.relative)
        self._brakes = brakes(spec)
        self._increments, self._dt = spec.output == "increment", 1 / spec.rate_hz
        names = [channel.name for channel in spec.outputs]
        pairs = [(names.index(position), names.index(velocity)) for position, velocity in spec.integrate]
        positions = [position for position, _ in pairs]
        head_outputs = [i for i in range(len(names)) if i not in positions]
        order = [*head_outputs, *positions]
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
        if self._degree > 1:
            rows = self._xp.concatenate((rows, *powers(rows[..., self._nu :], self._degree)), -1)
        return rows, self._friction(window) if self._brakes else None

    def _friction(self, window: Array) -> Array:
        """Compute tanh(speed / slow) of each output with friction: [..., L, C] -> [..., F - L * K]."""
        scaled = [self._speed(window, brake) * (1 / brake.slow) for brake in self._brakes]
        return self._xp.tanh(self._xp.stack(scaled, -1))

    def _speed(self, window: Array, brake: CoulombFriction) -> Array:
        newest = window[..., -1, brake.channel]
        return (newest - window[..., -2, brake.channel]) * (1 / self._dt) if brake.travels else newest

    def next_outputs(self, newest: Array, target: Array) -> Array:
        """Compute the next outputs [..., ny] from the newest row [..., C] and the targets [..., T]."""
        y = newest[..., self._nu :]
        head_outputs = target + y[..., self._head_outputs] if self._increments else target
        if not self._integrates:
            return head_outputs
        moved = self._dt / 2 * (y[..., self._velocities] + head_outputs[..., self._after])
        return self._xp.concatenate((head_outputs, y[..., self._positions] + moved), -1)[..., self._order]

    def targets(self, newest: Array, following: Array) -> Array:
        """Compute the targets that lead to the `following` outputs: the inverse of `next_outputs`."""
        head_outputs = following[..., self._head_outputs]
        return head_outputs - newest[..., self._nu :][..., self._head_outputs] if self._increments else head_outputs

    def synthetic_history(self, row: Array, samples: int) -> Array:
        """Make a history [..., samples, C] that ends with the row [..., C]: the robot does not move."""
        return self._xp.stack([row] * samples, -2)
