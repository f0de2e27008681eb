"""Quaternions among the outputs: q and -q are the same rotation, and this module is where that is known.

A group of four outputs of unit ``quat`` is a rotation, with components x, y, z, w.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from rtsysid.errors import SpecError
from rtsysid.spec import Channel, Doubles


def same_sign(predicted: ArrayLike, truth: ArrayLike, outputs: Sequence[Channel]) -> Doubles:
    """Replace each predicted quaternion q by -q, the same rotation, where that is nearer to the truth.

    Predictions and truth are [..., ny]. Raises SpecError where a group has the name of a channel.
    """
    guess, true = np.array(predicted, np.float64), np.asarray(truth, np.float64)
    for columns in group_columns(outputs).values():
        if is_rotation(columns, outputs):
            product = np.sum(guess[..., columns] * true[..., columns], axis=-1, keepdims=True)
            guess[..., columns] *= np.where(product < 0, -1.0, 1.0)
    return guess


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
