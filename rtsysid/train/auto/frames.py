"""Choose the coordinates of the outputs: which of them the window shows relative to its newest row."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from rtsysid.circle import group_columns
from rtsysid.evaluation.linear.choice import Search
from rtsysid.evaluation.linear.folds import Folds
from rtsysid.evaluation.linear.maps import one_map
from rtsysid.spec import Doubles, ModelSpec
from rtsysid.train.windows import fit_scaling

QUICK_LAGS = 10  # of the linear models that compare coordinates
RIDGES = (1e-8, 1e-5)
SAVED = 0.03  # share of the error that relative outputs must save
LOST = 0.08  # share that those may cost which are the integral of others
INTEGRAL = 0.2  # mean squared difference of a change and its integral, as a share of the mean square


def scaled(spec: ModelSpec, folds: Folds) -> ModelSpec:
    """Return the specification with the scaling of these recordings, about targets of mean 0."""
    return msgspec.structs.replace(spec, scaling=fit_scaling(folds.pieces, spec))


def choose_relative(spec: ModelSpec, folds: Folds, horizon: int) -> ModelSpec:
    """Show groups of outputs relative to the newest row, one after another, where the linear model gains by it.

    An output that drifts without bound leaves the range of the recordings: models of its level fail on those left out.
    The integral of other outputs, as a position of a speed, has no level of its own: it stays absolute only where
    that is clearly better.
    """
    best, error = spec, _quick_score(spec, folds, horizon)
    for columns in group_columns(spec.outputs).values():
        names = [spec.outputs[i].name for i in columns]
        trial = msgspec.structs.replace(best, relative=(*best.relative, *names))
        found = _quick_score(trial, folds, horizon)
        if found < error - (-LOST if _is_integral(spec, folds, columns) else SAVED):
            best, error = trial, found
    return best


def _is_integral(spec: ModelSpec, folds: Folds, columns: Sequence[int]) -> bool:
    """Tell whether a group of outputs changes at the rates that another group of as many outputs shows."""
    groups = group_columns(spec.outputs).values()
    others = (other for other in groups if other != columns and len(other) == len(columns))
    rows = [piece[:, spec.n_inputs :].astype(np.float64) for piece in folds.pieces]
    return any(all(_follows(spec, rows, p, v) for p, v in zip(columns, other, strict=True)) for other in others)


def _follows(spec: ModelSpec, rows: Sequence[Doubles], position: int, rate: int) -> bool:
    moved = np.concatenate([np.diff(each[:, position]) for each in rows]) * spec.rate_hz
    shown = np.concatenate([(each[1:, rate] + each[:-1, rate]) / 2 for each in rows])
    return bool(np.mean((moved - shown) ** 2) < INTEGRAL * np.mean(shown**2))


def target_groups(spec: ModelSpec) -> tuple[str, ...]:
    """List the group of outputs that each target of the network moves, [T]."""
    body, named = spec.rigid_body, {channel.name: channel.group or channel.name for channel in spec.outputs}
    if body is None:
        positions = {position for position, _ in spec.integrate}
        return tuple(named[c.name] for c in spec.outputs if c.name not in positions)
    parts: Sequence[Sequence[str]] = (body.velocity, body.position, body.attitude[:3], body.rate)
    apart = [c.name for c in spec.outputs if not any(c.name in part for part in (*parts, body.attitude))]
    return tuple(named[name] for part in (apart, *parts) for name in part)


def _quick_score(spec: ModelSpec, folds: Folds, horizon: int) -> float:
    """Return the score of a quick linear model in the coordinates of a specification."""
    search = Search(scaled(spec, folds), folds, horizon, (QUICK_LAGS,))
    fits = (search.equations(search.lags[0]).solve_folds(ridge) for ridge in RIDGES)
    return min(search.score(search.judged(one_map(each))) for each in fits)
