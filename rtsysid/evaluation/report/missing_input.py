"""Test whether a column that the model does not use explains the error of its forecasts.

In a closed loop every column follows the outputs, so that later rows of it tell of any error. A column counts where its
rows from before the start of a forecast tell of the first ticks, and its later ones of the end. Rows are compared with
the newest one: levels differ from recording to recording.
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
TOLD = 0.04  # of their squared error, at one of them
PAST = ((0, 1), (1, 3), (3, 7))  # rows before the start


class UnusedColumn(NamedTuple):
    """Hold a column of the recordings that the model does not use: ``values`` [n] of each episode."""

    name: str
    values: list[Doubles]


def missing_share(study: Study, column: UnusedColumn) -> Doubles:
    """Return the share [nq] of the squared error at the end of the horizon that a column explains beyond the window.

    0 for an output of whose first ticks its past tells nothing.
    """
    base = np.column_stack((study.drift, study.window))
    values = [each[:, None] for each in column.values]
    past = _past(study, values)
    early = [k for k in EARLY if k <= study.horizon]
    told = np.max([added_share(base, past, study.errors_at(k), study.near_of(k)) for k in early], axis=0)
    if not (told >= TOLD).any():
        return np.zeros_like(told)
    changes = np.column_stack((past[:, 1:], _ahead(study, values)))
    far = added_share(base, changes, study.far_errors, study.near_of(study.horizon))
    return np.where(told >= TOLD, far, 0.0)


def _past(study: Study, values: Sequence[Doubles]) -> Doubles:
    """Return the newest value of a column, and earlier ones less it, [K, F]."""
    now = study.series(values, [(0, 1)])
    return np.column_stack((now, study.series(values, PAST, before=1) - now))


def _ahead(study: Study, values: Sequence[Doubles]) -> Doubles:
    """Return means over parts of the forecast, the first ones shorter, less the newest value, [K, F]."""
    n = study.horizon
    parts = [(n - high, n - low) for low, high in pairwise(sorted({0, n // 4, n // 2, n}))]
    return study.series(values, parts, before=1 - n) - study.series(values, [(0, 1)])
