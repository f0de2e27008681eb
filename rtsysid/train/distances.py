"""Distances from the newest row of a window, in a free run. Shapes as in `rtsysid.train.track`, K features per row."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rtsysid.spec import ModelSpec


class ShortWay:
    """Take the short way around in changes of angles. `periods`: of each column; 0: not an angle, it stays as it is."""

    def __init__(self, periods: Sequence[float], like: Tensor) -> None:
        self._periods, self._half = like.new_tensor(periods), like.new_tensor(0.5)
        self._per_turn = like.new_tensor([1 / period if period else 0.0 for period in periods])

    def apply(self, change: Tensor) -> Tensor:
        """Take whole turns out of changes [.., columns], in place."""
        turns = torch.addcmul(self._half, change, self._per_turn).floor_()
        return change.addcmul_(turns, self._periods, value=-1)


class Distances:
    """Columns that a window shows as distances from its newest row: relative outputs, and angles.

    The track keeps them at their level, and angles in engineering units. ``angle`` [K]: whether a column is one.
    """

    def __init__(self, spec: ModelSpec, mean: Tensor, std: Tensor) -> None:
        """`mean`, `std` [K]: those that scale the features."""
        raised = [0.0] * (spec.n_features - len(spec.columns))  # powers of outputs
        periods = [*(spec.channels[i].period for i in spec.columns), *raised]
        self.moving = mean.new_tensor([*(i in spec.distances for i in spec.columns), *raised])
        self.angle = mean.new_tensor(periods) > 0
        self._shift = mean / std * self.moving
        self._scale = torch.where(self.angle, 1 / std, 1.0)
        self._short = ShortWay(periods, mean) if any(periods) else None

    def seen(self, rows: Tensor) -> Tensor:
        """Replace rows of the track by features: [.., L, K] -> [.., L, K]."""
        if self._short is None:
            return rows - (rows[..., -1:, :] * self.moving + self._shift)
        change = self._short.apply(rows - rows[..., -1:, :] * self.moving)
        return change.mul_(self._scale).sub_(self._shift)

    def back(self, gradient: Tensor) -> None:
        """Turn the gradient of the features [B, L, K] into that of the rows of the track, in place."""
        if self._short is not None:
            gradient *= self._scale
        gradient[:, -1] -= self.moving * gradient.sum(1)
