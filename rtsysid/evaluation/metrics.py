"""Measure prediction errors: scores of one series, and errors per horizon over many forecasts.

A forecast from index k knows the measurement ``y_k`` and the inputs ``u_k .. u_{k+N-1}``; it predicts
``y_{k+1} .. y_{k+N}``. K forecasts of N ticks are arrays [K, N, values].
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rtsysid.circle import differences, group_columns, is_rotation, rotation_angle
from rtsysid.errors import TraceError
from rtsysid.spec import Channel, Doubles, Floats

LEAST = 1e-30  # error, so that a ratio of two is finite


def rmse(predicted: ArrayLike, truth: ArrayLike) -> Doubles:
    """Compute the root mean square error along the first axis: [n] -> [], [n, ny] -> [ny], in the unit of the values.

    Raises TraceError where shapes differ, the series is empty, or values are not finite.
    """
    guess, true = _series(predicted, truth)
    return np.asarray(np.sqrt(np.mean((guess - true) ** 2, axis=0)))


def nrmse(predicted: ArrayLike, truth: ArrayLike) -> Doubles:
    """Divide `rmse` by the standard deviation of the truth: 0 is perfect, 1 is as good as the mean. [n, ny] -> [ny].

    A constant truth gives inf, or 0 where the prediction is exact. Raises TraceError like `rmse`.
    """
    error, spread = rmse(predicted, truth), np.std(np.asarray(truth, np.float64), axis=0)
    return np.asarray(np.divide(error, spread, out=np.where(error > 0, np.inf, 0.0), where=spread > 0))


def fit_percent(predicted: ArrayLike, truth: ArrayLike) -> Doubles:
    """Compute the fit ``100 (1 - |y - yh| / |y - mean(y)|)`` in percent: 100 is perfect, 0 is as good as the mean.

    [n, ny] -> [ny]. Raises TraceError like `rmse`. Ref: L. Ljung, System Identification, 2nd ed., 1999.
    """
    return np.asarray(100.0 * (1.0 - nrmse(predicted, truth)))


def forecast_windows(values: Floats, n_inputs: int, starts: ArrayLike, horizon: int) -> tuple[Floats, Floats]:
    """Cut inputs [K, N, nu] and truth [K, N, ny] of forecasts from `starts` [K] out of one episode [n, C].

    Raises TraceError where the horizon is below 1 or a forecast would leave the episode.
    """
    first = np.asarray(starts, np.intp).reshape(-1, 1)
    if horizon < 1:
        raise TraceError("forecast horizon", str(horizon), "give at least 1 tick")
    if first.size and (first.min() < 0 or first.max() + horizon >= len(values)):
        found = f"starts {first.min()} to {first.max()}, {horizon} ticks, in {len(values)} samples"
        raise TraceError("forecast windows", found, "shorten the horizon or start earlier")
    rows = first + np.arange(horizon)
    return values[rows, :n_inputs], values[rows + 1, n_inputs:]


class HorizonErrors:
    """Add up the mean error per group of outputs and tick of the horizon, over batches of forecasts.

    The error of a group is the Euclidean norm of its components; of four components of unit ``quat`` it is the rotation
    angle in rad; angles differ by the short way around. An output without a group is its own group. A prediction that
    is not finite, or a quaternion of length zero, counts as an infinite error; `diverged` counts such forecasts.
    """

    def __init__(self, outputs: Sequence[Channel]) -> None:
        self._outputs = tuple(outputs)
        self._groups = group_columns(self._outputs)
        self._sums: Doubles | None = None
        self.windows = 0  # forecasts added
        self.diverged = 0  # forecasts with an infinite error

    def add(self, predicted: ArrayLike, truth: ArrayLike) -> None:
        """Add K forecasts [K, N, ny]. Raises TraceError where shapes or N differ, or the truth is not finite."""
        guess, true = np.asarray(predicted, np.float64), np.asarray(truth, np.float64)
        self._check(guess, true)
        errors = list(group_errors(guess, true, self._outputs).values())
        lost = np.any([np.isinf(error).any(axis=1) for error in errors], axis=0)
        sums = np.stack([error.sum(axis=0) for error in errors])
        self._sums = sums if self._sums is None else self._sums + sums
        self.windows += len(true)
        self.diverged += int(lost.sum())

    def mean(self) -> dict[str, Doubles]:
        """Return the mean error [N] per group, in its unit or rad. Raises TraceError where nothing was added."""
        if self._sums is None or self.windows == 0:
            raise TraceError("horizon errors", "no forecast was added", "give a longer trace or a shorter horizon")
        return {name: self._sums[row] / self.windows for row, name in enumerate(self._groups)}

    def _check(self, guess: Doubles, true: Doubles) -> None:
        if guess.shape != true.shape or true.ndim != 3 or true.shape[2] != len(self._outputs):
            found = f"predicted {guess.shape}, truth {true.shape}"
            raise TraceError("horizon errors", found, f"both must be [K, N, {len(self._outputs)}]")
        if self._sums is not None and self._sums.shape[1] != true.shape[1]:
            raise TraceError("horizon errors", f"{true.shape[1]} ticks", f"give {self._sums.shape[1]} as before")
        _require_finite_rows(true)


def horizon_errors(predicted: ArrayLike, truth: ArrayLike, outputs: Sequence[Channel]) -> dict[str, Doubles]:
    """Compute the mean error [N] per group over K forecasts [K, N, ny], like `HorizonErrors` with one batch.

    Raises TraceError where shapes differ, the truth is not finite, or there is no forecast.
    """
    errors = HorizonErrors(outputs)
    errors.add(predicted, truth)
    return errors.mean()


def group_errors(predicted: ArrayLike, truth: ArrayLike, outputs: Sequence[Channel]) -> dict[str, Doubles]:
    """Compute the error [K, N] per group of each forecast [K, N, ny] at each tick, as `HorizonErrors` defines it.

    Raises SpecError where a group has the name of a channel, TraceError where a true quaternion has length zero.
    """
    guess, true = np.asarray(predicted, np.float64), np.asarray(truth, np.float64)
    return {
        name: _group_error(guess[..., columns], true[..., columns], [outputs[c] for c in columns], name)
        for name, columns in group_columns(outputs).items()
    }


def log_ratio(errors: Doubles, reference: Doubles) -> float:
    """Return the mean logarithm of errors [G, N] by group and tick in ratio to a reference; octaves weigh alike."""
    ratio = np.maximum(errors, LEAST) / np.maximum(reference, LEAST)
    return float(np.mean(np.log(ratio) @ octaves(errors.shape[1])))


def octaves(ticks: int) -> Doubles:
    """Return weights [ticks] of sum 1 that give 1, 2 to 3, 4 to 7, .. ticks ahead the same weight."""
    weights = np.array([1.0 / (1 << ((n + 1).bit_length() - 1)) for n in range(ticks)])
    each: Doubles = weights / weights.sum()
    return each


def _group_error(guess: Doubles, true: Doubles, channels: Sequence[Channel], name: str) -> Doubles:
    """Error [K, N] of the components [K, N, m] of one group; inf where the prediction is not usable."""
    rotation = is_rotation(range(len(channels)), channels)
    usable = np.asarray(np.isfinite(guess).all(axis=-1))
    if rotation:
        usable = usable & (guess != 0).any(axis=-1)
        if not (true != 0).any(axis=-1).all():
            raise TraceError(f"truth of {name}", "a quaternion of length zero", "cut those rows out")
    guess = np.where(usable[..., None], guess, 1.0)
    with np.errstate(over="ignore"):  # a forecast that diverges
        error = rotation_angle(guess, true) if rotation else np.linalg.norm(differences(guess, true, channels), axis=-1)
    return np.where(usable, error, np.inf)


def _series(predicted: ArrayLike, truth: ArrayLike) -> tuple[Doubles, Doubles]:
    guess, true = np.asarray(predicted, np.float64), np.asarray(truth, np.float64)
    if guess.shape != true.shape or true.ndim == 0 or len(true) == 0:
        raise TraceError("score", f"predicted {guess.shape}, truth {true.shape}", "give two series of one length")
    _require_finite_rows(guess)
    _require_finite_rows(true)
    return guess, true


def _require_finite_rows(values: NDArray[np.float64]) -> None:
    rows = np.isfinite(values.reshape(-1, values.shape[-1] if values.ndim > 1 else 1)).all(axis=1)
    if not rows.all():
        raise TraceError("score", f"{int((~rows).sum())} rows are not finite", "cut these rows out")
