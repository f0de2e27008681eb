"""Test whether a column that the model does not use explains the error of its forecasts.

In a closed loop every column follows the outputs, so that later rows of it tell of any error. A column counts where its
rows from before the start of a forecast tell of the first ticks, and its later ones of the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from rtsysid.evaluation.report.explained import added_share
from rtsysid.evaluation.report.study import Study
from rtsysid.spec import Doubles

EARLY = (1, 2, 5, 10)  # ticks ahead of which rows before the start must tell
TOLD = 0.06  # of their squared error, at one of them
PAST = ((0, 1), (1, 3), (3, 7))  # rows before the start


class UnusedColumn(NamedTuple):
    """Hold a column of the recordings that the model does not use: ``values`` [n] of each episode."""

    name: str
    values: list[Doubles]


def missing_share(study: Study, column: UnusedColumn) -> Doubles:
    """Return the share [nq] of the squared error that a column explains beyond the window, 0 to 1.

    It is that at the end of the horizon, or at two fifths of it where that is more: short recordings hold few forecasts
    that are independent up to the end. 0 for an output of whose first ticks the past of the column tells nothing.
    """
    base, n = np.column_stack((study.drift, study.window)), study.horizon
    values = [each[:, None] for each in column.values]
    now, past = study.series(values, [(0, 1)]), _past(study, values)
    told = np.max([_added(study, base, past, now, k) for k in EARLY if k <= n], axis=0)
    if not (told >= TOLD).any():
        return np.zeros_like(told)
    ticks = sorted({max(1, 2 * n // 5), n})
    every = [np.column_stack((past, _future(study, values, k))) for k in ticks]
    far = np.max([_added(study, base, each, now, k) for each, k in zip(every, ticks, strict=True)], axis=0)
    return np.where(told >= TOLD, far, 0.0)


def _added(study: Study, base: Doubles, changes: Doubles, level: Doubles, tick: int) -> Doubles:
    """Return what changes of a column add, alone or with its level: a command may be constant in a recording."""
    errors, near = study.errors_at(tick), study.near_of(tick)
    both = (changes, np.column_stack((changes, level)))
    return np.asarray(np.max([added_share(base, each, errors, near) for each in both], axis=0))


def _past(study: Study, values: Sequence[Doubles]) -> Doubles:
    """Return earlier values of a column less its newest one, [K, F]."""
    return study.series(values, PAST, before=1) - study.series(values, [(0, 1)])


def _future(study: Study, values: Sequence[Doubles], n: int) -> Doubles:
    """Return means over parts of the first n ticks, the first ones shorter, less the newest value, [K, F]."""
    parts = [(n - high, n - low) for low, high in pairwise(sorted({0, n // 4, n // 2, n}))]
    return study.series(values, parts, before=1 - n) - study.series(values, [(0, 1)])
