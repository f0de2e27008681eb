"""Choose the coordinates of the outputs: which of them the window shows relative to its newest row."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from rtsysid.circle import group_columns
from rtsysid.evaluation.linear.choice import Search
from rtsysid.evaluation.linear.folds import Folds
from rtsysid.evaluation.linear.maps import one_map
from rtsysid.spec import ModelSpec
from rtsysid.train.windows import fit_scaling

QUICK_LAGS = 10  # of the linear models that compare coordinates
QUICK_WINDOWS = 25_000  # that they are fitted to
RIDGES = (1e-8, 1e-5)
SAVED = 0.03  # share of the error that relative outputs must save
LOST = 0.08  # share that those may cost which are the integral of others
INTEGRAL = 0.3  # median difference of a change and the rate that an output shows, as a share of the median rate


def scaled(spec: ModelSpec, folds: Folds) -> ModelSpec:
    """Return the specification with the scaling of these recordings, about targets of mean 0."""
    return msgspec.structs.replace(spec, scaling=fit_scaling(folds.pieces, spec))


def choose_relative(spec: ModelSpec, folds: Folds, horizon: int, longest: int) -> ModelSpec:
    """Show groups of outputs relative to the newest row, one after another, where the linear model gains by it.

    An output that drifts without bound leaves the range of the recordings: models of its level fail on those left out.
    The integral of other outputs, as a position of a speed, has no level of its own: it stays absolute only where
    that is clearly better. `longest`: lags at most. Outputs that are not fed back are not shown at all.
    """
    lags = min(QUICK_LAGS, longest)
    best, error = spec, _quick_score(spec, folds, horizon, lags)
    shown = {spec.channels[i].name for i in spec.columns}
    for columns in group_columns(spec.outputs).values():
        names = [name for name in (spec.outputs[i].name for i in columns) if name in shown]
        if not names:
            continue
        trial = msgspec.structs.replace(best, relative=(*best.relative, *names))
        found = _quick_score(trial, folds, horizon, lags)
        if found < error - (-LOST if _is_integral(spec, folds, columns) else SAVED):
            best, error = trial, found
    return best


def _is_integral(spec: ModelSpec, folds: Folds, columns: Sequence[int]) -> bool:
    """Tell whether a group of outputs changes at the rates that another group of as many outputs shows.

    Medians pass over a log's jumps, and norms over components that hardly move.
    """
    rows = [piece[:, spec.n_inputs :].astype(np.float64) for piece in folds.pieces]
    moved = np.concatenate([np.diff(each[:, list(columns)], axis=0) for each in rows]) * spec.rate_hz
    for other in group_columns(spec.outputs).values():
        if other != columns and len(other) == len(columns):
            shown = np.concatenate([(each[1:, other] + each[:-1, other]) / 2 for each in rows])
            off, size = (np.median(np.linalg.norm(each, axis=1)) for each in (moved - shown, shown))
            if off < INTEGRAL * size:
                return True
    return False


def target_groups(spec: ModelSpec) -> tuple[str, ...]:
    """List the group of outputs that each target of the network moves, [T]."""
    body, named = spec.rigid_body, {channel.name: channel.group or channel.name for channel in spec.outputs}
    if body is None:
        positions = {position for position, _ in spec.integrate}
        return tuple(named[c.name] for c in spec.outputs if c.name not in positions)
    moved = (body.attitude, body.rate, body.velocity, body.position)
    apart = [c.name for c in spec.outputs if not any(c.name in part for part in moved)]
    parts: Sequence[Sequence[str]] = (body.velocity, body.position, body.attitude[:3], body.rate)
    if body.kinematics:  # position and attitude follow from velocity and rate
        parts = (body.velocity, body.rate)
    return tuple(named[name] for part in (apart, *parts) for name in part)


def _quick_score(spec: ModelSpec, folds: Folds, horizon: int, lags: int) -> float:
    """Return the score of a quick linear model in the coordinates of a specification."""
    search = Search(scaled(spec, folds), folds, horizon, (lags,), QUICK_WINDOWS)
    fits = (search.equations(search.lags[0]).solve_folds(ridge) for ridge in RIDGES)
    return min(search.score(search.judged(one_map(each))) for each in fits)
