"""Share the plans of one forecast among threads."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from rtsysid.guards.ranges import Threads, require
from rtsysid.model.c_layout import LANES
from rtsysid.spec import Floats

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor


class SharedForecast:
    """Forecast B plans in whole blocks of lanes, one thread for each part."""

    def __init__(self, forecast: Callable[[Floats], Floats]) -> None:
        self._forecast = forecast

    def __call__(self, plans: Floats, threads: int) -> Floats:
        """Forecast plans [B, N, nu] -> [B, N, ny]. 0: one for each core. Raises SpecError for a wrong number."""
        require("threads", threads, Threads)
        wanted = min(threads or usable_cores(), -(-len(plans) // LANES))
        if wanted <= 1:
            return self._forecast(plans)
        each = -(-len(plans) // (LANES * wanted)) * LANES
        parts = [plans[k : k + each] for k in range(0, len(plans), each)]
        return np.concatenate(list(self._pool.map(self._forecast, parts)))

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        from concurrent.futures import ThreadPoolExecutor

        return ThreadPoolExecutor(usable_cores(), "forecast")


def usable_cores() -> int:
    """Count the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
