"""ExceedanceModel: estimate from minutes of recordings how often per hour a score exceeds a level.

A score is correlated in time, so it exceeds a level in clusters. Exceedances closer than `hold` ticks are one cluster,
and the peaks of clusters count as independent. Above a level that about fifty clusters reach, the excess of the peaks
is fitted by a generalised Pareto distribution. It interpolates within the recordings and extrapolates beyond them, up
to ten times their length. Fifty clusters determine a shape badly, so a prior draws it to that of a moderately heavy
tail.

Recordings differ. Each is left out in turn, and all levels are multiplied by the factor with which the recordings left
out exceed the levels of the others as often as intended.

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

MAX_EXTRAPOLATION = 10.0  # rates are extrapolated up to this many times the length of the recordings
CLUSTERS = 50  # number of clusters for the fit, where there are as many
FOLDS = 12  # more recordings than this are left out in groups
LEFT_OUT = 20  # clusters expected above the compared level: fewer are noise, more are within the fit
_FEWEST = 5  # the least number of clusters for a fit
_LEVELS = 80  # levels tried, from the highest down
_FACTORS = np.geomspace(1.0, 10.0, 60)
_SHAPES = (-0.5, 0.9)  # outside, moments do not exist or the fit is not reliable
_PRIOR = (0.35, 100)  # shape of the prior, and its weight in clusters


class ExceedanceModel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A fitted model. ``seconds``: length of the recordings. ``clusters``: their number above ``level``.

    ``scale``, ``shape``: of the generalised Pareto distribution of the excess over ``level``.
    """

    seconds: float
    clusters: int
    level: float
    scale: float
    shape: float

    @classmethod
    def fit(cls, scores: Sequence[Doubles], hold: int, tick_s: float) -> ExceedanceModel:
        """Fit a model to the scores [n] of separate recordings. Raises TraceError where there are too few clusters.

        `hold`: ticks within which exceedances are one cluster. `tick_s`: sample period in seconds.
        """
        tail = _fitted(scores, hold, tick_s)
        if tail is None:
            found = f"too few clusters of the score in {sum(map(len, scores)) * tick_s:.0f} s"
            raise TraceError("calibration recordings", found, "give longer recordings")
        factor = _cv_factor([list(scores[k::FOLDS]) for k in range(min(FOLDS, len(scores)))], hold, tick_s)
        return cls(tail.seconds, tail.clusters, tail.level * factor, tail.scale * factor, tail.shape)

    @property
    def possible(self) -> bool:
        """Tell whether the numbers can come from a fit."""
        counted = self.seconds >= 1e-3 and 1 <= self.clusters < 2**31
        return counted and self.level >= 0 and self.scale >= 0 and abs(self.shape) < 1

    @property
    def lowest_rate(self) -> float:
        """Lowest rate per hour that the recordings support."""
        return 3600.0 / (MAX_EXTRAPOLATION * self.seconds)

    def threshold(self, per_hour: float) -> float:
        """Return the level that clusters exceed `per_hour` times an hour; at least the level of the fit."""
        times = self.clusters * 3600.0 / (self.seconds * per_hour)
        if times <= 1:
            return self.level
        excess = math.log(times) if abs(self.shape) < 1e-9 else math.expm1(self.shape * math.log(times)) / self.shape
        return self.level + self.scale * excess


def minutes_for(per_hour: float) -> float:
    """Return how many minutes of recordings support a rate per hour."""
    return 60 / (MAX_EXTRAPOLATION * per_hour)


def clusters(score: Doubles, level: float, hold: int) -> Doubles:
    """Return the peaks of the clusters of a score [n] above a level; clusters are more than `hold` ticks apart."""
    above = np.flatnonzero(score > level)
    if not len(above):
        return np.zeros(0)
    first = np.concatenate(([0], np.flatnonzero(np.diff(above) > hold) + 1))
    return np.asarray(np.maximum.reduceat(score[above], first))


def _fitted(scores: Sequence[Doubles], hold: int, tick_s: float) -> ExceedanceModel | None:
    """Fit without the factor; None where there are too few clusters."""
    ordered = np.sort(np.concatenate(scores)) if scores else np.zeros(0)
    peaks, level = np.zeros(0), 0.0
    for share in 1.0 - np.geomspace(1e-5, 0.5, _LEVELS) if len(ordered) else ():
        tried = float(ordered[int(share * (len(ordered) - 1))])
        reached = np.concatenate([clusters(score, tried, hold) for score in scores])
        if len(reached) > len(peaks):  # at lower levels clusters merge
            peaks, level = reached, tried
        if len(peaks) >= CLUSTERS:
            break
    return (
        None
        if len(peaks) < _FEWEST
        else ExceedanceModel(len(ordered) * tick_s, len(peaks), level, *_pareto(peaks - level))
    )


def _cv_factor(folds: Sequence[list[Doubles]], hold: int, tick_s: float) -> float:
    """Return the factor for levels with which `LEFT_OUT` clusters exceed the levels fitted to the other folds."""
    if len(folds) < 3:
        return 1.0
    others = [[score for fold in folds if fold is not left for score in fold] for left in folds]
    fits = [_fitted(each, hold, tick_s) for each in others]
    seconds = sum(len(score) for fold in folds for score in fold) * tick_s
    levels = [None if fit is None else fit.threshold(LEFT_OUT * 3600.0 / seconds) for fit in fits]
    known = [(score, level) for fold, level in zip(folds, levels, strict=True) if level is not None for score in fold]
    for factor in _FACTORS:
        if sum(len(clusters(score, factor * level, hold)) for score, level in known) <= LEFT_OUT:
            return float(factor)
    return float(_FACTORS[-1])


def _pareto(excess: Doubles) -> tuple[float, float]:
    """Return scale and shape of excesses [n] over their level."""
    ordered = np.sort(excess)
    n = len(ordered)
    mean = float(ordered.mean())
    weighted = float((ordered * (1.0 - (np.arange(1, n + 1) - 0.35) / n)).mean())
    shape = float(np.clip(2.0 - mean / (mean - 2.0 * weighted) if mean > 2.0 * weighted else _SHAPES[1], *_SHAPES))
    shape = (n * shape + _PRIOR[0] * _PRIOR[1]) / (n + _PRIOR[1])
    return mean * (1.0 - shape), shape
