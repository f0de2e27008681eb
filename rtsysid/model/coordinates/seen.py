"""SeenRow: what the network sees of one row by itself. A live sample is judged by its range in training.

In a rigid body's row the columns of the velocity hold the velocity in the body frame. Those of the attitude x, y, z
hold the world's vertical in the body frame, and w the length of the quaternion. An angle is within half a turn of the
centre of its range. Every other column is as recorded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from rtsysid.spec import Doubles, Floats, ModelSpec

Value: TypeAlias = Any  # float, or an array of the values of one channel

NO_LENGTH = 1e-30  # keeps a quaternion of zeros from dividing by zero


class SeenRow:
    """Convert rows. `centres`: the centre of the range of each angle, by its column; by default that of the scaling."""

    def __init__(self, spec: ModelSpec, centres: Mapping[int, float] | None = None) -> None:
        names, body = [channel.name for channel in spec.channels], spec.rigid_body
        self._attitude = [] if body is None else [names.index(name) for name in body.attitude]
        self._velocity = [] if body is None else [names.index(name) for name in body.velocity]
        known = _centres(spec) if centres is None else centres
        self._angles = [(i, channel.period, known[i]) for i, channel in enumerate(spec.channels) if channel.angle]

    def of(self, row: Sequence[Value]) -> list[Value]:
        """Convert the values of a row, or the columns of many rows: [C] -> [C]."""
        seen = list(row)
        if self._attitude:
            x, y, z, w = (row[i] for i in self._attitude)
            turn, length = _rotation(x, y, z, w)
            for k, i in enumerate(self._attitude):
                seen[i] = length if k == 3 else turn[2][k]
            for k, i in enumerate(self._velocity):
                seen[i] = sum(turn[j][k] * row[v] for j, v in enumerate(self._velocity))
        for i, period, centre in self._angles:
            seen[i] = centre + short_way(row[i] - centre, period)
        return seen

    def columns(self, rows: Floats | Doubles) -> list[Doubles]:
        """Convert rows [n, C] to columns, C arrays [n]."""
        return self.of(list(rows.astype("f8").T))


def short_way(change: Value, period: float) -> Value:
    """Return a change of an angle without whole turns."""
    return change - period * ((change / period + 0.5) // 1)


def _centres(spec: ModelSpec) -> dict[int, float]:
    bounds = zip(spec.scaling.seen_low, spec.scaling.seen_high, strict=True)
    return {i: (low + high) / 2 for i, (low, high) in enumerate(bounds)}


def _rotation(x: Value, y: Value, z: Value, w: Value) -> tuple[list[list[Value]], Value]:
    """Compute the rotation matrix from body to world of a quaternion of any length, and that length."""
    square = x * x + y * y + z * z + w * w
    s = 2 / (square + NO_LENGTH)
    turn = [
        [1 - s * (y * y + z * z), s * (x * y - w * z), s * (x * z + w * y)],
        [s * (x * y + w * z), 1 - s * (x * x + z * z), s * (y * z - w * x)],
        [s * (x * z - w * y), s * (y * z + w * x), 1 - s * (x * x + y * y)],
    ]
    return turn, square**0.5
