"""ExceedanceModel: how often a score passes a level, learned from minutes and asked about hours.

What passes a level comes in clusters, for a score remembers. Bursts that are less than `hold` ticks apart count as one,
and their peaks are taken for independent. Above a level that some fifty clusters reach, their excess follows a
generalised Pareto distribution: within what was seen it interpolates, and beyond it extrapolates, up to ten times the
length of the recordings. Fifty clusters say little of a shape: it is drawn towards that of a moderately heavy tail.

One recording is not like the next. Each is left out in turn, and the scores are stretched until those left out pass the
levels of the others as often as they should.

Ref: A. C. Davison and R. L. Smith, Models for exceedances over high thresholds, J. R. Statist. Soc. B 52 (1990);
probability-weighted moments after J. R. M. Hosking and J. R. Wallis, Technometrics 29 (1987); a prior on the shape as
in E. S. Martins and J. R. Stedinger, Water Resources Research 36 (2000).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import numpy as np

from rtsysid.errors import TraceError
from rtsysid.spec import Doubles

MAX_EXTRAPOLATION = 10.0  # rates are extrapolated to this many times the length of the recordings, and no further
CLUSTERS = 50  # that the tail is fitted to, where there are as many
FOLDS = 12  # recordings beyond so many are left out in groups
LEFT_OUT = 20  # clusters that should pass the levels they are compared at: fewer say little, more lie within the fit
_FEWEST = 5  # a tail is not fitted to less
_LEVELS = 80  # tried from the top down
_STRETCHES = np.geomspace(1.0, 10.0, 60)
_SHAPES = (-0.5, 0.9)  # beyond, moments do not exist or the fit is an accident
_PRIOR = (0.35, 100)  # shape, and the number of clusters that it counts as


class ExceedanceModel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The fit, stretched. ``seconds``: of recordings. ``clusters``: above ``level``, by ``scale`` and ``shape``."""

    seconds: float
    clusters: int
    level: float
    scale: float
    shape: float

    @classmethod
    def fit(cls, scores: Sequence[Doubles], hold: int, tick_s: float) -> ExceedanceModel:
        """From the scores [n] of stretches that are never joined. Raises TraceError where they hardly ever move."""
        tail = _fitted(scores, hold, tick_s)
        if tail is None:
            found = f"hardly a burst of the score in {sum(map(len, scores)) * tick_s:.0f} s"
            raise TraceError("calibration recordings", found, "give longer recordings")
        stretch = _cv_factor([list(scores[k::FOLDS]) for k in range(min(FOLDS, len(scores)))], hold, tick_s)
        return cls(tail.seconds, tail.clusters, tail.level * stretch, tail.scale * stretch, tail.shape)

    @property
    def lowest_rate(self) -> float:
        """The least rate per hour that the recordings can speak of."""
        return 3600.0 / (MAX_EXTRAPOLATION * self.seconds)

    def threshold(self, per_hour: float) -> float:
        """The level that clusters pass `per_hour` times an hour; where that is often, the level of the fit."""
        times = self.clusters * 3600.0 / (self.seconds * per_hour)
        if times <= 1:
            return self.level
        stretch = math.log(times) if abs(self.shape) < 1e-9 else math.expm1(self.shape * math.log(times)) / self.shape
        return self.level + self.scale * stretch


def minutes_for(per_hour: float) -> float:
    """Minutes of recordings that speak of a rate per hour."""
    return 60 / (MAX_EXTRAPOLATION * per_hour)


def clusters(score: Doubles, level: float, hold: int) -> Doubles:
    """Peaks of the clusters of a score [n] above a level; two of them are at least `hold` ticks apart."""
    above = np.flatnonzero(score > level)
    if not len(above):
        return np.zeros(0)
    first = np.concatenate(([0], np.flatnonzero(np.diff(above) > hold) + 1))
    return np.asarray(np.maximum.reduceat(score[above], first))


def _fitted(scores: Sequence[Doubles], hold: int, tick_s: float) -> ExceedanceModel | None:
    """The fit as it is; None where there are too few clusters for one."""
    ordered = np.sort(np.concatenate(scores)) if scores else np.zeros(0)
    peaks, level = np.zeros(0), 0.0
    for share in 1.0 - np.geomspace(1e-5, 0.5, _LEVELS) if len(ordered) else ():
        tried = float(ordered[int(share * (len(ordered) - 1))])
        reached = np.concatenate([clusters(score, tried, hold) for score in scores])
        if len(reached) > len(peaks):  # further down they grow together
            peaks, level = reached, tried
        if len(peaks) >= CLUSTERS:
            break
    return (
        None
        if len(peaks) < _FEWEST
        else ExceedanceModel(len(ordered) * tick_s, len(peaks), level, *_pareto(peaks - level))
    )


def _cv_factor(folds: Sequence[list[Doubles]], hold: int, tick_s: float) -> float:
    """Factor by which levels must grow for `LEFT_OUT` clusters to exceed those fitted to the other folds."""
    if len(folds) < 3:
        return 1.0
    others = [[score for fold in folds if fold is not left for score in fold] for left in folds]
    fits = [_fitted(each, hold, tick_s) for each in others]
    seconds = sum(len(score) for fold in folds for score in fold) * tick_s
    levels = [None if fit is None else fit.threshold(LEFT_OUT * 3600.0 / seconds) for fit in fits]
    known = [(score, level) for fold, level in zip(folds, levels, strict=True) if level is not None for score in fold]
    for stretch in _STRETCHES:
        if sum(len(clusters(score, stretch * level, hold)) for score, level in known) <= LEFT_OUT:
            return float(stretch)
    return float(_STRETCHES[-1])


def _pareto(excess: Doubles) -> tuple[float, float]:
    """Scale and shape of excesses [n] over their level."""
    ordered = np.sort(excess)
    n = len(ordered)
    mean = float(ordered.mean())
    weighted = float((ordered * (1.0 - (np.arange(1, n + 1) - 0.35) / n)).mean())
    shape = float(np.clip(2.0 - mean / (mean - 2.0 * weighted) if mean > 2.0 * weighted else _SHAPES[1], *_SHAPES))
    shape = (n * shape + _PRIOR[0] * _PRIOR[1]) / (n + _PRIOR[1])
    return mean * (1.0 - shape), shape
