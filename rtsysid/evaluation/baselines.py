"""What a network must beat: holding the last measurement, and a linear ARX model.

Convention of a forecast from index k, as in `rtsysid.metrics`: the newest row of ``history`` [K, >= lags, C] is
``s_k``, whose inputs are replaced by ``u_future[:, 0]``; the result is ``y_{k+1} .. y_{k+N}`` [K, N, ny]. Columns are
inputs first, in engineering units.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from rtsysid.errors import SpecError, TraceError
from rtsysid.metrics import forecast_windows
from rtsysid.spec import Doubles, Floats

_BLOCK = 4096  # windows expanded to float64 at a time: 12 MB for 20 lags of 17 channels
_FORECASTS = 2000  # per candidate, spread over the validation episodes


@dataclass(frozen=True)
class Hold:
    """The last measured outputs stay."""

    n_inputs: int

    def forecast(self, history: Floats, u_future: Floats) -> Doubles:
        """Outputs of the newest row repeated: [K, N, ny]."""
        newest = np.asarray(history[:, -1, self.n_inputs :], np.float64)
        return np.repeat(newest[:, None], u_future.shape[1], axis=1)


@dataclass(frozen=True, eq=False)
class LinearArx:
    """``y_{k+1} = y_k + weights w_k + bias`` on the standardised window ``w_k`` of the last `lags` samples.

    The window is [lags, C], oldest first, flattened row by row. Absolute channels enter as ``(s - mean) / std``,
    relative ones as ``(s - s_k) / std`` with mean 0, so that the newest row of a relative channel is always 0.
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
        """Least squares on the increments over episodes [n, C], which are never joined; those too short are left out.

        `ridge` is relative to the unit variance of the standardised window, and spares the bias. Raises TraceError
        for values that are not finite, and where no episode is longer than `lags`.
        """
        return _solved(_normal_equations(episodes, n_inputs, lags, relative), ridge)

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
        """Of all lags and ridges, the model with the least mean absolute error of free runs over `horizon` steps.

        Every candidate runs from the same starts; errors are divided by those of `Hold` per output. Lags too long
        for the episodes are left out. Raises TraceError where none remain, or no candidate stays finite.
        """
        usable = [p for p in lags if _longest(train) > p and _longest(validation) >= p + horizon]
        if not usable:
            found = f"longest episodes of {_longest(train)} and {_longest(validation)} samples"
            raise TraceError("linear ARX", found, f"shorten the horizon of {horizon} or the {min(lags)} lags")
        _require_finite(validation)
        runs = _free_runs(validation, n_inputs, max(usable), horizon)
        best, least = None, np.inf
        for p in usable:
            equations = _normal_equations(train, n_inputs, p, relative)
            for model in (_solved(equations, ridge) for ridge in ridges):
                score = _score(model, runs)
                if score < least:  # never for one that diverged
                    best, least = model, score
        if best is None:
            raise TraceError("linear ARX", "every candidate diverges", "shorten the horizon or raise the ridges")
        return best

    def forecast(self, history: Floats, u_future: Floats) -> Doubles:
        """Free run of K forecasts at once: [K, N, ny]; a model that diverges gives values that are not finite."""
        forecasts, horizon, nu = u_future.shape
        if history.shape[1] < self.lags or history.shape[2] != len(self.mean) or nu != self.n_inputs:
            found = f"history {history.shape}, inputs {u_future.shape}"
            wanted = f"give [K, {self.lags} or more, {len(self.mean)}] and [K, N, {self.n_inputs}]"
            raise TraceError("linear ARX forecast", found, wanted)
        track = np.empty((forecasts, self.lags + horizon, history.shape[2]))
        track[:, : self.lags] = history[:, -self.lags :]
        track[:, self.lags - 1 : -1, :nu] = u_future
        with np.errstate(over="ignore", invalid="ignore"):  # an unstable model runs to infinity, and shows it
            for i in range(horizon):
                features = _standardised(track[:, i : i + self.lags], self.relative, self.mean, self.std)
                increment = features @ self.weights.T + self.bias
                track[:, self.lags + i, nu:] = track[:, self.lags + i - 1, nu:] + increment
        return track[:, self.lags :, nu:]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Everything as arrays, for an npz file."""
        return {field.name: np.asarray(getattr(self, field.name)) for field in fields(self)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> LinearArx:
        """The inverse of `arrays`. Raises SpecError for missing names and shapes that do not fit together."""
        missing = [field.name for field in fields(cls) if field.name not in arrays]
        if missing:
            raise SpecError("linear ARX", f"no array {', '.join(missing)}", "store all that arrays() gives")
        lags, n_inputs = int(arrays["lags"]), int(arrays["n_inputs"])
        relative = tuple(int(column) for column in arrays["relative"])
        mean, std, weights, bias = (np.asarray(arrays[k], np.float64) for k in ("mean", "std", "weights", "bias"))
        wanted = (len(mean),), (len(mean) - n_inputs, lags * len(mean)), (len(mean) - n_inputs,)
        if (std.shape, weights.shape, bias.shape) != wanted:
            found = f"std {std.shape}, weights {weights.shape}, bias {bias.shape}"
            raise SpecError("linear ARX", found, f"shapes must be {wanted}")
        return cls(lags, n_inputs, relative, mean, std, weights, bias)


@dataclass(frozen=True)
class _NormalEquations:
    """Mean products of the standardised window, with a final 1 for the bias, among themselves and with increments."""

    model: LinearArx  # all but weights and bias
    gram: Doubles  # [lags * C + 1, lags * C + 1]
    moment: Doubles  # [lags * C + 1, ny]


def _normal_equations(
    episodes: Sequence[Floats], n_inputs: int, lags: int, relative: Sequence[int]
) -> _NormalEquations:
    usable = [episode for episode in episodes if len(episode) > lags]
    if lags < 1 or not usable:
        found = f"{lags} lags, longest episode {_longest(episodes)} samples"
        raise TraceError("linear ARX", found, "give 1 lag or more, and an episode that is longer")
    _require_finite(usable)
    columns = tuple(sorted(set(relative)))
    if not set(columns) <= set(range(usable[0].shape[1])):
        raise SpecError("linear ARX", f"relative columns {columns}", f"give columns below {usable[0].shape[1]}")
    mean, std = _moments(usable, lags, columns)
    size, n_outputs = lags * len(mean) + 1, len(mean) - n_inputs
    gram, moment, count = np.zeros((size, size)), np.zeros((size, n_outputs)), 0
    for windows, following in _blocks(usable, lags):
        increments = following[:, n_inputs:] - windows[:, -1, n_inputs:]
        features = np.ones((len(windows), size))
        features[:, :-1] = _standardised(windows, columns, mean, std)
        gram += features.T @ features
        moment += features.T @ increments
        count += len(windows)
    model = LinearArx(lags, n_inputs, columns, mean, std, np.zeros((n_outputs, size - 1)), np.zeros(n_outputs))
    return _NormalEquations(model, gram / count, moment / count)


def _solved(equations: _NormalEquations, ridge: float) -> LinearArx:
    """Least norm solution; features that are always 0 (newest relative row, channels at rest) get no weight at all."""
    alive = np.flatnonzero(equations.gram.diagonal() > 0)
    gram = equations.gram[np.ix_(alive, alive)]
    gram[np.diag_indices(len(alive) - 1)] += ridge
    solution = np.zeros_like(equations.moment)
    solution[alive] = np.linalg.lstsq(gram, equations.moment[alive], rcond=None)[0]
    return replace(equations.model, weights=np.ascontiguousarray(solution[:-1].T), bias=solution[-1])


def _blocks(episodes: Sequence[Floats], lags: int) -> Iterator[tuple[Doubles, Doubles]]:
    """Windows [m, lags, C] and the samples that follow them [m, C], in float64 and bounded in number."""
    for episode in episodes:
        for start in range(0, len(episode) - lags, _BLOCK):
            rows = np.asarray(episode[start : start + _BLOCK + lags], np.float64)
            windows = sliding_window_view(rows[:-1], lags, axis=0).transpose(0, 2, 1)
            yield windows, rows[lags:]


def _moments(episodes: Sequence[Floats], lags: int, relative: Sequence[int]) -> tuple[Doubles, Doubles]:
    """Mean and standard deviation [C]; of relative columns 0 and the spread of the differences in the window."""
    origin = np.asarray(episodes[0][0], np.float64)  # sums around a sample keep digits that sums around 0 lose
    total, squares, count = np.zeros_like(origin), np.zeros_like(origin), 0
    differences, pairs = np.zeros(len(relative)), 0
    for windows, _following in _blocks(episodes, lags):
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
    return np.asarray(((windows - centre) / std).reshape(len(windows), -1))


@dataclass(frozen=True)
class _FreeRuns:
    history: Floats  # [K, lags, C]
    u_future: Floats  # [K, N, nu]
    truth: Floats  # [K, N, ny]


def _free_runs(episodes: Sequence[Floats], n_inputs: int, lags: int, horizon: int) -> _FreeRuns:
    """About `_FORECASTS` starts, or every one where there are fewer, evenly over the episodes."""
    spans = [max(len(episode) - lags - horizon + 1, 0) for episode in episodes]
    stride = max(1, sum(spans) // _FORECASTS)
    parts = []
    for episode, span in zip(episodes, spans, strict=True):
        starts = lags - 1 + np.arange(0, span, stride)
        history = episode[starts[:, None] + np.arange(1 - lags, 1)]
        parts.append((history, *forecast_windows(episode, n_inputs, starts, horizon)))
    history, u_future, truth = (np.concatenate(part) for part in zip(*parts, strict=True))
    return _FreeRuns(history, u_future, truth)


def _score(model: LinearArx, runs: _FreeRuns) -> float:
    """Mean absolute error over that of `Hold`, for the outputs that move; inf or NaN for a model that diverges."""
    held = np.abs(Hold(model.n_inputs).forecast(runs.history, runs.u_future) - runs.truth).mean((0, 1))
    with np.errstate(over="ignore", invalid="ignore"):  # what an unstable candidate leaves
        error = np.abs(model.forecast(runs.history, runs.u_future) - runs.truth).mean((0, 1))
        moving = held > 0
        return float(np.mean(error[moving] / held[moving]) if moving.any() else error.sum())


def _require_finite(episodes: Sequence[Floats]) -> None:
    if not all(np.isfinite(episode).all() for episode in episodes):
        raise TraceError("linear ARX", "an episode with values that are not finite", "split it at the gap")


def _longest(episodes: Sequence[Floats]) -> int:
    return max(map(len, episodes), default=0)
