"""Small measures of columns that several checks need."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from rtsysid.spec import Doubles

Flags: TypeAlias = NDArray[np.bool_]
Numbers: TypeAlias = NDArray[np.int64]


class Spans(NamedTuple):
    """Hold ranges of rows: first rows [k], and ends [k] after the last one."""

    starts: Numbers
    stops: Numbers

    @property
    def lengths(self) -> Numbers:
        """Return the number of rows of each, [k]."""
        return np.asarray(self.stops - self.starts)

    def where(self, chosen: Flags) -> Spans:
        """Return the ranges that are marked in `chosen` [k]."""
        return Spans(self.starts[chosen], self.stops[chosen])


def true_spans(flags: Flags) -> Spans:
    """Return the runs of True in `flags` [n]."""
    edges = np.flatnonzero(np.diff(flags, prepend=False, append=False))
    return Spans(edges[::2], edges[1::2])


def equal_spans(x: Doubles) -> Spans:
    """Return the runs of equal values in x [n], single rows included."""
    edges = np.flatnonzero(x[1:] != x[:-1]) + 1
    return Spans(np.concatenate(([0], edges)), np.concatenate((edges, [len(x)])))


def quantile(x: Doubles, share: float) -> float:
    """Return a quantile of x [n]; 0 of nothing."""
    if not len(x):
        return 0.0
    rank = min(len(x) - 1, int(share * len(x)))
    return float(np.partition(x, rank)[rank])


def finite_rows(x: Doubles) -> Doubles:
    """Return the finite values of x [n]; the same array where all are."""
    finite = np.isfinite(x)
    return x if finite.all() else x[finite]
