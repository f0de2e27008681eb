"""Stretch the deviations of sampled futures from the point forecast, so that their intervals are calibrated.

Each future keeps its shape: at every tick and output its deviation is multiplied by one factor, which is smooth in the
ticks ahead. Angles deviate the short way around. A quaternion moves along the chord and gets length one again.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rtsysid.model.contents import STRETCH_TICKS
from rtsysid.model.coordinates.angles import Angles
from rtsysid.model.coordinates.columns import Array, Immutable
from rtsysid.model.coordinates.quaternions import Quaternions
from rtsysid.spec import Floats, ModelSpec


class FutureStretch(Immutable):
    """Stretch futures of one specification. `xp`: the module of the arrays, numpy or torch."""

    def __init__(self, spec: ModelSpec, xp: Any) -> None:
        self._angles, self._quaternions = Angles(spec, xp), Quaternions(output_rotations(spec), spec.n_outputs, xp)

    def stretched(self, futures: Array, point: Array, factors: Array) -> Array:
        """Multiply the deviations of futures [..., N, ny] from the point forecast [..., N, ny] by factors [N, ny]."""
        away = self.between(futures, point)
        return self._angles.wrapped(self._quaternions.unit(point + factors * away))

    def between(self, futures: Array, point: Array) -> Array:
        """Subtract the point forecast: for an angle the short way around, for a quaternion q or -q, the nearer."""
        return self._angles.error(self._quaternions.near(futures, point), point)


def output_rotations(spec: ModelSpec) -> tuple[tuple[int, ...], ...]:
    """List the columns x, y, z, w of each quaternion among the outputs, that of a rigid body too."""
    moved = (tuple(i - spec.n_inputs for i in each) for each in spec.rotations)
    return tuple(each for each in moved if min(each) >= 0)


def stretch_factors(table: Floats, ticks: int) -> Floats:
    """Return the factors of 1 .. N ticks ahead: those of `STRETCH_TICKS`, linear between them: [K, ny] -> [N, ny]."""
    ahead = np.arange(1, ticks + 1)
    return np.stack([np.interp(ahead, STRETCH_TICKS, each) for each in table.T], 1).astype(np.float32)
