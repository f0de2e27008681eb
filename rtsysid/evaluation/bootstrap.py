"""Compare two predictors by the ratio of their mean errors, with an interval by the block bootstrap.

The errors of forecasts that start at neighbouring ticks resemble each other, so that the forecasts are not independent.
Blocks of consecutive forecasts are: they are drawn with replacement, the same ones for both predictors (paired). Models
of several seeds are drawn with replacement, too. Ref: H. R. Künsch, Annals of Statistics 17 (1989) 1217.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from rtsysid.errors import TraceError
from rtsysid.recordings.trace import Integers
from rtsysid.spec import Doubles

DRAWS = 1000


class RatioInterval(NamedTuple):
    """Hold a ratio of mean errors, and the limits that hold the true one with the stated coverage."""

    ratio: float
    low: float
    high: float


def block_numbers(counts: Sequence[int], length: int) -> Integers:
    """Number the blocks of `length` consecutive forecasts: [sum of counts], from 0.

    `counts`: forecasts of each recording, one per tick. No block reaches over the end of a recording. Raises TraceError
    where there is no forecast.
    """
    if not sum(counts):
        raise TraceError("blocks of forecasts", "no forecast", "give longer recordings")
    starts = np.cumsum([0, *(-(-count // length) for count in counts[:-1])])
    return np.concatenate([first + np.arange(count) // length for first, count in zip(starts, counts, strict=True)])


def ratio_interval(
    model: ArrayLike, peer: ArrayLike, blocks: Integers, *, coverage: float = 0.9, seed: int = 0
) -> RatioInterval:
    """Divide the mean error of a model by that of a peer, over the same K forecasts.

    `model` [S, K] and `peer` [P, K] are the errors of S and P trained seeds (1 where a predictor has no seed); `blocks`
    [K] is the block of each forecast (`block_numbers`). Two errors of zero have the ratio 1. Raises TraceError where
    the numbers of forecasts differ.
    """
    sums = [_block_sums(errors, blocks) for errors in (model, peer)]
    random = np.random.default_rng(seed)
    n_blocks = sums[0].shape[1]
    drawn = random.integers(n_blocks, size=(DRAWS, n_blocks))
    ratios = error_ratio(*(_drawn_totals(each, drawn, random) for each in sums))
    low, high = np.quantile(ratios, ((1 - coverage) / 2, (1 + coverage) / 2), method="nearest")  # inf is no number
    ratio = error_ratio(*(each.mean(0).sum() for each in sums))
    return RatioInterval(float(ratio), float(low), float(high))


def geometric_interval(model: Doubles, peer: Doubles, *, least: float, coverage: float = 0.9) -> RatioInterval:
    """Divide the geometric mean of the errors of a model by that of a peer's, over the same blocks of forecasts.

    `model` and `peer` [B, R]: what each of B blocks adds to each of R errors. An error below `least` counts as that.
    """
    drawn = np.random.default_rng(0).integers(len(model), size=(DRAWS, len(model)))
    over, under = (geometric_mean(each[drawn].sum(1), least) for each in (model, peer))
    low, high = np.quantile(over / under, ((1 - coverage) / 2, (1 + coverage) / 2))
    ratio = geometric_mean(model.sum(0), least) / geometric_mean(peer.sum(0), least)
    return RatioInterval(float(ratio), float(low), float(high))


def geometric_mean(errors: Doubles, least: float) -> Doubles:
    """Average errors [.., R]; none counts less than `least`."""
    return np.asarray(np.exp(np.mean(np.log(np.maximum(errors, least)), -1)))


def error_ratio(model: ArrayLike, peer: ArrayLike) -> Doubles:
    """Divide errors [..] of a model by those of a peer: 1 where both are zero, inf where the peer's alone is."""
    over, under = np.asarray(model, np.float64), np.asarray(peer, np.float64)
    infinite = np.where(over > 0, np.inf, 1.0)
    return np.asarray(np.divide(over, under, out=infinite, where=under > 0))


def _block_sums(errors: ArrayLike, blocks: Integers) -> Doubles:
    """Add up the errors [S, K] of each block: [S, B]."""
    table = np.asarray(errors, np.float64)
    if table.ndim != 2 or table.shape[1] != len(blocks):
        raise TraceError("errors to compare", f"shape {table.shape}", f"give [seeds, {len(blocks)}]")
    return np.stack([np.bincount(blocks, row) for row in table])


def _drawn_totals(sums: Doubles, drawn: Integers, random: np.random.Generator) -> Doubles:
    """Return the total error [DRAWS] over the drawn blocks [DRAWS, B] and over drawn seeds."""
    totals = np.stack([row[drawn].sum(1) for row in sums])
    seeds = random.integers(len(sums), size=(len(sums), drawn.shape[0]))
    return np.asarray(np.take_along_axis(totals, seeds, 0).mean(0))
