"""Choose the kind of intervals on held-out recordings: conformal boxes, or quantiles of sampled futures.

A box has the same width at every moment; futures may know more. Both are judged by the interval score, which counts the
width and, outside, the distance: no other interval than the right one has a better expected score. Each recording is
left out of the boxes that it judges. Ref: T. Gneiting, A. Raftery, J. Am. Stat. Assoc. 102 (2007) 359, section 6.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np

from rtsysid.evaluation.probabilistic.evaluate import sampled_deviations
from rtsysid.model.intervals import central_intervals, recording_folds
from rtsysid.model.predictor import Predictor
from rtsysid.spec import Doubles, Floats

STATED = 0.9
FUTURES = 99  # of one interval: the fifth smallest and the fifth largest bound 90 %
FORECASTS = 120  # that are judged at most about
TOLERATED = 0.02  # difference to the stated coverage, a mean over the ticks ahead


class HeldOutEpisode(Protocol):
    """One held-out episode: what the model sees and what is true, both [n, C]."""

    @property
    def shown(self) -> Floats: ...
    @property
    def true(self) -> Floats: ...


class IntervalQuality(NamedTuple):
    """Hold the interval score, in units of the error of the point forecast, and the coverage at each tick [N]."""

    score: float
    coverage: Doubles

    @property
    def miscoverage(self) -> float:
        """Mean difference to the stated coverage over the ticks ahead."""
        return float(np.abs(self.coverage - STATED).mean())


def futures_for_intervals(predictor: Predictor, episodes: Sequence[HeldOutEpisode], horizon: int) -> int:
    """Return how many futures make the intervals of forecasts; 0 where boxes are better on the held-out episodes.

    Futures are chosen where their score is better, and their coverage right or nearer to what is stated.
    """
    stride = max(1, sum(len(each.shown) for each in episodes) // FORECASTS)
    every = [sampled_deviations(predictor, each.shown, horizon, stride, FUTURES, truth=each.true) for each in episodes]
    sampled = [(each.futures, each.truth) for each in every if each.futures is not None and len(each.truth)]
    if not sampled:
        return 0
    unit = np.sqrt(np.mean(np.concatenate([truth for _, truth in sampled]) ** 2, 0)) + 1e-12
    futures, boxes = sampled_quality(sampled, unit), box_quality([truth for _, truth in sampled], unit)
    covered = futures.miscoverage <= max(TOLERATED, boxes.miscoverage)
    return FUTURES if futures.score < boxes.score and covered else 0


def sampled_quality(sampled: Sequence[tuple[Doubles, Doubles]], unit: Doubles) -> IntervalQuality:
    """Judge the quantiles of futures [K, M, N, ny] by the truth [K, N, ny] of each episode; `unit` [N, ny]."""
    bounds = [central_intervals(futures.swapaxes(0, 1), STATED) for futures, _ in sampled]
    return _quality(bounds, [truth for _, truth in sampled], unit)


def box_quality(errors: Sequence[Doubles], unit: Doubles) -> IntervalQuality:
    """Judge the quantiles of the absolute errors [K, N, ny] of the other episodes; `unit` [N, ny]."""
    folds, bounds = recording_folds(list(errors)), []
    for k, fold in enumerate(folds):
        others = np.concatenate([other for j, other in enumerate(folds) if j != k])
        half = np.broadcast_to(np.quantile(np.abs(others), STATED, axis=0), fold.shape)
        bounds.append((-half, half))
    return _quality(bounds, folds, unit)


def _quality(bounds: Sequence[tuple[Doubles, Doubles]], truths: Sequence[Doubles], unit: Doubles) -> IntervalQuality:
    low, high = (np.concatenate(each) for each in zip(*bounds, strict=True))
    truth = np.concatenate(truths)
    outside = np.maximum(low - truth, 0) + np.maximum(truth - high, 0)
    score = (high - low + outside * 2 / (1 - STATED)) / unit
    return IntervalQuality(float(score.mean()), np.mean(outside == 0, (0, 2)))
