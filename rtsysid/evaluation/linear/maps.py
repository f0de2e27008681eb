"""Linear maps of a window in the coordinates of a model, and their free run.

Shapes: K forecasts, N ticks, L rows of a window, C channels, F features of a window, T targets, ny outputs.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import ArrayLike

from rtsysid.circle import group_columns
from rtsysid.evaluation.metrics import forecast_windows, group_errors
from rtsysid.model.coordinates import coordinates
from rtsysid.spec import Doubles, Floats, ModelSpec

WILD = 1e9  # times the largest value of an output, at which a forecast that diverges is held
WORST = 1e12  # times the largest value of an output: the error of a forecast that is not finite


class LinearMap(NamedTuple):
    """Map the scaled features of the newest `lags` rows to scaled targets: `weights` [F + 1, T], the bias last.

    In cross-validation one map for each fold: `weights` [f, F + 1, T].
    """

    lags: int
    weights: Doubles

    def of(self, spec: ModelSpec, window: Doubles, folds: Sequence[slice]) -> Doubles:
        """Compute scaled targets from windows [K, L, C]: [K, T]. `folds`: the windows of each map."""
        own = spec_of(spec, self.lags)
        return self._applied(scaled_features(own, window[:, -self.lags :]), folds)

    def affine(self, spec: ModelSpec) -> LinearMap:
        """Return the map of the rows themselves; see `is_affine`."""
        own, size = spec_of(spec, self.lags), self.lags * spec.width
        units = np.eye(size + 1, size, dtype=np.float64).reshape(size + 1, self.lags, spec.width)
        features = scaled_features(own, units)
        features[:-1] -= features[-1]
        return LinearMap(self.lags, features @ self.weights)

    def of_rows(self, window: Doubles, folds: Sequence[slice]) -> Doubles:
        """Compute scaled targets [K, T] from windows [K, L, C] with the map that `affine` returned."""
        flat = window[:, -self.lags :].reshape(len(window), -1)
        return self._applied(np.concatenate((flat, np.ones((len(flat), 1))), -1), folds)

    def _applied(self, features: Doubles, folds: Sequence[slice]) -> Doubles:
        if self.weights.ndim == 2:
            return features @ self.weights
        return np.concatenate([features[part] @ own for part, own in zip(folds, self.weights, strict=True)])


def is_affine(spec: ModelSpec) -> bool:
    """Tell whether features depend on the values of a window as a matrix does: no rotation, no angle, no power."""
    plain = spec.rigid_body is None and spec.degree == 1 and not spec.friction
    return plain and not any(channel.angle for channel in spec.channels)


class LinearModel(NamedTuple):
    """Predict with `near` while the newest row is younger than `near_ticks`, then with `far`.

    ``gains`` [K, T]: factors of the scaled targets by band of ages, as in `rtsysid.structure.Structure`.
    """

    near: LinearMap
    far: LinearMap
    near_ticks: int
    age_bands: tuple[int, ...]
    gains: Doubles

    @property
    def lags(self) -> int:
        """Return the rows of a window that the model needs."""
        return max(self.near.lags, self.far.lags)

    def gain(self, age: int) -> Doubles:
        """Return the factors [T] for a newest row of this age."""
        gains: Doubles = self.gains[int(np.searchsorted(self.age_bands, age, "right"))]
        return gains


def one_map(each: LinearMap) -> LinearModel:
    """Make the model of one map at every age."""
    return LinearModel(each, each, 0, (), np.ones((1, each.weights.shape[-1])))


class Runs(NamedTuple):
    """Hold the starts of K forecasts: windows [K, L, C], planned inputs [K, N, nu], measured outputs [K, N, ny]."""

    windows: Floats
    u_future: Floats
    truth: Floats
    folds: tuple[slice, ...] = ()  # the starts of each fold

    @property
    def hold(self) -> Doubles:
        """Return the forecasts [K, N, ny] of outputs that do not change."""
        newest = self.windows[:, -1:, self.u_future.shape[2] :].astype(np.float64)
        return np.repeat(newest, self.truth.shape[1], 1)


def runs_of(pieces: Sequence[Floats], spec: ModelSpec, past: int, horizon: int, count: int) -> Runs:
    """Start about `count` forecasts, evenly spread over pieces [n, C], from rows with `past` rows up to them."""
    spans = [max(0, len(piece) - past - horizon + 1) for piece in pieces]
    stride, parts = max(1, sum(spans) // count), []
    for piece, span in zip(pieces, spans, strict=True):
        starts = past - 1 + np.arange(0, span, stride)
        windows = piece[starts[:, None] + np.arange(1 - past, 1)]
        parts.append((windows, *forecast_windows(piece, spec.n_inputs, starts, horizon)))
    windows, u_future, truth = (np.concatenate(part) for part in zip(*parts, strict=True))
    if len(truth) > 2 * count:  # each piece has one or more, and there are very many pieces
        some = np.linspace(0, len(truth) - 1, count).astype(int)
        windows, u_future, truth = windows[some], u_future[some], truth[some]
    return Runs(windows, u_future, truth)


def joined(parts: Sequence[Runs]) -> Runs:
    """Join the starts of several folds, and keep which are whose."""
    ends = np.cumsum([0, *(len(part.truth) for part in parts)])
    folds = tuple(slice(a, b) for a, b in itertools.pairwise(ends))
    windows, u_future, truth = (np.concatenate(each) for each in zip(*(part[:3] for part in parts), strict=True))
    return Runs(windows, u_future, truth, folds)


def linear_run(spec: ModelSpec, model: LinearModel, runs: Runs, *, single: bool = False) -> Doubles:
    """Forecast from each start with predictions fed back: [K, N, ny]. `single`: they are rounded to float32."""
    nu, lags, ticks = spec.n_inputs, model.lags, runs.truth.shape[1]
    near, far = (_targets_of(spec, each, runs.folds) for each in (model.near, model.far))
    coords, scaling, bound = coordinates_of(spec), spec.scaling, WILD * largest_outputs(spec)
    track = np.empty((len(runs.windows), lags + ticks, spec.width))
    track[:, :lags] = runs.windows[:, -lags:]
    track[:, lags - 1 : -1, :nu] = runs.u_future
    with np.errstate(all="ignore"):  # an unstable map overflows
        for n in range(ticks):
            window = track[:, n : n + lags]
            scaled = (near if n < model.near_ticks else far)(window) * model.gain(n)
            target = scaled * scaling.target_std + scaling.target_mean
            following = np.clip(coords.next_outputs(window[:, -1], target), -bound, bound)
            track[:, n + lags, nu:] = following.astype(np.float32) if single else following
    return track[:, lags:, nu:]


def largest_outputs(spec: ModelSpec) -> Doubles:
    """Return the largest absolute value of each output in the recordings of the scaling, [ny]."""
    largest: Doubles = np.maximum(np.abs(spec.scaling.low), np.abs(spec.scaling.high))[spec.n_inputs :]
    return largest


def bounded_errors(spec: ModelSpec, predicted: Doubles, truth: ArrayLike) -> Doubles:
    """Compute the error of each forecast [K, N, ny] by group and tick, [K, G, N]; one that diverges is bounded."""
    errors = np.stack(list(group_errors(predicted, truth, spec.outputs).values()), 1)
    worst = np.array([WORST * largest_outputs(spec)[each].max() for each in group_columns(spec.outputs).values()])
    bounded: Doubles = np.minimum(errors, worst[:, None])
    return bounded


def _targets_of(spec: ModelSpec, each: LinearMap, folds: Sequence[slice]) -> Callable[[Doubles], Doubles]:
    """Make the fastest function from windows [K, L, C] to scaled targets [K, T]."""
    if not is_affine(spec):
        return lambda window: each.of(spec, window, folds)
    rows = each.affine(spec)
    return lambda window: rows.of_rows(window, folds)


def scaled_features(spec: ModelSpec, windows: Doubles) -> Doubles:
    """Compute the scaled features of windows [m, L, C], with a final 1: [m, F + 1]."""
    rows, tail = coordinates_of(spec).features(windows)
    flat = ((rows - spec.scaling.feature_mean) / spec.scaling.feature_std).reshape(len(windows), -1)
    parts = (flat, *(() if tail is None else (tail,)), np.ones((len(windows), 1)))
    return np.concatenate(parts, -1)


@lru_cache(64)
def spec_of(spec: ModelSpec, lags: int) -> ModelSpec:
    """Return the specification with another number of taps; what the coordinates do not need is left out."""
    return msgspec.structs.replace(spec, taps=lags, encoder=(), near_ticks=0, age_bands=())


@lru_cache(64)
def coordinates_of(spec: ModelSpec) -> Any:
    """Return the coordinates of a specification in NumPy."""
    return coordinates(spec, np)
