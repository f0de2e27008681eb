"""Ridge regression of the targets on the features of a window, with sums kept by fold."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from rtsysid.evaluation.linear.folds import Folds
from rtsysid.evaluation.linear.maps import LinearMap, coordinates_of, scaled_features, spec_of
from rtsysid.spec import Doubles, Floats, ModelSpec

BLOCK = 2048  # windows at a time
WINDOWS = 60_000  # of all recordings at most, evenly spread
ROUNDING = 1e-13  # of a diagonal: keeps features that never change from making the equations singular


class Equations(NamedTuple):
    """Hold the normal equations of each fold's own windows: gram [f, F + 1, F + 1], moment [f, F + 1, T]."""

    lags: int
    gram: Doubles
    moment: Doubles

    def without(self, fold: int | None) -> tuple[Doubles, Doubles]:
        """Sum the equations of all folds but one, of all for None: gram [F + 1, F + 1], moment [F + 1, T]."""
        kept = [k for k in range(len(self.gram)) if k != fold]
        return self.gram[kept].sum(0), self.moment[kept].sum(0)

    def solve(self, ridge: float, fold: int | None = None) -> LinearMap:
        """Solve for the map of all folds but one. `ridge` is relative to the unit variance of a feature."""
        gram, moment = self.without(fold)
        count = gram[-1, -1]
        gram[np.diag_indices(len(gram) - 1)] += (ridge + ROUNDING) * count
        return LinearMap(self.lags, np.asarray(np.linalg.solve(gram, moment), np.float64))

    def solve_folds(self, ridge: float) -> LinearMap:
        """Solve for one map without each fold."""
        weights = [self.solve(ridge, fold).weights for fold in range(len(self.gram))]
        return LinearMap(self.lags, np.stack(weights))


def equations(spec: ModelSpec, folds: Folds, lags: int, most: int = WINDOWS) -> Equations:
    """Set up the equations of all folds, in the coordinates of `spec`, for at most `most` windows of `lags` rows."""
    own = spec_of(spec, lags)
    size, stride = own.window_size + 1, 1 + sum(map(len, folds.pieces)) // most
    gram, moment = np.zeros((folds.number, size, size)), np.zeros((folds.number, size, spec.n_targets))
    for piece, number in zip(folds.pieces, folds.numbers, strict=True):
        for windows, following in _blocks(piece, lags, stride):
            features = scaled_features(own, windows)
            target = coordinates_of(own).targets(windows[:, -1], following[:, spec.n_inputs :])
            gram[number] += features.T @ features
            moment[number] += features.T @ ((target - spec.scaling.target_mean) / spec.scaling.target_std)
    return Equations(lags, gram, moment)


def _blocks(piece: Floats, lags: int, stride: int) -> Iterator[tuple[Doubles, Doubles]]:
    """Yield windows [m, lags, C] and the rows after them [m, C], in float64."""
    for start in range(0, len(piece) - lags, BLOCK * stride):
        rows = np.asarray(piece[start : start + BLOCK * stride + lags], np.float64)
        windows = sliding_window_view(rows[:-1], lags, axis=0)[::stride].transpose(0, 2, 1)
        yield windows, rows[lags:][::stride]
