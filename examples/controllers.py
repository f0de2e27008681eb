"""Two model predictive controllers. A model is whatever has `forecast`, and `forecast_vjp`."""

from __future__ import annotations

from typing import Any

import numpy as np
from task import HOVER, cost, cost_by_output, effort, effort_by_input

SPREAD = (0.06, 0.01, 0.01, 0.02)  # of thrust, roll, pitch, yaw
MIX = np.array([[1, 1, 1, 1], [-1, -1, 1, 1], [-1, 1, 1, -1], [-1, 1, -1, 1]])  # what each of them adds to each motor


class GradientMpc:
    """Single shooting: a few projected gradient steps (Adam's) at each tick, from the plan of the tick before.

    Ref: D. Kingma, J. Ba, arXiv 1412.6980. Averages are shifted with the plan.
    """

    def __init__(self, horizon: int = 30, iterations: int = 4, rate: float = 0.02) -> None:
        self.horizon, self.iterations, self.rate = horizon, iterations, rate
        self.plan = np.full((horizon, 4), HOVER, np.float32)
        self.mean, self.square = np.zeros_like(self.plan), np.zeros_like(self.plan)

    def decide(self, model: Any, wanted: np.ndarray, last: np.ndarray) -> np.ndarray:
        """Return the inputs [nu] for this tick. `wanted` [N, ny]; `last` [nu]: the inputs of the tick before."""
        self.plan, self.mean, self.square = map(shifted, (self.plan, self.mean, self.square))
        for _ in range(self.iterations):
            y, back = model.forecast_vjp(self.plan)
            gradient = back(cost_by_output(y, wanted)) + effort_by_input(self.plan, last)
            self.mean = 0.8 * self.mean + 0.2 * gradient
            self.square = 0.95 * self.square + 0.05 * gradient**2
            step = self.rate * self.mean / (np.sqrt(self.square) + 1e-3)
            self.plan = np.clip(self.plan - step, 0.0, 1.0).astype(np.float32)
        return self.plan[0]


class Mppi:
    """Sample plans around that of the tick before, and average them by their costs (MPPI).

    Plans are lines between a few knots. The noise of a knot is one of thrust, roll, pitch and yaw, in parts of full
    command, and comes with both signs. Ref: G. Williams et al., arXiv 1707.02342, with a temperature in units of the
    spread of the costs.
    """

    def __init__(self, horizon: int = 30, plans: int = 128, knots: int = 6, temperature: float = 0.1, seed: int = 0,
                 threads: int = 1) -> None:  # fmt: skip
        self.horizon, self.plans, self.temperature, self.threads = horizon, plans, temperature, threads
        self.plan, self.rng = np.full((horizon, 4), HOVER, np.float32), np.random.default_rng(seed)
        at = np.linspace(0, horizon - 1, knots)
        self.lines = np.stack([np.interp(np.arange(horizon), at, knot) for knot in np.eye(knots)], 1)  # [N, knots]

    def decide(self, model: Any, wanted: np.ndarray, last: np.ndarray) -> np.ndarray:
        """Return the inputs [nu] for this tick. `wanted` [N, ny]; `last` [nu]: the inputs of the tick before."""
        self.plan = shifted(self.plan)
        plans = np.clip(self.plan + self.noise(), 0.0, 1.0).astype(np.float32)
        self.plan = np.tensordot(self.weights(self.costs(model, plans, wanted, last)), plans, 1).astype(np.float32)
        return self.plan[0]

    def costs(self, model: Any, plans: np.ndarray, wanted: np.ndarray, last: np.ndarray) -> np.ndarray:
        """Compute what each plan [B, N, nu] costs: [B]. A forecast that is not finite costs more than all others."""
        with np.errstate(over="ignore", invalid="ignore"):
            costs = cost(model.forecast(plans, threads=self.threads), wanted) + effort(plans, last)
        finite = np.isfinite(costs)
        return np.where(finite, costs, 2 * costs[finite].max(initial=1.0))

    def weights(self, costs: np.ndarray) -> np.ndarray:
        """Weigh plans by their costs [B]: [B], with sum 1."""
        weight = np.exp((costs.min() - costs) / (self.temperature * costs.std() + 1e-9))
        return weight / weight.sum()

    def noise(self) -> np.ndarray:
        """Draw noise [B, N, nu]; none for the first plan."""
        half = self.rng.standard_normal((self.plans // 2, self.lines.shape[1], 4)) * SPREAD
        drawn = np.concatenate((np.zeros_like(half[:1]), half, -half))[: self.plans]
        return self.lines @ drawn @ MIX


def shifted(plan: np.ndarray) -> np.ndarray:
    """Start the plan of this tick from that of the one before: a warm start. The last inputs are held."""
    return np.concatenate((plan[1:], plan[-1:]))
