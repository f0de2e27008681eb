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

from rtsysid.circle import group_columns
from rtsysid.evaluation.linear.folds import Folds
from rtsysid.evaluation.linear.maps import LinearModel, joined, linear_run, one_map, runs_of
from rtsysid.evaluation.linear.ridge import Equations, equations
from rtsysid.evaluation.metrics import group_errors, octaves
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
WORST, TINY = 1e12, 1e-30  # bounds of an error


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
        longest = max(map(len, folds.pieces))
        self.lags = [each for each in lags if each + horizon < longest] or [min(lags)]
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
        found = group_errors(forecasts, self.runs.truth, self.spec.outputs).values()
        errors = np.minimum(np.stack(list(found)), WORST)
        by_fold = [errors[:, part].mean(1) for part in self.runs.folds]
        return Judged(np.array(by_fold), np.array([float(part.stop - part.start) for part in self.runs.folds]))

    def relative(self, judged: Judged, ticks: int | None = None) -> float:
        """Return the error over the first `ticks` in ratio to hold's, averaged over the groups."""
        ours, hold = (each.mean[:, :ticks].mean(1) for each in (judged, self.hold))
        return float(np.mean(ours / np.maximum(hold, TINY)))

    def score(self, judged: Judged) -> float:
        """Return the mean logarithm of the error in ratio to hold's, in which octaves of ticks weigh alike."""
        weights = octaves(self.hold.mean.shape[1])
        ratio = np.maximum(judged.mean, TINY) / np.maximum(self.hold.mean, TINY)
        return float(np.mean(np.log(ratio) @ weights))


def choose_linear(search: Search, target_groups: Sequence[str], near_ticks: int | None = None) -> LinearChoice:
    """Choose maps, ages and gains. `target_groups` [T]: the group of outputs that each target moves.

    `near_ticks`: the age at which the far map takes over, where it is known.
    """
    candidates = list(product(search.lags, RIDGES))
    crossed = [search.equations(lags).solve_folds(ridge) for lags, ridge in candidates]
    judged = [search.judged(one_map(each)) for each in crossed]
    far = int(np.argmin([search.relative(each) for each in judged]))
    near = int(np.argmin([search.relative(each, NEAR) for each in judged]))
    ticks = (near_ticks,) if near_ticks is not None else NEAR_TICKS if near != far else (0,)
    every = [LinearModel(crossed[near], crossed[far], n, (), np.ones((1, len(target_groups)))) for n in ticks]
    best = _with_gains(search, min(every, key=lambda each: search.score(search.judged(each))), target_groups)
    final = [search.equations(lags).solve(ridge) for lags, ridge in (candidates[near], candidates[far])]
    model = best._replace(near=final[0], far=final[1])
    ridges = (candidates[near][1], candidates[far][1])
    return LinearChoice(search.spec, search.folds, ridges, model, best, search.judged(best), search.hold, search.groups)


def _with_gains(search: Search, model: LinearModel, target_groups: Sequence[str]) -> LinearModel:
    """Lower the gain of a group from an age on, band after band, where that lowers the error."""
    horizon = search.hold.mean.shape[1]
    bands = tuple(age for age in BANDS if age < horizon)
    judged = search.judged(model)
    best, gains = search.score(judged), np.ones((len(bands) + 1, len(target_groups)))
    for band, (row, group) in product(range(len(bands) + 1), enumerate(search.groups)):
        later = slice((0, *bands)[band], None)
        if (judged.mean[row, later] < WORTH * search.hold.mean[row, later]).all():
            continue  # hold is so much worse that no gain can help
        moved = [name == group for name in target_groups]
        for gain in GAINS:
            trial = gains.copy()
            trial[band:, moved] = gain
            scaled = search.judged(model._replace(age_bands=bands, gains=trial))
            score = search.score(scaled)
            if score >= best - BETTER:
                break
            best, gains, judged = score, trial, scaled
    return model if (gains == 1).all() else model._replace(age_bands=bands, gains=gains)
