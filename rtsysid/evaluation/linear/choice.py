"""Choose a linear model by cross-validation: its lags and ridge, the ages of its near map, and its gains.

Every candidate is fitted without one fold and forecasts what that fold left out. The far map has the least error over
the whole forecast, the near map over its first ticks. A gain scales the change that the model predicts for a group of
outputs from some age on: where holding the last output is better than the map, it falls toward 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rtsysid.circle import group_columns
from rtsysid.evaluation.linear.folds import Folds
from rtsysid.evaluation.linear.maps import LinearModel, bounded_errors, joined, linear_run, one_map, runs_of
from rtsysid.evaluation.linear.ridge import Equations, equations
from rtsysid.evaluation.metrics import LEAST, log_ratio
from rtsysid.spec import Doubles, ModelSpec

LAGS = (2, 5, 10, 20, 40)
RIDGES = (1e-12, 1e-8, 1e-5, 1e-3)
NEAR_TICKS = (0, 2, 3, 5, 8, 12)
NEAR = 2  # ticks that the near map is chosen by
BANDS = (1, 2, 5, 10, 20)
GAINS = (0.75, 0.5, 0.25, 0.0)  # tried in this order, until one does not help
STARTS = 600  # forecasts of a candidate, over all folds
BETTER = 0.003  # share of the error that a gain must save
WORTH = 0.6  # of hold's error, from which on gains are tried


class Judged(NamedTuple):
    """Hold the mean error by fold, group and tick, [f, G, N], with the number of forecasts of each fold [f]."""

    errors: Doubles
    counts: Doubles

    @property
    def mean(self) -> Doubles:
        """Return the mean error over all forecasts, [G, N]."""
        mean: Doubles = np.tensordot(self.counts / self.counts.sum(), self.errors, 1)
        return mean


class LinearChoice(NamedTuple):
    """Hold what was chosen. ``spec``: with its coordinates and scaling. ``model``: fitted to all recordings.

    ``folds``: the recordings, and how they were left out. ``ridges``: of near and far map.
    ``crossed``: the same choice fitted without each fold. ``judged``: its errors on what each fold left out; ``hold``:
    the errors of the last outputs held. ``groups``: names, in the order of the errors.
    """

    spec: ModelSpec
    folds: Folds
    ridges: tuple[float, float]
    model: LinearModel
    crossed: LinearModel
    judged: Judged
    hold: Judged
    groups: tuple[str, ...]


class Search:
    """Fit and judge candidates in the coordinates of one specification."""

    def __init__(self, spec: ModelSpec, folds: Folds, horizon: int, lags: Sequence[int] = LAGS) -> None:
        self.spec, self.folds = spec, folds
        room = min(max(map(len, folds.held_out(k))) for k in range(folds.number)) - horizon
        self.lags = [each for each in lags if each < room] or [min(*lags, room - 1)]
        start = partial(runs_of, spec=spec, past=max(self.lags), horizon=horizon, count=STARTS // folds.number)
        self.runs = joined([start(folds.held_out(k)) for k in range(folds.number)])
        self.groups = tuple(group_columns(spec.outputs))
        self.hold = self._judged(self.runs.hold)
        self._equations: dict[int, Equations] = {}

    def equations(self, lags: int) -> Equations:
        """Return the equations of this many lags; they are set up once."""
        if lags not in self._equations:
            self._equations[lags] = equations(self.spec, self.folds, lags)
        return self._equations[lags]

    def judged(self, model: LinearModel) -> Judged:
        """Judge a candidate that has one map for each fold."""
        return self._judged(linear_run(self.spec, model, self.runs))

    def _judged(self, forecasts: Doubles) -> Judged:
        errors = bounded_errors(self.spec, forecasts, self.runs.truth)
        by_fold = [errors[part].mean(0) for part in self.runs.folds]
        return Judged(np.array(by_fold), np.array([float(part.stop - part.start) for part in self.runs.folds]))

    def relative(self, judged: Judged, ticks: int | None = None) -> float:
        """Return the error over the first `ticks` in ratio to hold's, averaged over the groups."""
        ours, hold = (each.mean[:, :ticks].mean(1) for each in (judged, self.hold))
        return float(np.mean(ours / np.maximum(hold, LEAST)))

    def score(self, judged: Judged) -> float:
        """Return the mean logarithm of the error in ratio to hold's, in which octaves of ticks weigh alike."""
        return log_ratio(judged.mean, self.hold.mean)


def choose_linear(
    search: Search, target_groups: Sequence[str], near_ticks: Sequence[int] = NEAR_TICKS, bands: Sequence[int] = BANDS
) -> LinearChoice:
    """Choose maps, ages and gains. `target_groups` [T]: the group of outputs that each target moves.

    `near_ticks`: ages to try from which on the far map predicts; `bands`: first age of each further band of gains.
    """
    candidates = list(product(search.lags, RIDGES))
    crossed = [search.equations(lags).solve_folds(ridge) for lags, ridge in candidates]
    judged = [search.judged(one_map(each)) for each in crossed]
    far = int(np.argmin([search.relative(each) for each in judged]))
    near = int(np.argmin([search.relative(each, NEAR) for each in judged]))
    ticks = near_ticks if near != far else near_ticks[:1]
    every = [LinearModel(crossed[near], crossed[far], n, (), np.ones((1, len(target_groups)))) for n in ticks]
    best = min(every, key=lambda each: search.score(search.judged(each)))
    best = _with_gains(search, best, target_groups, bands)
    final = [search.equations(lags).solve(ridge) for lags, ridge in (candidates[near], candidates[far])]
    model = best._replace(near=final[0], far=final[1])
    ridges = (candidates[near][1], candidates[far][1])
    return LinearChoice(search.spec, search.folds, ridges, model, best, search.judged(best), search.hold, search.groups)


def _with_gains(search: Search, model: LinearModel, target_groups: Sequence[str], bands: Sequence[int]) -> LinearModel:
    """Lower the gain of a group from an age on, band after band, where that lowers the error."""
    bands = tuple(age for age in bands if age < search.hold.mean.shape[1])
    model = model._replace(age_bands=bands, gains=np.ones((len(bands) + 1, len(target_groups))))
    judged = search.judged(model)
    for (band, first), (row, group) in product(enumerate((0, *bands)), enumerate(search.groups)):
        if (judged.mean[row, first:] >= WORTH * search.hold.mean[row, first:]).any():  # else no gain can help
            moved = np.array([name == group for name in target_groups])
            model, judged = _lowered(search, model, judged, (slice(band, None), moved))
    return model


def _lowered(
    search: Search, model: LinearModel, judged: Judged, chosen: tuple[slice, NDArray[np.bool_]]
) -> tuple[LinearModel, Judged]:
    """Lower the gains of these bands and targets until that does not help; return the model and its errors."""
    for gain in GAINS:
        gains = model.gains.copy()
        gains[chosen] = gain
        trial = model._replace(gains=gains)
        found = search.judged(trial)
        if search.score(found) >= search.score(judged) - BETTER:
            break
        model, judged = trial, found
    return model, judged
