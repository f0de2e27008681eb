"""TrainedRange: which values of a sample the training recordings cover."""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from rtsysid.model.coordinates.seen import SeenRow, short_way
from rtsysid.spec import Doubles, Floats, ModelSpec, sees_otherwise

Seen: TypeAlias = NDArray[np.floating[Any]]

_LARGEST = float(np.finfo(np.float32).max) / 8  # room to add a span without overflow
_LENGTHS = 0.5, 2.0  # of a quaternion: outside, it is no rotation
_ROUNDING = 1e-5  # of a width: what a turned world or a whole turn may change in the last digits
_MOST_TURNS = 1e5  # of an angle: beyond, a float32 resolves it to some percent of a radian at best


class TrainedRange:
    """Find the channels of a sample that are outside the range of the training recordings.

    A sample is judged as the network sees it (`rtsysid.model.coordinates.seen`), so that neither heading nor place, nor
    the sign of a quaternion, nor a whole turn matters. The trained range of a channel is what was seen in training. Its
    width is at least the standard deviation of the scaling, so that a channel that was constant in training does not
    reject every sample. A channel that is outside by more than `trained_margin` widths is extrapolating; by more than
    `reject_margin` widths it is impossible. A direction is never impossible: an attitude is where the length of its
    quaternion is far from 1, and an angle where it is not finite or of so many turns that it has no digits left.

    For a channel whose level the network does not see (a position, for example) only the change counts: it is
    impossible when it moved by more than the widened range since the last good sample. For a body it is the distance.
    """

    def __init__(self, spec: ModelSpec, trained_margin: float, reject_margin: float) -> None:
        self._free = np.isin(np.arange(spec.width), spec.free_columns)
        self._mask, self._moves = self._free.astype(np.float32), bool(self._free.any())
        self._row = SeenRow(spec) if sees_otherwise(spec) else None
        channels = enumerate(spec.channels)
        self._angles = [(i, each.period, bool(self._free[i])) for i, each in channels if each.angle]
        self._position, attitude = _columns(spec, "position"), _columns(spec, "attitude")
        self._quaternions = [list(each) for each in spec.rotations if list(each) != attitude]
        kind = np.float32 if self._row is None else np.float64
        bounds = _bounds(spec, trained_margin, reject_margin)
        # Every bound is finite, so that NaN and infinity are never within.
        finite: list[Seen] = [np.clip(each, -_LARGEST, _LARGEST).astype(kind) for each in bounds]
        self._trained, self._widest = finite
        self._origin: Floats | None = None  # free channels of the last good sample, [C], zero elsewhere
        self._seen: Seen = np.zeros(spec.width, kind)
        self._within = np.zeros((2, spec.width), bool)
        self._all_within = np.ones((2, spec.width), bool).tobytes()

    def holds(self, values: Floats) -> bool:
        """Return whether every channel of `values` [C] is within the trained range."""
        seen = self._as_seen(values)
        np.less_equal(self._trained[0], seen, self._within[0])
        np.less_equal(seen, self._trained[1], self._within[1])
        # half the time of .all()
        return self._within.tobytes() == self._all_within and not (self._quaternions and self._no_rotations(values))

    def outside(self, values: Floats) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return the impossible columns of `values` [C] (not finite or too far outside) and those outside the range."""
        seen = self._as_seen(values)
        impossible, none = _outside(seen, self._widest), self._no_rotations(values)
        return tuple(sorted({*impossible, *none})), tuple(sorted({*_outside(seen, self._trained), *none}))

    def beyond(self, rows: Floats) -> NDArray[np.bool_]:
        """Return which values of recorded rows [n, C] are outside the trained range; never of a free channel."""
        seen = rows if self._row is None else np.stack(self._row.columns(rows), 1)
        within = (self._trained[0] <= seen) & (seen <= self._trained[1])
        return np.asarray(~within & ~self._free)

    def follow(self, values: Floats) -> None:
        """Measure the change of channels whose level is not seen from the good sample `values` [C] on."""
        if self._moves:
            self._origin = np.multiply(values, self._mask, self._origin)

    def forget(self) -> None:
        """Accept any value of a channel whose level is not seen next."""
        self._origin = None

    def _no_rotations(self, values: Floats) -> list[int]:
        """Return the columns of quaternions of `values` [C] whose length is far from 1, or not finite."""
        quaternions = ((each, math.hypot(*values[each].tolist())) for each in self._quaternions)
        return [column for each, length in quaternions if not _LENGTHS[0] <= length <= _LENGTHS[1] for column in each]

    def _as_seen(self, values: Floats) -> Seen:
        changed = self._changed(values) if self._moves else values
        if self._row is not None:
            self._seen[:] = self._converted(self._row, changed.tolist())
            return self._seen
        return changed

    def _converted(self, seen_row: SeenRow, row: list[float]) -> list[float]:
        """Convert a sample whose free channels are changes already."""
        seen = seen_row.of(row)
        for i, period, free in self._angles:
            seen[i] = short_way(row[i], period) if free else seen[i]
            seen[i] = seen[i] if abs(row[i]) < _MOST_TURNS * period else math.nan
        if self._position:
            moved = sum(row[i] * row[i] for i in self._position) ** 0.5
            for i in self._position:
                seen[i] = moved
        return seen

    def _changed(self, values: Floats) -> Seen:
        """Replace the values of free channels by their change since the last good sample."""
        if self._origin is None:
            first = values.copy()
            first[self._free & (np.abs(values) < _LARGEST)] = 0.0
            return first
        return np.asarray(np.subtract(values, self._origin, self._seen))


def _bounds(spec: ModelSpec, trained_margin: float, reject_margin: float) -> tuple[Doubles, Doubles]:
    """Bounds [2, C] of what is trained, and of what is possible."""
    scaling = spec.scaling
    low, high = np.array(scaling.seen_low or scaling.low), np.array(scaling.seen_high or scaling.high)
    width: Doubles = np.maximum(high - low, np.array(scaling.std))
    margin = max(trained_margin, _ROUNDING if sees_otherwise(spec) else 0.0)
    trained = np.stack([low - margin * width, high + margin * width])
    widest = np.stack([low - reject_margin * width, high + reject_margin * width])
    position, attitude = _columns(spec, "position"), _columns(spec, "attitude")
    never = [*attitude[:3], *(i for i, channel in enumerate(spec.channels) if channel.angle)]
    widest[:, never] = [[-_LARGEST], [_LARGEST]]
    quaternions = [i for columns in spec.rotations for i in columns if i not in attitude]
    widest[:, quaternions] = [[-_LENGTHS[1]], [_LENGTHS[1]]]
    width[position] = np.linalg.norm(width[position])
    free = list(spec.free_columns)
    trained[:, free] = widest[:, free] = np.outer([-1, 1], (1 + reject_margin) * width[free])
    trained[:, attitude[3:]] = widest[:, attitude[3:]] = np.array([_LENGTHS]).T
    return trained, widest


def _columns(spec: ModelSpec, part: str) -> list[int]:
    """Columns of a part of the rigid body; none without a body."""
    names = [channel.name for channel in spec.channels]
    return [] if spec.rigid_body is None else [names.index(name) for name in getattr(spec.rigid_body, part)]


def _outside(values: Seen, bounds: Seen) -> tuple[int, ...]:
    return tuple(np.flatnonzero(~((bounds[0] <= values) & (values <= bounds[1]))).tolist())
