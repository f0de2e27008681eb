"""The simulated quadrotor in a model's place: what a controller reaches whose model is exact.

`TrueModel` has the calls of `rtsysid.model.predictor.Predictor` that a controller needs. It knows all of the flight:
rotors, charge and the gust of now. Of gusts to come it knows what can be known, their mean.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from rtsysid.errors import SpecError
from rtsysid.recordings.simulate import CHANNELS, PHYSICS_HZ, FlightState, Quadrotor, advance, hover, noisy_outputs
from rtsysid.spec import Channel, Doubles, Floats

INPUTS = sum(channel.role == "input" for channel in CHANNELS)
STEP = 1e-4  # of an input, for differences


class FlightMoment(NamedTuple):
    """All of one simulated flight at one tick."""

    state: FlightState
    gust: Doubles  # [3, 1] N


class SimulatedFlight:
    """Fly a quadrotor tick by tick: `measure`, then `apply` the inputs of the tick. The same seed gives the same gusts.

    ``noise``: factor of the noise of the log; 0 measures exactly. Raises SpecError for a rate that does not divide the
    physics' 1000 Hz.
    """

    def __init__(self, seed: int = 0, rate_hz: float = 100.0, *, charge: float = 0.9, gusts: float = 1.0,
                 noise: float = 1.0) -> None:  # fmt: skip
        if not rate_hz > 0 or PHYSICS_HZ % rate_hz:
            raise SpecError("rate", f"{rate_hz} Hz", f"give a divisor of {PHYSICS_HZ}")
        self._rng, self.plant, self.rate_hz = np.random.default_rng(seed), Quadrotor(), rate_hz
        self._gusts, self._noise = gusts, noise
        self.now = FlightMoment(
            hover(np.array([[0.0], [0.0], [1.5]]), np.array([charge]), self.plant), np.zeros((3, 1))
        )

    @property
    def gust_force(self) -> float:
        """Return the standard deviation of a gust along each axis, in N."""
        return self._gusts * self.plant.gust_force

    @property
    def keep(self) -> float:
        """Return the share of a gust that is left after a tick."""
        return float(np.exp(-1 / self.rate_hz / self.plant.gust_time))

    def measure(self) -> Floats:
        """Measure the outputs with noise, in the order of `CHANNELS`: [13]."""
        white = self._noise * self._rng.standard_normal((12, 1))
        return noisy_outputs(self.now.state, white)[:, 0].astype(np.float32)

    def apply(self, u: Any) -> None:
        """Apply motor commands [4], in 0..1, for one tick. Raises SpecError for another number, or for NaN."""
        commands = np.asarray(u, np.float64).reshape(-1, 1)
        if commands.shape != (INPUTS, 1) or not np.isfinite(commands).all():
            raise SpecError("apply", f"{np.asarray(u).tolist()}", f"give {INPUTS} numbers")
        white = self._rng.standard_normal((3, 1)) * self.gust_force
        gust = self.keep * self.now.gust + np.sqrt(1 - self.keep**2) * white
        self.now = FlightMoment(self.moved(self.now.state, np.clip(commands, 0.0, 1.0), gust), gust)

    def moved(
        self, state: FlightState, commands: Doubles, gust: Doubles, physics_hz: float = PHYSICS_HZ
    ) -> FlightState:
        """Advance flights by one tick under commands [4, F] and gusts [3, F]."""
        for _ in range(round(physics_hz / self.rate_hz)):
            state = advance(state, commands, gust, self.plant, 1 / physics_hz)
        return state


class TrueModel:
    """Answer as a `Predictor` does, with the simulation itself.

    ``outputs``: names of the outputs, in the order of the model that it replaces; by default those of the simulation.
    ``columns``: where they are among those of the simulation. ``physics_hz``: how finely forecasts are simulated; a
    fifth of the flight's own is five times as fast, and differs by far less than gusts do. It follows one flight:
    `step` is told a sample, and looks at the flight.
    """

    ready = True

    def __init__(self, flight: SimulatedFlight, outputs: tuple[str, ...] = (), physics_hz: float = PHYSICS_HZ) -> None:
        if not physics_hz > 0 or physics_hz % flight.rate_hz:
            raise SpecError("physics_hz", f"{physics_hz}", f"give a multiple of {flight.rate_hz:g} Hz")
        self._physics_hz = physics_hz
        names = [channel.name for channel in CHANNELS[INPUTS:]]
        self.columns = [names.index(name) for name in outputs or names]
        self._flight, self._now, self._decided = flight, flight.now, np.zeros(INPUTS, np.float32)

    @property
    def channels(self) -> tuple[Channel, ...]:
        """Return inputs, then outputs in their order."""
        return (*CHANNELS[:INPUTS], *(CHANNELS[INPUTS + k] for k in self.columns))

    @property
    def y(self) -> Floats:
        """Predict the outputs of the next tick [ny] under the inputs of the last step or decision."""
        following: Floats = self.forecast(self._decided[None])[0]
        return following

    def step(self, values: Floats, age: int = 0) -> Floats:
        """Look at the flight; `values` [C] say the inputs. Return the outputs of the next tick [ny]."""
        self._now = self._flight.now
        return self.decide(values[:INPUTS])

    def warm_start(self, values: Floats) -> Floats:
        """Do what `step` does, since it knows the past: [C] -> [ny]."""
        return self.step(values)

    def decide(self, u: Any) -> Floats:
        """Put the decided inputs [nu] in the place of those of the last step; return the next outputs [ny]."""
        self._decided = np.asarray(u, np.float32)
        return self.y

    def snapshot(self) -> tuple[FlightMoment, Floats]:
        """Return all that a forecast starts from: the flight, and the inputs [nu]."""
        return self._now, self._decided

    def restore(self, snapshot: tuple[FlightMoment, Floats]) -> None:
        """Continue from a snapshot: a flight, and inputs [nu]."""
        self._now, self._decided = snapshot

    def forecast(self, u_future: Any, *, threads: int = 1) -> Floats:
        """Predict N ticks: [N, nu] -> [N, ny], or [B, N, nu] -> [B, N, ny]. `threads` is ignored.

        Raises SpecError for another number of inputs, and for one that is no number.
        """
        plans = np.asarray(u_future, np.float64)
        y = self._simulated(plans if plans.ndim == 3 else plans[None], self._now).astype(np.float32)
        return y if plans.ndim == 3 else y[0]

    def sample_futures(self, u_future: Any, count: int = 100, seed: int = 0) -> Floats:
        """Sample `count` futures of one plan, each with gusts to come of its own: [N, nu] -> [count, N, ny].

        Raises SpecError as `forecast` does.
        """
        flight, rng = self._flight, np.random.default_rng(seed)
        white = rng.standard_normal((len(u_future), 3, count)) * flight.gust_force * np.sqrt(1 - flight.keep**2)
        plans = np.repeat(np.asarray(u_future, np.float64)[None], count, 0)
        return self._simulated(plans, self._now, white).astype(np.float32)

    def forecast_gradient(self, u: Any, dy: Any) -> Floats:
        """Take the derivative of a cost by each output back to each input, by differences: [N, nu], [N, ny] -> du.

        Raises SpecError as `forecast` does.
        """
        return self._differences(self._now, u, dy)

    def _differences(self, start: FlightMoment, u: Any, dy: Any) -> Floats:
        """Take dy [N, ny] back to a plan [N, nu] that begins at a moment."""
        plan = np.asarray(u, np.float64)
        _require_plans(plan[None])
        moves = STEP * np.eye(plan.size).reshape(-1, *plan.shape)
        after, before = (self._simulated(plan + way * moves, start) for way in (1, -1))
        change = (after - before) * np.asarray(dy)
        du: Floats = (change.sum((1, 2)) / (2 * STEP)).reshape(plan.shape).astype(np.float32)
        return du

    def forecast_vjp(self, u: Any) -> tuple[Floats, Callable[[Any], Floats]]:
        """Predict one plan [N, nu] -> y [N, ny], and return the function dy [N, ny] -> du [N, nu].

        Raises SpecError as `forecast` does.
        """
        start, plan = self._now, np.array(u)
        return self.forecast(plan), lambda dy: self._differences(start, plan, dy)

    def _simulated(self, plans: Doubles, start: FlightMoment, white: Doubles | None = None) -> Doubles:
        """Fly plans [B, N, nu] from a moment: [B, N, ny]. `white` [N, 3, B] is added to the gusts, in N."""
        _require_plans(plans)
        state, gust = start
        still, y = np.zeros((12, 1)), []
        for n, u in enumerate(np.clip(plans, 0.0, 1.0).transpose(1, 2, 0)):
            gust = self._flight.keep * gust + (0.0 if white is None else white[n])
            state = self._flight.moved(state, u, gust, self._physics_hz)
            y.append(noisy_outputs(state, still).T[:, self.columns])
        return np.stack(y, 1)


def _require_plans(plans: Doubles) -> None:
    """Check plans [B, N, nu]. Raises SpecError."""
    if plans.ndim != 3 or plans.shape[2] != INPUTS or 0 in plans.shape or not np.isfinite(plans).all():
        raise SpecError("u_future", f"shape {plans.shape}", f"give numbers [N, {INPUTS}] or [B, N, {INPUTS}]")
