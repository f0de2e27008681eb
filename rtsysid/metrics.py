"""How wrong a prediction is: scores of one series, and errors per horizon over many forecasts.

Convention of a forecast from index k: the model has measured ``y_k``; it is given ``u_k .. u_{k+N-1}`` and predicts
``y_{k+1} .. y_{k+N}``. K forecasts of N steps are arrays [K, N, values].
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rtsysid.errors import SpecError, TraceError
from rtsysid.spec import Channel, Doubles, Floats


def rmse(predicted: ArrayLike, truth: ArrayLike) -> Doubles:
    """Root mean square error along the first axis, in the unit of the values; [n] gives [], [n, ny] gives [ny]."""
    guess, true = _series(predicted, truth)
    return np.asarray(np.sqrt(np.mean((guess - true) ** 2, axis=0)))


def nrmse(predicted: ArrayLike, truth: ArrayLike) -> Doubles:
    """`rmse` over the standard deviation of the truth: 0 is perfect, 1 is as good as the mean.

    A truth that never moves gives inf, or 0 where it is met exactly.
    """
    error, spread = rmse(predicted, truth), np.std(np.asarray(truth, np.float64), axis=0)
    return np.asarray(np.divide(error, spread, out=np.where(error > 0, np.inf, 0.0), where=spread > 0))


def fit_percent(predicted: ArrayLike, truth: ArrayLike) -> Doubles:
    """``100 (1 - |y - yh| / |y - mean(y)|)``, the fit of system identification: 100 is perfect, 0 is the mean.

    Ref: L. Ljung, System Identification, 2nd ed., 1999.
    """
    return np.asarray(100.0 * (1.0 - nrmse(predicted, truth)))


def rotation_angle(a: Doubles, b: Doubles) -> Doubles:
    """Geodesic angle in rad, 0 to pi, between the rotations of quaternions [..., 4] of any length but zero.

    Half chords through atan2 keep the digits that the arc cosine of the scalar product loses at small angles.
    """
    a, b = _unit(a), _unit(b)
    chords = np.linalg.norm(a - b, axis=-1), np.linalg.norm(a + b, axis=-1)  # to the rotation, and to its twin -b
    return np.asarray(4.0 * np.arctan2(np.minimum(*chords), np.maximum(*chords)))


def forecast_windows(values: Floats, n_inputs: int, starts: ArrayLike, horizon: int) -> tuple[Floats, Floats]:
    """Planned inputs [K, N, nu] and truth [K, N, ny] of forecasts from `starts` [K] in one episode [n, C].

    Raises TraceError for a start whose forecast would leave the episode.
    """
    first = np.asarray(starts, np.intp).reshape(-1, 1)
    if horizon < 1:
        raise TraceError("forecast horizon", str(horizon), "give at least 1 step")
    if first.size and (first.min() < 0 or first.max() + horizon >= len(values)):
        found = f"starts {first.min()} to {first.max()}, {horizon} steps, in {len(values)} samples"
        raise TraceError("forecast windows", found, "shorten the horizon or start earlier")
    rows = first + np.arange(horizon)
    return values[rows, :n_inputs], values[rows + 1, n_inputs:]


class HorizonErrors:
    """Mean error per group of outputs and step of the horizon, added up over batches of forecasts.

    A group's error is the Euclidean norm of its components, and the rotation angle in rad where it has four of unit
    ``quat``; an output without a group is a group of its own. A prediction that is not finite (or a quaternion of
    length zero) counts as an infinite error, and its forecast in `diverged`.
    """

    def __init__(self, outputs: Sequence[Channel]) -> None:
        self._outputs = tuple(outputs)
        self._groups = _groups(self._outputs)
        self._sums: Doubles | None = None
        self.windows = 0  # forecasts added
        self.diverged = 0  # of those, how many were not finite somewhere

    def add(self, predicted: ArrayLike, truth: ArrayLike) -> None:
        """Count forecasts [K, N, ny]. Raises TraceError for other shapes, another N, or truth that is not finite."""
        guess, true = np.asarray(predicted, np.float64), np.asarray(truth, np.float64)
        self._check(guess, true)
        errors = list(group_errors(guess, true, self._outputs).values())
        lost = np.any([np.isinf(error).any(axis=1) for error in errors], axis=0)
        sums = np.stack([error.sum(axis=0) for error in errors])
        self._sums = sums if self._sums is None else self._sums + sums
        self.windows += len(true)
        self.diverged += int(lost.sum())

    def mean(self) -> dict[str, Doubles]:
        """Mean error [N] per group, in the unit of its channels or rad. Raises TraceError where nothing was added."""
        if self._sums is None or self.windows == 0:
            raise TraceError("horizon errors", "no forecast was added", "give a longer trace or a shorter horizon")
        return {name: self._sums[row] / self.windows for row, name in enumerate(self._groups)}

    def _check(self, guess: Doubles, true: Doubles) -> None:
        if guess.shape != true.shape or true.ndim != 3 or true.shape[2] != len(self._outputs):
            found = f"predicted {guess.shape}, truth {true.shape}"
            raise TraceError("horizon errors", found, f"both must be [K, N, {len(self._outputs)}]")
        if self._sums is not None and self._sums.shape[1] != true.shape[1]:
            raise TraceError("horizon errors", f"{true.shape[1]} steps", f"keep to {self._sums.shape[1]}")
        _require_finite(true)


def horizon_errors(predicted: ArrayLike, truth: ArrayLike, outputs: Sequence[Channel]) -> dict[str, Doubles]:
    """Mean error [N] per group over K forecasts [K, N, ny], as `HorizonErrors` defines it, in one go."""
    errors = HorizonErrors(outputs)
    errors.add(predicted, truth)
    return errors.mean()


def group_errors(predicted: ArrayLike, truth: ArrayLike, outputs: Sequence[Channel]) -> dict[str, Doubles]:
    """Error [K, N] per group of each of K forecasts [K, N, ny] at each step, as `HorizonErrors` defines it."""
    guess, true = np.asarray(predicted, np.float64), np.asarray(truth, np.float64)
    return {
        name: _group_error(guess[..., columns], true[..., columns], _is_rotation(columns, outputs), name)
        for name, columns in _groups(outputs).items()
    }


def same_sign(predicted: ArrayLike, truth: ArrayLike, outputs: Sequence[Channel]) -> Doubles:
    """Predictions [..., ny] with each quaternion q replaced by its twin -q, the same rotation, where that is nearer."""
    guess, true = np.array(predicted, np.float64), np.asarray(truth, np.float64)
    for columns in _groups(outputs).values():
        if _is_rotation(columns, outputs):
            product = np.sum(guess[..., columns] * true[..., columns], axis=-1, keepdims=True)
            guess[..., columns] *= np.where(product < 0, -1.0, 1.0)
    return guess


def _is_rotation(columns: Sequence[int], outputs: Sequence[Channel]) -> bool:
    return len(columns) == 4 and all(outputs[c].unit == "quat" for c in columns)


def _groups(outputs: Sequence[Channel]) -> dict[str, list[int]]:
    """Columns of each group, in the order in which the groups appear."""
    groups: dict[str, list[int]] = {}
    alone = {c.name for c in outputs if not c.group}
    for column, channel in enumerate(outputs):
        if channel.group in alone:
            raise SpecError(f"group {channel.group!r}", "a channel bears this name", "rename the group or the channel")
        groups.setdefault(channel.group or channel.name, []).append(column)
    return groups


def _group_error(guess: Doubles, true: Doubles, rotation: bool, name: str) -> Doubles:
    """Error [K, N] of one group's components [K, N, m]; inf where the guess is not usable."""
    usable = np.asarray(np.isfinite(guess).all(axis=-1))
    if rotation:
        usable = usable & (guess != 0).any(axis=-1)
        if not (true != 0).any(axis=-1).all():
            raise TraceError(f"truth of {name}", "a quaternion of length zero", "cut those rows out")
    guess = np.where(usable[..., None], guess, 1.0)
    with np.errstate(over="ignore"):  # a forecast on its way to infinity
        error = rotation_angle(guess, true) if rotation else np.linalg.norm(guess - true, axis=-1)
    return np.where(usable, error, np.inf)


def _unit(q: Doubles) -> Doubles:
    """Scaled to length one; first by the largest component, so that no square overflows."""
    q = np.asarray(q, np.float64)
    q = q / np.abs(q).max(axis=-1, keepdims=True)
    return np.asarray(q / np.linalg.norm(q, axis=-1, keepdims=True))


def _series(predicted: ArrayLike, truth: ArrayLike) -> tuple[Doubles, Doubles]:
    guess, true = np.asarray(predicted, np.float64), np.asarray(truth, np.float64)
    if guess.shape != true.shape or true.ndim == 0 or len(true) == 0:
        raise TraceError("score", f"predicted {guess.shape}, truth {true.shape}", "give two series of one length")
    _require_finite(guess)
    _require_finite(true)
    return guess, true


def _require_finite(values: NDArray[np.float64]) -> None:
    rows = np.isfinite(values.reshape(-1, values.shape[-1] if values.ndim > 1 else 1)).all(axis=1)
    if not rows.all():
        raise TraceError("score", f"{int((~rows).sum())} rows are not finite", "cut them out; they are never averaged")
