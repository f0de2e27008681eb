"""Two model predictive controllers. A model is whatever has `forecast`, and `forecast_gradient`."""

from __future__ import annotations

from typing import Any

import numpy as np
from figure_eight import HOVER, cost, cost_by_output, effort, effort_by_input


class GradientMpc:
    """Single shooting: a few projected gradient steps (Adam's) at each tick, from the plan of the tick before.

    Ref: D. Kingma, J. Ba, arXiv 1412.6980. Averages are shifted with the plan.
    """

    def __init__(self, horizon: int = 40, iterations: int = 6, rate: float = 0.02) -> None:
        self.horizon, self.iterations, self.rate = horizon, iterations, rate
        self.plan = np.full((horizon, 4), HOVER, np.float32)
        self.mean, self.square = np.zeros_like(self.plan), np.zeros_like(self.plan)

    def decide(self, model: Any, wanted: np.ndarray, last: np.ndarray) -> np.ndarray:
        """Return the inputs [nu] for this tick. `wanted` [N, ny]; `last` [nu]: the inputs of the tick before."""
        self.plan, self.mean, self.square = map(shifted, (self.plan, self.mean, self.square))
        for _ in range(self.iterations):
            y = model.forecast(self.plan)
            gradient = model.forecast_gradient(self.plan, cost_by_output(y, wanted))
            gradient = gradient + effort_by_input(self.plan, last)
            self.mean = 0.8 * self.mean + 0.2 * gradient
            self.square = 0.95 * self.square + 0.05 * gradient**2
            step = self.rate * self.mean / (np.sqrt(self.square) + 1e-3)
            self.plan = np.clip(self.plan - step, 0.0, 1.0).astype(np.float32)
        return self.plan[0]


class Mppi:
    """Sample plans around that of the tick before, and average them by their costs.

    Ref: G. Williams et al., arXiv 1707.02342, with a temperature in units of the spread of the costs.
    """

    def __init__(
        self, horizon: int = 40, plans: int = 256, spread: float = 0.08, seed: int = 0, threads: int = 1
    ) -> None:
        self.horizon, self.plans, self.spread, self.threads = horizon, plans, spread, threads
        self.plan, self.rng = np.full((horizon, 4), HOVER, np.float32), np.random.default_rng(seed)

    def decide(self, model: Any, wanted: np.ndarray, last: np.ndarray) -> np.ndarray:
        """Return the inputs [nu] for this tick. `wanted` [N, ny]; `last` [nu]: the inputs of the tick before."""
        self.plan = shifted(self.plan)
        plans = np.clip(self.plan + self.spread * self.noise(), 0.0, 1.0).astype(np.float32)
        costs = cost(model.forecast(plans, threads=self.threads), wanted) + effort(plans, last)
        weight = np.exp((costs.min() - costs) / (0.05 * costs.std() + 1e-9))
        self.plan = np.tensordot(weight / weight.sum(), plans, 1).astype(np.float32)
        return self.plan[0]

    def noise(self) -> np.ndarray:
        """Draw noise [B, N, nu] that a motor can follow; none for the first plan."""
        drawn = self.rng.standard_normal((self.horizon, self.plans, 4))
        for k in range(1, self.horizon):
            drawn[k] = 0.8 * drawn[k - 1] + 0.6 * drawn[k]
        drawn[:, 0] = 0.0
        return drawn.transpose(1, 0, 2)


def shifted(plan: np.ndarray) -> np.ndarray:
    """Start the plan of this tick from that of the one before: a warm start. The last inputs are held."""
    return np.concatenate((plan[1:], plan[-1:]))
