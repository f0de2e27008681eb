"""Show outputs as a person reads them: a quaternion is one rotation, drawn as roll, pitch and yaw.

Every other output is shown as it is. Errors of a rotation are its rotation vector, so that q and -q are equal and a
small error is small in every attitude.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from rtsysid.alignment.frames import conjugate, product
from rtsysid.circle import differences, nearest, unwrapped
from rtsysid.spec import Doubles, ModelSpec

TURN = 2 * np.pi
ANGLES, AXES = ("roll", "pitch", "yaw"), ("x", "y", "z")


class Quantity(NamedTuple):
    """Name one output, or one rotation of four outputs. ``columns``: of the shown values; ``group``: of the errors."""

    name: str
    unit: str
    group: str
    outputs: tuple[int, ...]
    columns: tuple[int, ...]

    @property
    def label(self) -> str:
        """Write the name with its unit."""
        return f"{self.name} [{self.unit}]" if self.unit else self.name


class ShownOutputs:
    """Convert outputs [.., ny] to shown values [.., nq], and two of them to their difference [.., nq]."""

    def __init__(self, spec: ModelSpec) -> None:
        self._outputs, self._rotations = spec.outputs, _rotations_of(spec)
        self.quantities = tuple(_quantities(spec, self._rotations))

    @property
    def names(self) -> list[str]:
        """Return the name of each shown value."""
        return [f"{each.name}{part}" for each in self.quantities for part in _part_names(each, ANGLES)]

    @property
    def error_names(self) -> list[str]:
        """Return the name of each difference."""
        return [f"{each.name}{part}" for each in self.quantities for part in _part_names(each, AXES)]

    @property
    def units(self) -> list[str]:
        """Return the unit of each shown value."""
        return [each.unit for each in self.quantities for _ in each.columns]

    def values(self, rows: Doubles) -> Doubles:
        """Return the shown values of outputs [n, ny] in time order, without jumps by a turn."""
        smooth = unwrapped(np.asarray(rows, np.float64), self._outputs)
        parts = [
            np.unwrap(roll_pitch_yaw(rows[..., list(q.outputs)]), axis=0)
            if len(q.outputs) == 4
            else smooth[..., q.outputs]
            for q in self.quantities
        ]
        return np.asarray(np.concatenate(parts, -1))

    def near_truth(self, predicted: Doubles, truth: Doubles, shown: Doubles) -> Doubles:
        """Return the shown values of predictions [n, ny] near those of the truth [n, ny], which are `shown` [n, nq]."""
        guess, parts = nearest(predicted, truth, self._outputs), []
        measured = nearest(truth, truth, self._outputs)
        for q in self.quantities:
            own = shown[..., list(q.columns)]
            if len(q.outputs) == 4:
                angles = roll_pitch_yaw(guess[..., list(q.outputs)])
                parts.append(angles - TURN * np.nan_to_num(np.round((angles - own) / TURN)))
            else:
                parts.append(own + guess[..., list(q.outputs)] - measured[..., list(q.outputs)])
        return np.asarray(np.concatenate(parts, -1))

    def differences(self, predicted: Doubles, truth: Doubles) -> Doubles:
        """Subtract the truth from predictions [.., ny]; of a rotation the vector from the true attitude, in rad."""
        off = differences(predicted, truth, self._outputs)
        parts = [
            rotation_error(predicted[..., list(q.outputs)], truth[..., list(q.outputs)])
            if len(q.outputs) == 4 else off[..., list(q.outputs)]
            for q in self.quantities
        ]  # fmt: skip
        return np.asarray(np.concatenate(parts, -1))


def roll_pitch_yaw(q: Doubles) -> Doubles:
    """Convert quaternions x, y, z, w [.., 4] to angles in rad [.., 3], about x, then y, then z of the moving axes."""
    with np.errstate(invalid="ignore", over="ignore"):
        x, y, z, w = np.moveaxis(_normed(q), -1, 0)
        roll = np.arctan2(2 * (w * x + y * z), 1 - 2 * (x * x + y * y))
        pitch = np.arcsin(np.clip(2 * (w * y - z * x), -1, 1))
        yaw = np.arctan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))
        return np.stack((roll, pitch, yaw), -1)


def rotation_error(predicted: Doubles, truth: Doubles) -> Doubles:
    """Return axis times angle in rad [.., 3] from the true to the predicted attitude, quaternions [.., 4]."""
    with np.errstate(invalid="ignore", over="ignore"):
        turn = product(conjugate(_normed(truth)), _normed(predicted))
        turn = np.where(turn[..., 3:] < 0, -turn, turn)
        size = np.linalg.norm(turn[..., :3], axis=-1, keepdims=True)
        factor = np.divide(2 * np.arctan2(size, turn[..., 3:]), size, out=np.full_like(size, 2.0), where=size > 1e-12)
        return np.asarray(turn[..., :3] * factor)


def _normed(q: Doubles) -> Doubles:
    q = np.asarray(q, np.float64)
    length = np.linalg.norm(q, axis=-1, keepdims=True)
    return np.asarray(np.divide(q, length, out=np.full_like(q, np.nan), where=length > 0))


def _rotations_of(spec: ModelSpec) -> list[tuple[int, ...]]:
    """Return the outputs x, y, z, w of each quaternion."""
    every = [tuple(column - spec.n_inputs for column in each) for each in spec.rotations]
    return [each for each in every if min(each) >= 0]


def _quantities(spec: ModelSpec, rotations: list[tuple[int, ...]]) -> list[Quantity]:
    found, at = list[Quantity](), 0
    turning = {each: rotation for rotation in rotations for each in rotation}
    for column, channel in enumerate(spec.outputs):
        rotation = turning.get(column)
        if rotation is not None and column != min(rotation):
            continue
        size, own = (1, (column,)) if rotation is None else (3, rotation)
        name = channel.name if rotation is None else channel.group or "attitude"
        unit = channel.unit if rotation is None else "rad"
        found.append(Quantity(name, unit, channel.group or channel.name, own, tuple(range(at, at + size))))
        at += size
    return found


def _part_names(quantity: Quantity, parts: tuple[str, ...]) -> list[str]:
    return [""] if len(quantity.columns) == 1 else [f" {part}" for part in parts]
