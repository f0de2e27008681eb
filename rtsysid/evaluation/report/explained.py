"""Measure how much of an error could have been predicted: cross-validated shares, by ridge regression.

What explains the error of a forecast is what the model lacks. Errors of neighbouring forecasts resemble each other, so
that folds are blocks of consecutive forecasts, and those next to a fold take no part in its fit.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtsysid.spec import Doubles

FOLDS = 6
RIDGES = (1e-3, 1e-1)  # relative to the unit variance of a feature
LOOSE = (1e-3, 1e-1, 1e1, 1e3)  # of what is known already: the last one hardly uses it
ADDED, NEVER = 1e-2, 1e9  # of what is added, and of what is not
CLIP = 6.0  # median sizes: one wild forecast must not decide


def explained_share(features: Doubles, errors: Doubles, near: int = 0) -> Doubles:
    """Return which share of the squared errors [K, nq] features [K, F] explain, [nq], 0 to 1; of new forecasts.

    `near`: forecasts on each side of a fold that are not independent of it. 0 where there are too few forecasts.
    """
    errors, count = clipped(errors), len(errors)
    if count < 4 * FOLDS or not features.shape[1]:
        return np.zeros(errors.shape[1])
    x = np.column_stack((_scaled_features(features), np.ones(count)))
    left = _left_over(x, errors, near, [np.full(features.shape[1], ridge) for ridge in RIDGES])
    total = np.maximum((errors**2).sum(0), 1e-300)
    return np.asarray(np.clip(1 - np.nan_to_num(left.min(0), nan=np.inf, posinf=np.inf) / total, 0.0, 1.0))


def added_share(base: Doubles, extra: Doubles, errors: Doubles, near: int = 0) -> Doubles:
    """Return which share of the squared errors [K, nq] features `extra` [K, E] explain beyond `base` [K, F], [nq].

    Each side has the ridge on `base` with which it predicts new forecasts best: many features of few recordings would
    otherwise hide what a few more say. `near`: as in `explained_share`. 0 where there are too few forecasts.
    """
    errors, count = clipped(errors), len(errors)
    if count < 4 * FOLDS or not extra.shape[1]:
        return np.zeros(errors.shape[1])
    x = np.column_stack((_scaled_features(base), _scaled_features(extra), np.ones(count)))
    kept = [np.full(extra.shape[1], ridge) for ridge in (NEVER, ADDED)]
    left = [
        _left_over(x, errors, near, [np.concatenate((np.full(base.shape[1], ridge), own)) for ridge in LOOSE]).min(0)
        for own in kept
    ]
    total = np.maximum((errors**2).sum(0), 1e-300)
    return np.asarray(np.clip(np.nan_to_num((left[0] - left[1]) / total, posinf=0.0, neginf=0.0), 0.0, 1.0))


def clipped(errors: Doubles) -> Doubles:
    """Limit errors [K, nq] to some median sizes; what is not finite gets the limit."""
    usual = np.nanmedian(np.abs(errors), axis=0)
    limit = np.where(np.isfinite(usual) & (usual > 0), CLIP * usual, 1.0)
    return np.asarray(np.clip(np.nan_to_num(errors, nan=np.inf, posinf=np.inf, neginf=-np.inf), -limit, limit))


def running_sums(values: NDArray[np.floating[Any]]) -> Doubles:
    """Return the sums of a series [n, C] up to each row, less its first row, [n + 1, C]."""
    sums = np.zeros((len(values) + 1, values.shape[1]))
    np.cumsum(values - values[:1], axis=0, dtype=np.float64, out=sums[1:])
    return sums


def block_means(
    values: NDArray[np.floating[Any]],
    rows: NDArray[np.intp],
    lags: Sequence[tuple[int, int]],
    sums: Doubles | None = None,
) -> Doubles:
    """Return means of a series [n, C] over the rows from `low` to before `high` ticks ago: [K, blocks * C].

    `rows` [K]: the rows that are 0 ticks ago; they lie `high` rows or more from the start. `sums`: `running_sums` of
    the series, where they are known.
    """
    if not lags:
        return np.zeros((len(rows), 0))
    sums = running_sums(values) if sums is None else sums
    means = [(sums[rows + 1 - low] - sums[rows + 1 - high]) / (high - low) + values[0] for low, high in lags]
    return np.concatenate(means, axis=1)


def octave_blocks(first: int, last: int) -> list[tuple[int, int]]:
    """Cut lags from `first` to before `last` into blocks that are twice as wide each time: (low, high)."""
    blocks, low, width = list[tuple[int, int]](), first, 1
    while low < last:
        blocks.append((low, min(low + width, last)))
        low, width = low + width, width * 2 if len(blocks) > 1 else 1
    return blocks


def _scaled_features(features: Doubles) -> Doubles:
    """Give features [K, F] a mean of 0 and a variance of 1, or of 0 where they do not move."""
    spread = features.std(0)
    x = np.divide(features, spread, out=np.zeros_like(features), where=spread > 1e-12)
    return np.asarray(x - x.mean(0))


def _left_over(x: Doubles, errors: Doubles, near: int, ridges: Sequence[Doubles]) -> Doubles:
    """Return the squared errors that remain on held-out folds, by ridge [F] of the features: [ridges, nq].

    The last column of x [K, F + 1] is constant.
    """
    left, edges = np.zeros((len(ridges), errors.shape[1])), np.linspace(0, len(x), FOLDS + 1).astype(int)
    gram, moment = x.T @ x, x.T @ errors
    for low, high in pairwise(edges.tolist()):
        out = slice(max(0, low - near), high + near)
        count = len(x) - len(x[out])
        if count < 2 * FOLDS:
            return np.full_like(left, np.inf)
        own, target = (gram - x[out].T @ x[out]) / count, (moment - x[out].T @ errors[out]) / count
        for k, ridge in enumerate(ridges):
            weights = np.linalg.solve(own + np.diag([*ridge, 1e-9]), target)
            left[k] += ((errors[low:high] - x[low:high] @ weights) ** 2).sum(0)
    return left
