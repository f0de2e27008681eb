"""Two models that a learned one must beat, with the calls that a controller makes: hold, and a linear ARX."""

from __future__ import annotations

from typing import Any

import numpy as np

from rtsysid.evaluation.baselines import Hold, LinearArx


class PlainModel:
    """A baseline that remembers the last samples [lags, C]."""

    def __init__(self, baseline: Hold | LinearArx) -> None:
        self.baseline, self.lags = baseline, getattr(baseline, "lags", 1)
        self.rows = np.empty((0, 0), np.float32)

    def step(self, values: Any) -> None:
        """Take the sample [C] of this tick."""
        self.rows = np.concatenate((self.rows[1:], np.asarray(values, np.float32)[None]))

    def warm_start(self, values: Any) -> None:
        """Make up a history: the robot stood still."""
        self.rows = np.repeat(np.asarray(values, np.float32)[None], self.lags, 0)

    def decide(self, u: Any) -> None:
        """Put the decided inputs [nu] in the place of those of the last step."""
        self.rows[-1, : self.baseline.n_inputs] = u

    def forecast(self, plans: Any, *, threads: int = 1) -> np.ndarray:
        """Predict plans [B, N, nu]: [B, N, ny]."""
        return self.baseline.forecast(np.broadcast_to(self.rows, (len(plans), *self.rows.shape)), plans)
