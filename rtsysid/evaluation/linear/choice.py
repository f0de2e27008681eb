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
from rtsysid.evaluation.linear.maps import (
    LinearMap,
    LinearModel,
    bounded_errors,
    coordinates_of,
    joined,
    linear_run,
    one_map,
    runs_of,
    scaled_features,
    spec_of,
)
from rtsysid.evaluation.linear.ridge import WINDOWS, Equations, equations
from rtsysid.evaluation.metrics import LEAST, log_ratio
from rtsysid.guards.stages import say_stage, with_progress
from rtsysid.spec import Doubles, Floats, ModelSpec

LAGS = (2, 5, 10, 20, 40)
RIDGES = (1e-12, 1e-10, 1e-8, 1e-5, 1e-3)
NEAR_TICKS = (0, 2, 3, 5, 8, 12)
NEAR = 2  # ticks that the near map is chosen by
BANDS = (1, 2, 5, 10, 20)
GAINS = (0.75, 0.5, 0.25, 0.0)  # tried in this order, until one does not help
STARTS = 600  # forecasts of a candidate, over all folds
BETTER = 0.003  # share of the error that a gain must save
WORTH = 0.6  # of hold's error, from which on gains are tried
JUMPS = 100  # windows that jump, to try what float32 resolves
ROUNDED_STARTS = 60  # forecasts that try it
ROUNDED_AHEAD = 5e-3  # the same for a forecast
ROUNDED = 4e-3  # of an output's standard deviation: the most by which float32 may change one step of a map


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
    """Fit candidates in the coordinates of one specification to at most `windows` windows, and judge them."""

    def __init__(
        self, spec: ModelSpec, folds: Folds, horizon: int, lags: Sequence[int] = LAGS, windows: int = WINDOWS
    ) -> None:
        self.spec, self.folds, self._windows = spec, folds, windows
        room = min(max(map(len, folds.held_out(k))) for k in range(folds.number)) - horizon
        self.lags = [each for each in lags if each < room] or [min(*lags, room - 1)]
        start = partial(runs_of, spec=spec, past=max(self.lags), horizon=horizon, count=STARTS // folds.number)
        self.runs = joined([start(folds.held_out(k)) for k in range(folds.number)])
        few = partial(runs_of, spec=spec, past=max(self.lags), horizon=horizon, count=ROUNDED_STARTS // folds.number)
        self._few = joined([few(folds.held_out(k)) for k in range(folds.number)])
        self.groups = tuple(group_columns(spec.outputs))
        self.hold = self._judged(self.runs.hold)
        self._equations: dict[int, Equations] = {}

    def equations(self, lags: int) -> Equations:
        """Return the equations of this many lags; they are set up once."""
        if lags not in self._equations:
            self._equations[lags] = equations(self.spec, self.folds, lags, self._windows)
        return self._equations[lags]

    def rounding(self, model: LinearMap) -> float:
        """Return how far float32 moves one step of a map, at most, in standard deviations of an output.

        Smooth recordings have neighbouring rows that hardly differ. A map with large weights of both signs then
        computes a small change from large terms, which float32 cannot resolve. The worst windows are those that jump.
        """
        spec, windows = self.spec, np.concatenate((self.runs.windows, self._jumps())).astype(np.float64)
        features = scaled_features(spec_of(spec, model.lags), windows[:, -model.lags :])
        scale, offset = np.asarray(spec.scaling.target_std), np.asarray(spec.scaling.target_mean)
        exact, rounded = features @ model.weights, features.astype(np.float32) @ model.weights.astype(np.float32)
        after, moved = (coordinates_of(spec).next_outputs(windows[:, -1], y * scale + offset) for y in (exact, rounded))
        off = np.abs(after - moved) / np.maximum(np.asarray(spec.scaling.std[spec.n_inputs :]), LEAST)
        return float(off.max())

    def rounding_ahead(self, model: LinearModel, ticks: int) -> float:
        """Return how far float32 moves a forecast of so many ticks, at most, in standard deviations of an output.

        A map that sharpens neighbouring rows feeds its own rounding back, and lets it grow.
        """
        exact, rounded = (linear_run(self.spec, model, self._few, single=each)[:, :ticks] for each in (False, True))
        with np.errstate(all="ignore"):  # a forecast that diverges
            off = np.abs(exact - rounded) / np.maximum(np.asarray(self.spec.scaling.std[self.spec.n_inputs :]), LEAST)
        return float(np.nan_to_num(off, nan=np.inf).max())

    def _jumps(self) -> Floats:
        """Make windows [JUMPS, L, C] that jump between two random levels of the trained ranges."""
        rng, (_, rows, width) = np.random.default_rng(0), self.runs.windows.shape
        low, high = np.asarray(self.spec.scaling.low), np.asarray(self.spec.scaling.high)
        levels = low + (high - low) * rng.uniform(-0.5, 1.5, (2, JUMPS, 1, width))
        late = np.arange(rows)[None, :, None] >= rows - rng.integers(1, 10, (JUMPS, 1, 1))
        return np.asarray(np.where(late, levels[0], levels[1]), np.float32)

    def judged(self, model: LinearModel) -> Judged:
        """Judge a candidate that has one map for each fold."""
        return self._judged(linear_run(self.spec, model, self.runs))

    def _judged(self, forecasts: Doubles) -> Judged:
        errors = bounded_errors(self.spec, forecasts, self.runs.truth)
        by_fold = [errors[part].mean(0) for part in self.runs.folds]
        return Judged(np.array(by_fold), np.array([float(part.stop - part.start) for part in self.runs.folds]))

    def relative(self, judged: Judged, ticks: int | None = None) -> float:
        """Return the error over the first `ticks` in ratio to hold's, averaged over the groups.

        A group that moves in no forecast tells nothing about a map, and is left out.
        """
        ours, hold = (each.mean[:, :ticks].mean(1) for each in (judged, self.hold))
        moves = hold > 0
        return float(np.mean(ours[moves] / np.maximum(hold[moves], LEAST))) if moves.any() else 0.0

    def score(self, judged: Judged) -> float:
        """Return the mean logarithm of the error in ratio to hold's, in which octaves of ticks weigh alike."""
        return log_ratio(judged.mean, self.hold.mean)


def choose_linear(
    search: Search, target_groups: Sequence[str], near_ticks: Sequence[int] = NEAR_TICKS, bands: Sequence[int] = BANDS
) -> LinearChoice:
    """Choose maps, ages and gains. `target_groups` [T]: the group of outputs that each target moves.

    `near_ticks`: ages to try from which on the far map predicts; `bands`: first age of each further band of gains.
    """
    candidates = _resolved(search, list(product(search.lags, RIDGES)))
    each = with_progress(candidates, "choosing the linear model", len(candidates))
    crossed = [search.equations(lags).solve_folds(ridge) for lags, ridge in each]
    judged = [search.judged(one_map(each)) for each in with_progress(crossed, "judging linear models", len(crossed))]
    ends = max(1, *near_ticks), search.hold.mean.shape[1]
    near_growth, far_growth = ([search.rounding_ahead(one_map(each), n) for each in crossed] for n in ends)
    far = _least([search.relative(each) for each in judged], far_growth)
    near = _least([search.relative(each, NEAR) for each in judged], near_growth)
    say_stage("choosing ages and gains of the linear model")
    ticks = near_ticks if near != far else near_ticks[:1]
    every = [LinearModel(crossed[near], crossed[far], n, (), np.ones((1, len(target_groups)))) for n in ticks]
    growth = [search.rounding_ahead(each, ends[1]) for each in every]
    best = every[_least([search.score(search.judged(each)) for each in every], growth)]
    best = _with_gains(search, best, target_groups, bands)
    final = [search.equations(lags).solve(ridge) for lags, ridge in (candidates[near], candidates[far])]
    model = best._replace(near=final[0], far=final[1])
    ridges = (candidates[near][1], candidates[far][1])
    return LinearChoice(search.spec, search.folds, ridges, model, best, search.judged(best), search.hold, search.groups)


def _least(errors: Sequence[float], growth: Sequence[float]) -> int:
    """Return the candidate with the least error among those whose rounding stays small, or grows least."""
    kept = [number for number, each in enumerate(growth) if each <= max(ROUNDED_AHEAD, min(growth))]
    return min(kept, key=lambda number: errors[number])


def _resolved(search: Search, candidates: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """Leave out lags and ridges whose maps float32 cannot compute; where all are such, keep the least affected one."""
    moved = [search.rounding(search.equations(lags).solve(ridge)) for lags, ridge in candidates]
    kept = [each for each, off in zip(candidates, moved, strict=True) if off <= ROUNDED]
    return kept or [candidates[int(np.argmin(moved))]]


def _with_gains(search: Search, model: LinearModel, target_groups: Sequence[str], bands: Sequence[int]) -> LinearModel:
    """Lower the gain of a group from an age on, or between two ages, where that lowers the error.

    Bands are lowered from the youngest or from the oldest one on, each with all later ones or alone: an early band must
    not pay for what late ones need. Whichever ends with the smallest error is taken.
    """
    bands = tuple(age for age in bands if age < search.hold.mean.shape[1])
    model = model._replace(age_bands=bands, gains=np.ones((len(bands) + 1, len(target_groups))))
    onwards = [slice(n, None) for n in range(len(bands) + 1)]
    alone = [slice(n, n + 1) for n in range(len(bands) + 1)]
    orders, judged = (onwards, onwards[::-1], alone[::-1]), search.judged(model)
    tried = [_gains_in(order, search, model, judged, target_groups) for order in orders]
    return min(tried, key=lambda each: search.score(each[1]))[0]


def _gains_in(
    order: Sequence[slice], search: Search, model: LinearModel, judged: Judged, target_groups: Sequence[str]
) -> tuple[LinearModel, Judged]:
    """Lower the gains of these bands of a judged model, in order; return the model and its errors.

    Last, let a group rest while a measurement is young: an output of coarse steps does, and hold is exact there.
    """
    ages = (0, *model.age_bands)
    for bands, (row, group) in product(order, enumerate(search.groups)):
        later = slice(ages[bands.start], None)
        if (judged.mean[row, later] >= WORTH * search.hold.mean[row, later]).any():  # else no gain can help
            moved = np.array([name == group for name in target_groups])
            model, judged = _lowered(search, model, judged, (bands, moved))
    for (band, last), (row, group) in product(enumerate(model.age_bands), enumerate(search.groups)):
        if judged.mean[row, last - 1] > search.hold.mean[row, last - 1]:
            moved = np.array([name == group for name in target_groups])
            model, judged = _lowered(search, model, judged, (slice(0, band + 1), moved), GAINS[-1:])
    return model, judged


def _lowered(
    search: Search,
    model: LinearModel,
    judged: Judged,
    chosen: tuple[slice, NDArray[np.bool_]],
    steps: Sequence[float] = GAINS,
) -> tuple[LinearModel, Judged]:
    """Lower the gains of these bands and targets until that does not help; return the model and its errors."""
    for gain in steps:
        gains = model.gains.copy()
        gains[chosen] = np.minimum(gains[chosen], gain)
        trial = model._replace(gains=gains)
        found = search.judged(trial)
        if search.score(found) >= search.score(judged) - BETTER:
            break
        model, judged = trial, found
    return model, judged
