"""TrainedRange: which values of a sample the training recordings cover."""

from __future__ import annotations

import numpy as np

from rtsysid.spec import Floats, ModelSpec

_LARGEST = float(np.finfo(np.float32).max) / 8  # room to add a span without overflow


class TrainedRange:
    """Find the channels of a sample that are outside the range of the training recordings.

    The trained range of a channel is `Scaling.low`..`high`. Its width is at least the standard deviation of the
    scaling, so that a channel that was constant in training does not reject every sample. A channel that is outside by
    more than `trained_margin` widths is extrapolating; by more than `reject_margin` widths it is impossible. For a
    channel that the network does not see (a position, for example) only the change counts: it is impossible when it
    moved by more than the widened range since the last good sample.
    """

    def __init__(self, spec: ModelSpec, trained_margin: float, reject_margin: float) -> None:
        low, high = np.array(spec.scaling.low), np.array(spec.scaling.high)
        width = np.maximum(high - low, np.array(spec.scaling.std))
        self._unseen = np.isin(np.arange(spec.width), spec.free_columns)
        self._moves, self._mask = bool(self._unseen.any()), self._unseen.astype(np.float32)
        trained = np.stack([low - trained_margin * width, high + trained_margin * width])
        trained[:, self._unseen] = np.outer([-1, 1], (1 + reject_margin) * width[self._unseen])
        widest = np.stack([low - reject_margin * width, high + reject_margin * width])
        # Every bound is finite, so that NaN and infinity are never within.
        self._base, self._widest = (np.clip(x, -_LARGEST, _LARGEST).astype(np.float32) for x in (trained, widest))
        self._bounds = self._base.copy()  # [2, C], moving with the unseen channels
        self._within = np.zeros((2, spec.width), bool)
        self._all_within = np.ones((2, spec.width), bool).tobytes()

    def holds(self, values: Floats) -> bool:
        """Return whether every channel of `values` [C] is within the trained range."""
        np.less_equal(self._bounds[0], values, self._within[0])
        np.less_equal(values, self._bounds[1], self._within[1])
        return self._within.tobytes() == self._all_within  # half the time of .all()

    def outside(self, values: Floats) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return the impossible columns of `values` [C] (not finite or too far outside) and those outside the range."""
        widest = np.where(self._unseen, self._bounds, self._widest)
        return _outside(values, widest), _outside(values, self._bounds)

    def follow(self, values: Floats) -> None:
        """Measure the change of unseen channels from the good sample `values` [C] on."""
        if self._moves:
            np.add(self._base, values * self._mask, self._bounds)

    def forget(self) -> None:
        """Accept any value of an unseen channel next."""
        self._bounds[:, self._unseen] = [[-_LARGEST], [_LARGEST]]


def _outside(values: Floats, bounds: Floats) -> tuple[int, ...]:
    return tuple(np.flatnonzero(~((bounds[0] <= values) & (values <= bounds[1]))).tolist())
