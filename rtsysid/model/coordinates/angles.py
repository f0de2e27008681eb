"""Angles in a window: distances from the newest row, directions, and outputs within one turn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from rtsysid.model.coordinates.columns import Array, Immutable
from rtsysid.spec import ModelSpec

# sin(z) / z and cos(z) in powers of z^2, to 1e-7 up to a quarter of a turn: all backends compute the same
SIN = (1.0, -1 / 6, 1 / 120, -1 / 5040, 1 / 362880, -1 / 39916800)
COS = (1.0, -1 / 2, 1 / 24, -1 / 720, 1 / 40320, -1 / 3628800, 1 / 479001600)


class Angles(Immutable):
    """Handle the channels that are angles. Without any, every method returns its argument.

    A whole turn more or less in any row changes neither a feature nor an output, but for rounding.
    """

    def __init__(self, spec: ModelSpec, xp: Any) -> None:
        self._xp, nu = xp, spec.n_inputs
        self._periods = {i: channel.period for i, channel in enumerate(spec.channels) if channel.angle}
        self._outputs = {i - nu: period for i, period in self._periods.items() if i >= nu}
        self._starts = {i - nu: spec.turn_start(i) for i in self._periods}
        self._seen = [(i, math.pi / self._periods[i]) for i in spec.directions]

    def shown(self, rows: Array, window: Array, order: Sequence[int]) -> Array:
        """Replace angles among the first features of rows [..., L, K] by their distance from the newest row.

        `order`: the columns of the window [..., L, C] that these features are.
        """
        moved = {k: i for k, i in enumerate(order) if i in self._periods}
        if not moved:
            return rows
        parts = [rows[..., k] for k in range(rows.shape[-1])]
        for k, i in moved.items():
            parts[k] = self._short(window[..., i] - window[..., -1:, i], self._periods[i])
        return self._xp.stack(parts, -1)

    def directions(self, newest: Array) -> Array | None:
        """Compute the sine and the cosine of each angle whose direction is seen: [..., C] -> [..., 2 n] or None."""
        parts = []
        for i, half in self._seen:
            z = self._short(newest[..., i], self._periods[i]) * half
            sine, cosine = z * self._series(SIN, z * z), self._series(COS, z * z)
            parts += [2 * sine * cosine, cosine * cosine - sine * sine]
        return self._xp.stack(parts, -1) if parts else None

    def increments(self, change: Array, order: Sequence[int]) -> Array:
        """Take the short way in each change [..., T] of an angle. `order`: the outputs that the first T values are."""
        periods = [self._outputs.get(i, 0.0) for i in order]
        if not any(periods):
            return change
        parts = [change[..., k] for k in range(change.shape[-1])]
        for k, period in enumerate(periods):
            parts[k] = self._short(parts[k], period) if period else parts[k]
        return self._xp.stack(parts, -1)

    def error(self, predicted: Array, truth: Array) -> Array:
        """Subtract true outputs from predicted ones [..., ny]; for an angle the short way around."""
        return self.increments(predicted - truth, range(predicted.shape[-1]))

    def travel(self, change: Array, column: int) -> Array:
        """Take the short way in the change [...] of one channel, where it is an angle."""
        return self._short(change, self._periods[column]) if column in self._periods else change

    def wrapped(self, y: Array) -> Array:
        """Bring the angles among outputs [..., ny] into the turn in which they were recorded."""
        if not self._outputs:
            return y
        parts = [y[..., k] for k in range(y.shape[-1])]
        for k, period in self._outputs.items():
            parts[k] = parts[k] - period * self._xp.floor((parts[k] - self._starts[k]) * (1 / period))
        return self._xp.stack(parts, -1)

    def _short(self, change: Array, period: float) -> Array:
        return change - period * self._xp.floor(change * (1 / period) + 0.5)

    def _series(self, coefficients: Sequence[float], square: Array) -> Array:
        total = coefficients[-1] * square + coefficients[-2]
        for coefficient in coefficients[-3::-1]:
            total = total * square + coefficient
        return total
