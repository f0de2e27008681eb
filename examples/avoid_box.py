"""Stay out of a box with 95 % probability, in strong gusts: `avoid_box.py BUNDLE`.

The figure of eight leads through the box. Two planners go around it: one believes the forecast, one samples futures.
Both are the same MPPI, with one more cost. Sampled futures come from a model that can draw them; for a bundle without
them, the errors that its forecasts made in an earlier flight are added to each plan's forecast.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from command import Arguments, flights, load, run
from controllers import Mppi
from fly import fly, make_model
from task import FIGURE_EIGHT, HOVER, cost, effort

from rtsysid import Predictor
from rtsysid.cli.console import table
from rtsysid.cli.progress import Display, StageBar
from rtsysid.errors import SpecError
from rtsysid.evaluation.forecasts import forecasts
from rtsysid.recordings.true_model import SimulatedFlight

LOW, HIGH = np.array((0.8, -0.6, 0.0)), np.array((1.6, 0.3, 3.0))  # m: corners of the box
GUSTS = 20.0  # of those of the other examples
FUTURES, ALLOWED, PRICE = 40, 0.05, 400.0  # futures in a tick, the share of them that may enter, what more costs
POSITION = slice(10, 13)
HEADER = ["model", "planner believes", "ticks in the box", "flights in it", "deepest, cm", "off the path, cm",
          "decision, ms"]  # fmt: skip


class Avoiding(Mppi):
    """MPPI whose plans cost more where more than 5 % of their futures enter the box.

    ``errors`` [K, N, 3] in m: deviations of positions from their forecast, of which each tick draws some. None samples
    them from the model. No errors (K = 0) believes the forecast.
    """

    def __init__(self, errors: np.ndarray | None = None, horizon: int = 30, plans: int = 128, knots: int = 6) -> None:
        super().__init__(horizon, plans, knots)
        self.errors, self.tick = errors, 0

    def costs(self, model: Any, plans: np.ndarray, wanted: np.ndarray, last: np.ndarray) -> np.ndarray:
        """Compute what each plan [B, N, nu] costs: [B]."""
        y = model.forecast(plans, threads=self.threads)
        entered = share_that_enters(y[..., POSITION], self.deviations(model))
        return cost(y, wanted) + effort(plans, last) + PRICE * np.maximum(entered - ALLOWED, 0.0)

    def deviations(self, model: Any) -> np.ndarray:
        """Draw how positions may deviate from the forecast of the present plan: [K, N, 3] in m."""
        self.tick += 1
        if self.errors is None:
            futures = model.sample_futures(self.plan, FUTURES, self.tick)
            return futures[..., POSITION] - model.forecast(self.plan)[:, POSITION]
        if not len(self.errors):
            return np.zeros((1, self.horizon, 3), np.float32)
        return self.errors[self.rng.integers(len(self.errors), size=FUTURES)]


class Avoided(NamedTuple):
    """One flight around the box."""

    in_box: float  # share of the ticks
    deepest_cm: float  # along the axis on which the box is left soonest
    error_cm: float  # off the path where the path is not in the box
    decision_ms: float  # median


def inside(positions: np.ndarray) -> np.ndarray:
    """Tell which positions [..., 3] lie in the box: [...]."""
    return ((positions > LOW) & (positions < HIGH)).all(-1)


def share_that_enters(positions: np.ndarray, deviations: np.ndarray) -> np.ndarray:
    """Compute which share of the futures of each plan enter the box: [B, N, 3] and [K, N, 3] in m -> [B]."""
    share, near = np.zeros(len(positions)), within_reach(positions, deviations)
    within = np.ones((len(near), *deviations.shape[:2]), bool)
    for axis, (low, high) in enumerate(zip(LOW.tolist(), HIGH.tolist(), strict=True)):
        at = positions[near, None, :, axis] + deviations[..., axis]
        within &= (at > low) & (at < high)
    share[near] = within.any(-1).mean(-1)
    return share


def within_reach(positions: np.ndarray, deviations: np.ndarray) -> np.ndarray:
    """Find the plans of which a future may enter the box; most are far from it: the same shapes -> indices."""
    low, high = LOW.astype(positions.dtype) - deviations.max(0), HIGH.astype(positions.dtype) - deviations.min(0)
    return np.flatnonzero(((positions > low) & (positions < high)).all(-1).any(-1))


def around(track: np.ndarray, decision_ms: float = 0.0) -> Avoided:
    """Judge positions [n, 3] of a flight; `decision_ms` is the time of its decisions."""
    wanted = FIGURE_EIGHT.path((1 + np.arange(len(track))) / 100)
    depth = np.minimum(track - LOW, HIGH - track).min(-1)
    off = np.linalg.norm(track - wanted, axis=1)[~inside(wanted)]
    return Avoided(
        float(inside(track).mean()),
        100 * float(max(depth.max(), 0.0)),
        100 * float(np.sqrt((off**2).mean())),
        decision_ms,
    )


class Logged:
    """A model whose samples are written down: ``rows`` [n, C], with the inputs that were decided."""

    def __init__(self, model: Any) -> None:
        self.model, self.rows = model, []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    def step(self, values: np.ndarray) -> np.ndarray:
        """Take the sample [C] of this tick."""
        self.rows.append(values.copy())
        return self.model.step(values)

    def decide(self, u: np.ndarray) -> np.ndarray:
        """Put the decided inputs [nu] in the place of those of the last step."""
        self.rows[-1][: len(u)] = u
        return self.model.decide(u)


def forecast_errors(predictor: Predictor, horizon: int = 30, seconds: float = 6.0) -> np.ndarray:
    """Fly once in the same gusts, and measure how positions deviate from their forecasts: [K, N, 3] in m."""
    logged, flight = Logged(predictor), SimulatedFlight(99, gusts=GUSTS)
    fly(Mppi(horizon), logged, flight, FIGURE_EIGHT, seconds)
    predictor.reset()
    batches = list(forecasts(predictor, np.array(logged.rows), horizon))
    return np.concatenate([(each.truth - each.predicted)[..., POSITION] for each in batches])


def planners(predictor: Predictor, simulation: bool = False) -> Iterator[tuple[str, str, np.ndarray | None]]:
    """Yield model, planner, and the errors that the planner draws from."""
    point = np.empty((0, 30, 3))
    if simulation:
        yield "true", "forecast", point
        yield "true", "sampled futures", None
    yield "learned", "forecast", point
    if samples_futures(predictor):
        yield "learned", "sampled futures", None
    yield "learned", "measured errors", forecast_errors(predictor)


def samples_futures(predictor: Predictor) -> bool:
    """Tell whether a learned model can sample futures."""
    predictor.warm_start(np.concatenate((np.full(4, HOVER), SimulatedFlight().measure())).astype(np.float32))
    try:
        predictor.sample_futures(np.full((2, 4), HOVER, np.float32), 2)
    except SpecError:
        return False
    return True


def main() -> None:
    """Fly around the box with each planner and model, and print a table."""
    arguments = Arguments(description=__doc__)
    arguments.add_argument("bundle", help="a bundle of the preset quadrotor")
    arguments.add_argument("--seeds", type=flights, default=5)
    arguments.add_argument("--simulation", action="store_true", help="fly with the simulation as the model, too")
    given = arguments.parse_args()
    predictor, rows = load(given.bundle), []
    chosen = list(planners(predictor, given.simulation))
    with StageBar(Display(), len(chosen) * given.seeds, "flying") as bar:
        for model, planner, errors in chosen:
            found = []
            for seed in range(given.seeds):
                flight = SimulatedFlight(seed, gusts=GUSTS)
                flown = fly(Avoiding(errors), make_model(model, predictor, flight), flight, FIGURE_EIGHT)
                found.append(around(flown.track, flown.decision_ms))
                bar.update(1)
            rows.append([model, planner, *cells(found)])
    print(table(HEADER, rows))


def cells(found: list[Avoided]) -> list[str]:
    """Write the flights of one planner as cells of the table under `HEADER`."""
    share, deepest, error, ms = np.mean(found, 0)
    entered = sum(each.in_box > 0 for each in found)
    return [f"{share:.1%}", f"{entered} of {len(found)}", f"{deepest:.1f}", f"{error:.1f}", f"{ms:.1f}"]


if __name__ == "__main__":
    run(main)
