"""Sample the futures of a backend in batches, and bound forecasts by their quantiles."""

from __future__ import annotations

import numpy as np

from rtsysid.model.backends.protocol import Backend
from rtsysid.model.coordinates.deviations import FutureStretch
from rtsysid.model.intervals import central_intervals
from rtsysid.spec import Floats, ModelSpec

BATCH, DRAWN = 4096, 2_000_000  # futures, and random numbers, of one call of a backend


def futures_of(backend: Backend, spec: ModelSpec, plan: Floats, count: int, seed: int) -> Floats:
    """Sample `count` futures under one plan: [N, nu] -> [count, N, ny].

    Batches bound the memory: NumPy and ONNX Runtime need many times that of the result.
    """
    futures = np.empty((count, len(plan), spec.n_outputs), np.float32)
    size = max(1, min(BATCH, DRAWN // max(1, len(plan) * spec.n_draws)))
    for first in range(0, count, size):
        part = futures[first : first + size]
        part[...] = backend.sample(plan, first, len(part), seed)
    return futures


def bounds_around(y: Floats, futures: Floats, spec: ModelSpec, coverage: float) -> tuple[Floats, Floats]:
    """Bound a forecast [N, ny] by quantiles of futures [M, N, ny]: lower and upper, [N, ny].

    Where too many of them are no numbers there is no bound: minus and plus infinity.
    """
    away = FutureStretch(spec, np).between(futures, y)
    with np.errstate(invalid="ignore"):
        low, high = central_intervals(np.where(np.isnan(away), np.inf, away), coverage)
    low, high = (np.where(np.isnan(each), end, each) for each, end in ((low, -np.inf), (high, np.inf)))
    return (y + low).astype(np.float32), (y + high).astype(np.float32)
