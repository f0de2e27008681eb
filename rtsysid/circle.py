"""Values that come back: an angle after a whole turn, and a rotation, whose quaternions q and -q are the same.

This module is where the rest of the package learns that. `rtsysid.model.coordinates.angles` does the same inside the
model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rtsysid.errors import SpecError
from rtsysid.spec import Channel, Doubles, Floats, rotation_columns

Rows = TypeVar("Rows", Floats, Doubles)


def nearest(predicted: ArrayLike, truth: ArrayLike, outputs: Sequence[Channel]) -> Doubles:
    """Replace each predicted angle and quaternion by the equal one that is nearest to the truth: [..., ny].

    For an angle that is some whole turns more or less, for a quaternion q it is q or -q.
    """
    guess, true = np.array(predicted, np.float64), np.asarray(truth, np.float64)
    for columns in map(list, rotation_columns(outputs)):
        product = np.sum(guess[..., columns] * true[..., columns], axis=-1, keepdims=True)
        guess[..., columns] *= np.where(product < 0, -1.0, 1.0)
    for column, channel in enumerate(outputs):
        if channel.angle:
            turns = np.round((guess[..., column] - true[..., column]) / channel.period)
            guess[..., column] -= channel.period * np.where(np.isfinite(turns), turns, 0.0)
    return guess


def differences(predicted: ArrayLike, truth: ArrayLike, outputs: Sequence[Channel]) -> Doubles:
    """Subtract the truth from a prediction, the short way around: [..., ny]."""
    return nearest(predicted, truth, outputs) - np.asarray(truth, np.float64)


def unwrapped(rows: Rows, channels: Sequence[Channel]) -> Rows:
    """Return rows [..., n, C] in time order whose angles do not jump by a turn; the same rows where there is none."""
    angles = [column for column, channel in enumerate(channels) if channel.angle]
    if not angles:
        return rows
    smooth = rows.copy()
    for column in angles:
        smooth[..., column] = np.unwrap(rows[..., column].astype(np.float64), axis=-1, period=channels[column].period)
    return smooth


def unwrapped_plan(history: Floats, u_future: Floats, channels: Sequence[Channel]) -> tuple[Floats, Floats]:
    """Unwrap rows [K, L, C] and the inputs [K, N, nu] that follow from the newest row's tick on."""
    nu = u_future.shape[-1]
    history = unwrapped(history, channels)
    if not any(channel.angle for channel in channels[:nu]):
        return history, u_future
    joined = np.concatenate((history[..., -1:, :nu], u_future), -2)
    return history, unwrapped(joined, channels[:nu])[..., 1:, :]


def continuous(rows: Floats, rotations: Sequence[Sequence[int]]) -> Floats:
    """Return rows [n, C] in time order whose quaternions do not jump from q to -q; the same rows where none does.

    The first, and one half a turn from the last, has a positive w. Rows without a whole quaternion are passed over.
    `rotations`: the columns x, y, z, w of each quaternion.
    """
    smooth = rows
    for columns in map(np.array, rotations):
        whole = np.flatnonzero(np.isfinite(rows[:, columns]).all(1))
        flipped = whole[_flipped(rows[np.ix_(whole, columns)].astype(np.float64))]
        if len(flipped):
            smooth = rows.copy() if smooth is rows else smooth
            smooth[np.ix_(flipped, columns)] *= -1
    return smooth


def _flipped(q: Doubles) -> NDArray[np.bool_]:
    """Tell which quaternions [n, 4] in time order must change their sign."""
    if not len(q):
        return np.zeros(0, bool)
    products = (q[1:] * q[:-1]).sum(1)
    flipped: NDArray[np.bool_] = np.logical_xor.accumulate([_negative(q[0].tolist()), *(products < 0)])
    for row in np.flatnonzero(products == 0) + 1:  # after half a turn both signs are as near
        flipped[row:] ^= flipped[row] != _negative(q[row].tolist())
    return flipped


class SignKeeper:
    """Keep the signs of a stream of quaternions: `continuous`, sample by sample."""

    def __init__(self, rotations: Sequence[Sequence[int]]) -> None:
        self._rotations = [list(columns) for columns in rotations]
        self._last: list[list[float] | None] = [None] * len(self._rotations)

    def aligned(self, row: Floats) -> Floats:
        """Return the row [C] with quaternions that continue the last good sample; the same row where they do."""
        smooth = row
        for columns, last in zip(self._rotations, self._last, strict=True):
            q = row[columns].tolist()
            product = 0.0 if last is None else sum(map(float.__mul__, q, last))
            if product < 0 or (product == 0 and _negative(q)):
                smooth = row.copy() if smooth is row else smooth
                smooth[columns] *= -1
        return smooth

    def follow(self, row: Floats) -> None:
        """Continue from the good sample `row` [C], which is aligned."""
        if self._rotations:
            self._last = [row[columns].tolist() for columns in self._rotations]

    def forget(self) -> None:
        """Start over: the next quaternion gets a positive w."""
        self._last = [None] * len(self._rotations)


def _negative(q: Sequence[float]) -> bool:
    """Tell whether the last component of a quaternion that is not zero is negative: usually w."""
    return next((each for each in reversed(q) if each), 0.0) < 0


def rotation_angle(a: Doubles, b: Doubles) -> Doubles:
    """Compute the angle in rad, 0 to pi, between the rotations of quaternions [..., 4] of any non-zero length: [...].

    It uses atan2 of the half chords, which is exact at small angles; the arc cosine of the scalar product is not.
    """
    a, b = _unit(a), _unit(b)
    chords = np.linalg.norm(a - b, axis=-1), np.linalg.norm(a + b, axis=-1)  # -b is the same rotation as b
    return np.asarray(4.0 * np.arctan2(np.minimum(*chords), np.maximum(*chords)))


def is_rotation(columns: Sequence[int], outputs: Sequence[Channel]) -> bool:
    """Return whether the outputs in these columns are the four components of a quaternion."""
    return len(columns) == 4 and all(outputs[c].unit == "quat" for c in columns)


def group_columns(outputs: Sequence[Channel]) -> dict[str, list[int]]:
    """Return the columns of each group of outputs, in the order in which the groups appear.

    An output without a group is its own group. Raises SpecError where a group has the name of a channel.
    """
    groups: dict[str, list[int]] = {}
    alone = {c.name for c in outputs if not c.group}
    for column, channel in enumerate(outputs):
        if channel.group in alone:
            raise SpecError(f"group {channel.group!r}", "a channel has this name", "rename the group or the channel")
        groups.setdefault(channel.group or channel.name, []).append(column)
    return groups


def _unit(q: Doubles) -> Doubles:
    """Scale quaternions to length one; divide by the largest component first, so that no square overflows."""
    q = np.asarray(q, np.float64)
    q = q / np.abs(q).max(axis=-1, keepdims=True)
    return np.asarray(q / np.linalg.norm(q, axis=-1, keepdims=True))
