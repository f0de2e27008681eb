"""The same problem through CasADi and IPOPT: `fly.py BUNDLE --controller casadi`, with a bundle of target `casadi`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import casadi
import numpy as np
from controllers import shifted
from task import HOVER, WEIGHTS

from rtsysid.model.backends.protocol import casadi_state


class CasadiMpc:
    """Single shooting with IPOPT, a fixed number of iterations at each tick. The library sets the horizon."""

    def __init__(self, library: Path | str, iterations: int = 4) -> None:
        forecast = casadi.external("forecast", str(library))
        (states, _), (inputs, self.horizon), (outputs, _) = (
            forecast.size_in(0), forecast.size_in(1), forecast.size_out(0)
        )  # fmt: skip
        plan = casadi.MX.sym("plan", inputs * self.horizon)  # the rows of a plan, one after the other
        state, last = casadi.MX.sym("state", states), casadi.MX.sym("last", inputs)
        wanted = casadi.MX.sym("wanted", outputs, self.horizon)
        u = casadi.reshape(plan, inputs, self.horizon)
        miss = (forecast(state, u) - wanted) * np.sqrt(WEIGHTS)[:, None]
        change = u - casadi.horzcat(last, u[:, :-1])
        cost = casadi.sumsqr(miss) + 2.0 * casadi.sumsqr(change) + 0.5 * casadi.sumsqr(u - HOVER)
        given = casadi.vertcat(state, last, casadi.vec(wanted))
        options = {"ipopt.max_iter": iterations, "ipopt.hessian_approximation": "limited-memory", "ipopt.tol": 1e-5,
                   "ipopt.print_level": 0, "ipopt.sb": "yes", "print_time": False}  # fmt: skip
        self.solver = casadi.nlpsol("mpc", "ipopt", {"x": plan, "p": given, "f": cost}, options)
        self.plan = np.full((self.horizon, inputs), HOVER, np.float32)

    def decide(self, model: Any, wanted: np.ndarray, last: np.ndarray) -> np.ndarray:
        """Return the inputs [nu] for this tick. `wanted` [N, ny]; `last` [nu]: the inputs of the tick before."""
        given = np.concatenate((casadi_state(model.snapshot()), last, wanted.ravel()))
        found = self.solver(x0=shifted(self.plan).ravel(), p=given, lbx=0.0, ubx=1.0)
        self.plan = np.array(found["x"], np.float32).reshape(self.plan.shape)
        return self.plan[0]
