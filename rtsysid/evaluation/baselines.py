"""Provide the baselines that a network must beat: holding the last measurement, and a linear ARX model.

A forecast from index k follows the convention of `rtsysid.evaluation.metrics`. The newest row of ``history``
[K, >= lags, C] is ``s_k``; its inputs are replaced by ``u_future[:, 0]``. The result is ``y_{k+1} .. y_{k+N}``
[K, N, ny]. Columns are inputs first, then outputs, in engineering units.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from rtsysid.errors import SpecError, TraceError
from rtsysid.evaluation.metrics import forecast_windows
from rtsysid.model.bundle import Bundle
from rtsysid.spec import Doubles, Floats

_BLOCK = 4096  # windows in float64 at a time: 12 MB for 20 lags of 17 channels
_FORECASTS = 2000  # free runs per candidate, evenly spread over the validation episodes


@dataclass(frozen=True)
class Hold:
    """Predict that the last measured outputs do not change."""

    n_inputs: int

    def forecast(self, history: Floats, u_future: Floats) -> Doubles:
        """Repeat the outputs of the newest row: history [K, L, C] and u_future [K, N, nu] give [K, N, ny]."""
        newest = np.asarray(history[:, -1, self.n_inputs :], np.float64)
        return np.repeat(newest[:, None], u_future.shape[1], axis=1)


@dataclass(frozen=True, eq=False)
class LinearArx:
    """Predict ``y_{k+1} = y_k + weights w_k + bias`` from the standardised window ``w_k`` of the last `lags` samples.

    The window is [lags, C], oldest first, flattened row by row. Absolute channels enter as ``(s - mean) / std``.
    Relative channels enter as ``(s - s_k) / std``, with mean 0, so that their newest row is always 0.
    """

    lags: int
    n_inputs: int
    relative: tuple[int, ...]  # columns
    mean: Doubles  # [C]
    std: Doubles  # [C]
    weights: Doubles  # [ny, lags * C] engineering units per standardised value
    bias: Doubles  # [ny]

    @classmethod
    def fit(
        cls, episodes: Sequence[Floats], n_inputs: int, *, lags: int, ridge: float, relative: Sequence[int] = ()
    ) -> LinearArx:
        """Fit the increments by ridge regression over episodes [n, C].

        Episodes are never joined; those that are not longer than `lags` are left out. `ridge` is relative to the unit
        variance of the standardised window; the bias has none. Raises TraceError where values are not finite or no
        episode is longer than `lags`, SpecError where a column of `relative` does not exist.
        """
        return _solve_arx(_arx_equations(episodes, n_inputs, lags, relative), ridge)

    @classmethod
    def select(
        cls,
        train: Sequence[Floats],
        validation: Sequence[Floats],
        n_inputs: int,
        *,
        horizon: int,
        relative: Sequence[int] = (),
        lags: Sequence[int] = (2, 5, 10, 20),
        ridges: Sequence[float] = (1e-8, 1e-6, 1e-4),
    ) -> LinearArx:
        """Select lags and ridge with the smallest mean absolute error in free runs of `horizon` ticks on `validation`.

        Episodes are [n, C], inputs first. Every candidate runs from the same starts. Errors are divided by the errors
        of `Hold`, per output. Lags too long for the episodes are left out. Raises TraceError where no lags remain,
        where values are not finite, or
        where every candidate diverges.
        """
        usable = [p for p in lags if _longest(train) > p and _longest(validation) >= p + horizon]
        if not usable:
            found = f"longest episodes of {_longest(train)} and {_longest(validation)} samples"
            raise TraceError("linear ARX", found, f"shorten the horizon of {horizon} or the {min(lags)} lags")
        _require_finite_episodes(validation)
        runs = _arx_runs(validation, n_inputs, max(usable), horizon)
        best, least = None, np.inf
        for p in usable:
            equations = _arx_equations(train, n_inputs, p, relative)
            for model in (_solve_arx(equations, ridge) for ridge in ridges):
                error = _relative_error(model, runs)
                if error < least:  # false for NaN, where a candidate diverged
                    best, least = model, error
        if best is None:
            raise TraceError("linear ARX", "every candidate diverges", "shorten the horizon or raise the ridges")
        return best

    @classmethod
    def of_rows(cls, lags: int, n_inputs: int, weights: Doubles) -> LinearArx:
        """Make the model of a map from the rows themselves to increments: `weights` [lags * C + 1, ny], bias last."""
        width = (len(weights) - 1) // lags
        return cls(
            lags, n_inputs, (), np.zeros(width), np.ones(width), np.ascontiguousarray(weights[:-1].T), weights[-1]
        )

    def forecast(self, history: Floats, u_future: Floats) -> Doubles:
        """Run K forecasts in free run: history [K, L, C] and u_future [K, N, nu] give [K, N, ny].

        An unstable model gives values that are not finite. Raises TraceError where the shapes are wrong.
        """
        forecasts, horizon, nu = u_future.shape
        if history.shape[1] < self.lags or history.shape[2] != len(self.mean) or nu != self.n_inputs:
            found = f"history {history.shape}, inputs {u_future.shape}"
            wanted = f"give [K, {self.lags} or more, {len(self.mean)}] and [K, N, {self.n_inputs}]"
            raise TraceError("linear ARX forecast", found, wanted)
        track = np.empty((forecasts, self.lags + horizon, history.shape[2]))
        track[:, : self.lags] = history[:, -self.lags :]
        track[:, self.lags - 1 : -1, :nu] = u_future
        with np.errstate(over="ignore", invalid="ignore"):  # an unstable model overflows
            for i in range(horizon):
                features = _standardised(track[:, i : i + self.lags], self.relative, self.mean, self.std)
                increment = features @ self.weights.T + self.bias
                track[:, self.lags + i, nu:] = track[:, self.lags + i - 1, nu:] + increment
        return track[:, self.lags :, nu:]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return all fields as arrays, for an npz file: weights [F, ny], mean and std [C], bias [ny], and numbers."""
        arrays = {field.name: np.asarray(getattr(self, field.name)) for field in fields(self)}
        return {**arrays, "relative": np.array(self.relative, np.int64)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> LinearArx:
        """Restore a model from the arrays that `arrays` returned: weights [F, ny] and others.

        Raises SpecError where a name is missing or shapes do not fit together.
        """
        missing = [field.name for field in fields(cls) if field.name not in arrays]
        if missing:
            raise SpecError("linear ARX", f"no array {', '.join(missing)}", "store all that arrays() gives")
        lags, n_inputs = int(arrays["lags"]), int(arrays["n_inputs"])
        if lags < 1 or not 0 <= n_inputs < len(arrays["mean"]):
            raise SpecError("linear ARX", f"{lags} lags, {n_inputs} inputs", "store all that arrays() gives")
        relative = tuple(int(column) for column in arrays["relative"])
        mean, std, weights, bias = (np.asarray(arrays[k], np.float64) for k in ("mean", "std", "weights", "bias"))
        wanted = (len(mean),), (len(mean) - n_inputs, lags * len(mean)), (len(mean) - n_inputs,)
        columns = all(0 <= column < len(mean) for column in relative)
        if (std.shape, weights.shape, bias.shape) != wanted or not columns or (std <= 0).any():
            found = f"std {std.shape}, weights {weights.shape}, bias {bias.shape}"
            raise SpecError("linear ARX", found, f"shapes must be {wanted}")
        return cls(lags, n_inputs, relative, mean, std, weights, bias)

    @classmethod
    def of(cls, bundle: Bundle) -> LinearArx:
        """Read the baseline of a bundle. Raises BundleError where it is none of the same channels."""
        try:
            found = cls.from_arrays(bundle.arrays("baseline.npz"))
        except SpecError as error:
            raise bundle.refusal(f"baseline.npz: {error.found}") from None
        if found.n_inputs != bundle.spec.n_inputs:
            raise bundle.refusal(f"baseline.npz has {found.n_inputs} inputs, not {bundle.spec.n_inputs}")
        return found


@dataclass(frozen=True)
class _ArxEquations:
    """Hold the normal equations of the standardised window, with a final 1 for the bias, and the increments."""

    model: LinearArx  # weights and bias are still zero
    gram: Doubles  # [lags * C + 1, lags * C + 1]
    moment: Doubles  # [lags * C + 1, ny]


def _arx_equations(episodes: Sequence[Floats], n_inputs: int, lags: int, relative: Sequence[int]) -> _ArxEquations:
    usable = [episode for episode in episodes if len(episode) > lags]
    if lags < 1 or not usable:
        found = f"{lags} lags, longest episode {_longest(episodes)} samples"
        raise TraceError("linear ARX", found, "give 1 lag or more, and an episode that is longer")
    _require_finite_episodes(usable)
    columns = tuple(sorted(set(relative)))
    if not set(columns) <= set(range(usable[0].shape[1])):
        raise SpecError("linear ARX", f"relative columns {columns}", f"give columns below {usable[0].shape[1]}")
    mean, std = _channel_moments(usable, lags, columns)
    size, n_outputs = lags * len(mean) + 1, len(mean) - n_inputs
    gram, moment, count = np.zeros((size, size)), np.zeros((size, n_outputs)), 0
    for windows, following in _arx_blocks(usable, lags):
        increments = following[:, n_inputs:] - windows[:, -1, n_inputs:]
        features = np.ones((len(windows), size))
        features[:, :-1] = _standardised(windows, columns, mean, std)
        gram += features.T @ features
        moment += features.T @ increments
        count += len(windows)
    model = LinearArx(lags, n_inputs, columns, mean, std, np.zeros((n_outputs, size - 1)), np.zeros(n_outputs))
    return _ArxEquations(model, gram / count, moment / count)


def _solve_arx(equations: _ArxEquations, ridge: float) -> LinearArx:
    """Minimum-norm solution. Features that are always 0 (newest relative row, constant channels) get weight 0."""
    alive = np.flatnonzero(equations.gram.diagonal() > 0)
    gram = equations.gram[np.ix_(alive, alive)]
    gram[np.diag_indices(len(alive) - 1)] += ridge
    solution = np.zeros_like(equations.moment)
    solution[alive] = np.linalg.lstsq(gram, equations.moment[alive], rcond=None)[0]
    return replace(equations.model, weights=np.ascontiguousarray(solution[:-1].T), bias=solution[-1])


def _arx_blocks(episodes: Sequence[Floats], lags: int) -> Iterator[tuple[Doubles, Doubles]]:
    """Windows [m, lags, C] and the samples that follow them [m, C], in float64, at most `_BLOCK` at a time."""
    for episode in episodes:
        for start in range(0, len(episode) - lags, _BLOCK):
            rows = np.asarray(episode[start : start + _BLOCK + lags], np.float64)
            windows = sliding_window_view(rows[:-1], lags, axis=0).transpose(0, 2, 1)
            yield windows, rows[lags:]


def _channel_moments(episodes: Sequence[Floats], lags: int, relative: Sequence[int]) -> tuple[Doubles, Doubles]:
    """Mean and standard deviation [C]; for relative columns 0 and the RMS of the differences to the newest row."""
    origin = np.asarray(episodes[0][0], np.float64)  # sums relative to a sample lose fewer digits
    total, squares, count = np.zeros_like(origin), np.zeros_like(origin), 0
    differences, pairs = np.zeros(len(relative)), 0
    for windows, _following in _arx_blocks(episodes, lags):
        newest = windows[:, -1] - origin
        total, squares, count = total + newest.sum(0), squares + (newest**2).sum(0), count + len(newest)
        gaps = windows[:, :-1, list(relative)] - windows[:, -1:, list(relative)]
        differences, pairs = differences + (gaps**2).sum((0, 1)), pairs + gaps.shape[0] * gaps.shape[1]
    mean = origin + total / count
    std = np.sqrt(np.maximum(squares / count - (total / count) ** 2, 0.0))
    mean[list(relative)], std[list(relative)] = 0.0, np.sqrt(differences / max(pairs, 1))
    return mean, np.where(std > 0, std, 1.0)


def _standardised(windows: Doubles, relative: Sequence[int], mean: Doubles, std: Doubles) -> Doubles:
    """Features [m, lags * C] of windows [m, lags, C]."""
    centre = np.broadcast_to(mean, (len(windows), 1, len(mean))).copy()
    centre[:, 0, list(relative)] = windows[:, -1, list(relative)]
    return np.asarray(((windows - centre) / std).reshape(len(windows), windows.shape[1] * windows.shape[2]))


@dataclass(frozen=True)
class _ArxRuns:
    history: Floats  # [K, lags, C]
    u_future: Floats  # [K, N, nu]
    truth: Floats  # [K, N, ny]


def _arx_runs(episodes: Sequence[Floats], n_inputs: int, lags: int, horizon: int) -> _ArxRuns:
    """Histories, inputs and truth of about `_FORECASTS` free runs, evenly spread over the episodes."""
    spans = [max(len(episode) - lags - horizon + 1, 0) for episode in episodes]
    stride = max(1, sum(spans) // _FORECASTS)
    runs = []
    for episode, span in zip(episodes, spans, strict=True):
        starts = lags - 1 + np.arange(0, span, stride)
        history = episode[starts[:, None] + np.arange(1 - lags, 1)]
        runs.append((history, *forecast_windows(episode, n_inputs, starts, horizon)))
    history, u_future, truth = (np.concatenate(arrays) for arrays in zip(*runs, strict=True))
    return _ArxRuns(history, u_future, truth)


def _relative_error(model: LinearArx, runs: _ArxRuns) -> float:
    """Mean absolute error over the error of `Hold`, for outputs that move; inf or NaN where the model diverges."""
    held = np.abs(Hold(model.n_inputs).forecast(runs.history, runs.u_future) - runs.truth).mean((0, 1))
    with np.errstate(over="ignore", invalid="ignore"):  # an unstable candidate overflows
        error = np.abs(model.forecast(runs.history, runs.u_future) - runs.truth).mean((0, 1))
        moving = held > 0
        return float(np.mean(error[moving] / held[moving]) if moving.any() else error.sum())


def _require_finite_episodes(episodes: Sequence[Floats]) -> None:
    if not all(np.isfinite(episode).all() for episode in episodes):
        raise TraceError("linear ARX", "an episode with values that are not finite", "split it at the gap")


def _longest(episodes: Sequence[Floats]) -> int:
    return max(map(len, episodes), default=0)
