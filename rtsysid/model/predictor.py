"""Predictor: run the model of a bundle next to the controller, with `step` and `forecast`."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, overload

import numpy as np

from rtsysid.errors import SpecError
from rtsysid.guards.limits import limit
from rtsysid.guards.ranges import Age, Count, Seed, require
from rtsysid.model.backends.protocol import Backend, Gradients, InnovationEnergy, Snapshot
from rtsysid.model.bundle import Bundle
from rtsysid.model.coordinates import coordinates
from rtsysid.model.futures import bounds_around, futures_of
from rtsysid.model.golden import require_parity
from rtsysid.model.intervals import Intervals
from rtsysid.model.linearised import Linearised, linearised
from rtsysid.model.loading import BackendName, load_backend
from rtsysid.model.plans import (
    InputRange,
    as_floats,
    checked_sample,
    checked_snapshot,
    copied_plans,
    numbers,
    require_kept,
)
from rtsysid.model.sharing import SharedForecast
from rtsysid.spec import Doubles, Floats, ModelSpec

if TYPE_CHECKING:
    from rtsysid.model.backends.numpy_backend import NumpyBackend
    from rtsysid.model.backends.numpy_gradient import NumpyGradients

LONGEST = 10_000  # ticks of a forecast that is differentiated


class Forecast(NamedTuple):
    """Predicted outputs [N, ny] or [B, N, ny], and the interval of the requested coverage around each."""

    y: Floats
    lower: Floats
    upper: Floats


class Predictor:
    """One robot's model, on one backend.

    `step` pushes s_k = [u_k, y_k] and predicts y_{k+1}. `forecast` predicts what would follow if the given inputs were
    applied from tick k on: it starts from the state before the last step and replaces u_k by u_future[0].

    ``settling_samples``: samples after a reset from which on the predictor is ready.
    """

    def __init__(
        self, spec: ModelSpec, backend: Backend, intervals: Intervals | None = None, bundle: Bundle | None = None
    ) -> None:
        self.spec, self.backend, self.intervals, self.bundle = spec, backend, intervals, bundle
        self.settling_samples = spec.settling_samples
        self._width = spec.width
        self._planned: Floats = np.empty((0, spec.n_inputs), np.float32)  # the last plans that were predicted

    @classmethod
    def load(cls, bundle: Bundle | Path | str, backend: BackendName = "auto", *, check: bool = True) -> Predictor:
        """Open a bundle and verify the backend on its golden trace, on this machine.

        "auto" loads the C library of a bundle that a trusted maker signed; "trusted" and "c" load any, and so run code
        from the bundle. `check=False` leaves the golden trace out (a few milliseconds). Raises BundleError
        where a file is not what manifest and specification say or the backend is not available, ParityError where an
        error exceeds the tolerance.
        """
        bundle = bundle if isinstance(bundle, Bundle) else Bundle.open(bundle)
        predictor = cls(bundle.spec, load_backend(bundle, backend), Intervals.of(bundle), bundle)
        if check:
            require_parity(predictor, predictor.backend.name, bundle)
        return predictor

    @property
    def ready(self) -> bool:
        """Tell whether the delay line is full and the warm-up, where the model has one, is over."""
        return self.backend.count >= self.settling_samples

    @property
    def y(self) -> Floats:
        """Return the last prediction [ny]; the next step overwrites it."""
        return self.backend.y

    @property
    def code(self) -> Floats:
        """Return the code of the last window [Z]; the next step overwrites it."""
        return self.backend.code

    @property
    def reconstruction_error(self) -> float:
        """Return the mean squared error of the last window reconstructed from its code, in scaled units."""
        return self.backend.reconstruction_error

    def reset(self) -> None:
        """Forget every sample and the state."""
        self.backend.reset()

    def step(self, values: Floats, age: int = 0) -> Floats:
        """Push one sample [C] in engineering units; predict y at the next tick [ny].

        `age`: ticks since the newest measurement; 0 for a measured sample, 1, 2, .. where `values` replace samples
        that are missing. NaN until the delay line is full. The next step overwrites the array. Raises SpecError for a
        negative age, and for another number of channels.
        """
        if age:
            require("age", age, Age)
        try:
            if len(values) == self._width:
                return self.backend.step(values, age)
        except (TypeError, ValueError):
            pass
        return self.backend.step(checked_sample(values, self._width), age)

    def innovation_energy(self, sample: Floats, weight: Floats) -> InnovationEnergy:
        """Make a function that sums the squares of ``(measured - predicted) * weight``.

        Call it before the step with s_k, when `sample` [C] holds s_k; `weight` is [ny]. Both are float32, and are kept,
        not copied. Raises SpecError for other arrays.
        """
        require_kept("sample", sample, self.spec.width)
        require_kept("weight", weight, self.spec.n_outputs)
        return self.backend.innovation_energy(sample, weight)

    def decide(self, u: Any) -> Floats:
        """Put the inputs u_k [nu] that were decided in the place of those that the last step was given.

        Returns the prediction of y_{k+1} [ny] under them; the next step overwrites the array. It costs a step. Raises
        SpecError before the first step, for another number of inputs, and for one that is no number.
        """
        if not self.backend.count:
            raise SpecError("decide", "no sample was stepped", "step the sample of this tick first")
        decided = numbers("decide", u, (self.spec.n_inputs,))
        start = self.snapshot()
        start.window[-1, : self.spec.n_inputs] = decided
        self.backend.restore(*start)
        return self.y

    def warm_start(self, values: Any) -> Floats:
        """Forget every sample, then step through those that are known: [C] or [n, C]; predict y at the next tick [ny].

        From one sample alone, make up a history that leads to it: the robot stood still, or moved as the sample says
        where it is a rigid body. The predictor is ready then. Raises SpecError for another shape, and for a value that
        is no number.
        """
        known = as_floats("warm_start", values)
        rows = numbers("warm_start", known, (*known.shape[:-1][:1], self.spec.width))
        if rows.ndim == 1:
            rows = coordinates(self.spec, np).synthetic_history(rows, self.settling_samples)
        self.reset()
        for row in rows:
            self.step(row)
        return self.y

    @overload
    def forecast(self, u_future: Any, *, threads: int = 1) -> Floats: ...
    @overload
    def forecast(self, u_future: Any, *, interval: float, threads: int = 1) -> Forecast: ...
    def forecast(self, u_future: Any, *, interval: float | None = None, threads: int = 1) -> Floats | Forecast:
        """Predict y_{k+1} .. y_{k+N} under planned inputs u_k .. u_{k+N-1}; s_k is the last sample stepped.

        Ages count up from that of s_k.

        [N, nu] -> [N, ny], or B plans in one call: [B, N, nu] -> [B, N, ny]. The state does not change. With
        `interval`, a coverage between 0 and 1, the result is a `Forecast`: of quantiles of sampled
        futures where the calibration found them better than boxes. `threads` share the plans; 0 is one for each core
        that this process may use. Raises SpecError for another number of inputs, for one that is no number, where
        the delay line is not full, and for a coverage or a horizon that the intervals do not support.
        """
        plans = self._plans(u_future)
        y = self.backend.forecast(plans) if threads == 1 else self._shared_forecast(plans, threads)
        if np.ndim(u_future) == 2:
            y = y[0]
        if interval is None:
            return y
        if self.intervals is None:
            raise SpecError("intervals", "this bundle is not calibrated", "rtsysid calibrate BUNDLE TRACE...")
        half = self.intervals.half_widths(interval, y.shape[-2])
        if self.intervals.sampled(interval):
            return self._sampled_forecast(plans, y, interval, self.intervals.futures)
        return Forecast(y, y - half, y + half)

    def _sampled_forecast(self, plans: Floats, y: Floats, coverage: float, count: int) -> Forecast:
        """Put the quantiles of sampled futures around forecasts: plans [B, N, nu], y [N, ny] or [B, N, ny]."""
        bounds = [
            bounds_around(each, futures_of(self.backend, self.spec, plan, count, 0), self.spec, coverage)
            for plan, each in zip(plans, y.reshape(len(plans), *y.shape[-2:]), strict=True)
        ]
        low, high = (np.stack(each).reshape(y.shape) for each in zip(*bounds, strict=True))
        return Forecast(y, low, high)

    def rollout(self, starts: Snapshot, u_future: Floats) -> Floats:
        """Predict N ticks from B snapshots, each under its own plan [N, nu]: -> [B, N, ny].

        `starts` are `stacked` snapshots, `u_future` is [B, N, nu]. The predictor's own state does not change. Raises
        SpecError for other shapes.
        """
        plans = copied_plans(u_future, self.spec.n_inputs)
        if np.ndim(u_future) != 3:
            raise SpecError("rollout", "one plan", f"give one of each snapshot, [B, N, {self.spec.n_inputs}]")
        begun = checked_snapshot(starts, self.spec, (len(plans),))
        return self.backend.rollout(begun.window, begun.state, begun.age, plans)

    def forecast_gradient(self, u: Any, dy: Any, *, double: bool = False) -> Floats | Doubles:
        """Take the derivative of a cost by each output of a forecast back to each input of its plan.

        `u` [N, nu] and `dy` [N, ny] -> du [N, nu], or B plans in one call, as in `forecast`. `dy` is the derivative of
        the cost by y_{k+1} .. y_{k+N}. The state does not change. `double` computes in NumPy, in float64; so does, in
        float32, a backend without gradients of its own. Reverse mode: it costs about as much as two forecasts, however
        many inputs there are. Raises SpecError as `forecast` does, and for another shape of `dy`.
        """
        plans = self._plans(u)
        self._require_short(plans[0])
        shape = (*np.shape(u)[:-1], self.spec.n_outputs)
        costs = numbers("dy", dy, shape).reshape(*plans.shape[:2], -1)
        du: Floats = self._gradients(double).gradient(self.snapshot(), plans, costs)
        return du.reshape(np.shape(u))

    def forecast_vjp(self, u: Any, *, double: bool = False) -> tuple[Floats, Callable[[Any], Floats]]:
        """Predict what follows one plan, and return the way back through it: `forecast_gradient` in two halves.

        `u` [N, nu] -> y [N, ny], and a function dy [N, ny] -> du [N, nu], a vector-Jacobian product. The forecast is
        computed once for both, and the function stays valid whatever the predictor does after it. `double` as in
        `forecast_gradient`. Raises SpecError as that does, and for more than one plan.
        """
        plan = self._one_plan(u)
        self._require_short(plan)
        y, back = self._gradients(double).vjp(self.snapshot(), plan)
        return y, lambda dy: back(numbers("dy", dy, y.shape))

    def forecast_jacobian(self, u: Any, *, double: bool = False) -> Floats | Doubles:
        """Differentiate each output of a forecast by each input of its plan: [N, nu] -> [N, ny, N, nu].

        Entry [n, i, m, j] is the derivative of output i of y_{k+1+n} by input j of u_{k+m}; it is 0 for m above n.
        `double` as in `forecast_gradient`. Raises SpecError as that does, and for more than one plan.
        """
        plan = self._one_plan(u)
        self._require_short(plan, plan.size * self.spec.n_outputs)
        jacobian: Floats = self._gradients(double).jacobian(self.snapshot(), plan)
        return jacobian

    def linearise(self, *, double: bool = True) -> Linearised:
        """Return A, B, C, D of the model at the last sample, under its inputs: see `Linearised`.

        `double` computes in NumPy, in float64; without it the C backend computes in float32, within some tens of steps.
        Raises SpecError where the delay line is not full.
        """
        self._require_full("linearise")
        return linearised(self.spec, self._gradients(double), self.snapshot())

    @property
    def extrapolation(self) -> Floats:
        """Tell how far the last plans that were predicted leave the trained range of each input: [nu].

        In widths of that range; 0 is within, and before the first forecast. It is computed here, not in the forecast.
        """
        return self._input_range.beyond(self._planned)

    def beyond_range(self, u_future: Any) -> Floats:
        """Tell the same of plans before they are predicted: [N, nu] or [B, N, nu] -> [nu].

        Raises SpecError for another number of inputs, and for one that is no number.
        """
        return self._input_range.beyond(copied_plans(u_future, self.spec.n_inputs))

    @cached_property
    def _input_range(self) -> InputRange:
        return InputRange(self.spec)

    def sample_futures(self, u_future: Any, count: int = 100, seed: int = 0) -> Floats:
        """Sample `count` futures under one plan: [N, nu] -> [count, N, ny].

        Future i of a seed is the same whatever `count` is, and on every backend, within the table of tolerances. The
        state does not change. Raises SpecError where the model has no distribution, for a count or a seed out of range,
        and as `forecast` does.
        """
        if not self.spec.distribution:
            remedy = 'train with model.distribution = "gaussian", or use forecast'
            raise SpecError("sample_futures", "the model predicts points, not distributions", remedy)
        require("count", count, Count)
        require("seed", seed, Seed)
        return futures_of(self.backend, self.spec, self._one_plan(u_future), count, int(seed))

    def _plans(self, u_future: Any) -> Floats:
        """Check plans, and keep them as [B, N, nu] for `extrapolation`."""
        plans = copied_plans(u_future, self.spec.n_inputs)
        self._require_full("forecast")
        self._planned = plans
        return plans

    def _require_full(self, what: str) -> None:
        if self.backend.count < self.spec.taps:
            raise SpecError(what, f"{self.backend.count} of {self.spec.taps} samples", "step more samples first")

    def _one_plan(self, u_future: Any) -> Floats:
        """Check one plan as `_plans` does: [N, nu]."""
        plans = self._plans(u_future)
        if len(plans) != 1:
            raise SpecError("u_future", f"{len(plans)} plans", f"give one plan [N, {self.spec.n_inputs}]")
        return plans.reshape(plans.shape[1:])

    def _require_short(self, plan: Floats, values: int = 1) -> None:
        """Check the length of a plan [N, nu] to differentiate, of which each tick costs `values` of memory."""
        longest = min(LONGEST, limit("model_bytes") // 8 // values)
        if len(plan) > longest:
            raise SpecError("u_future", f"{len(plan)} ticks, and a gradient has {longest} at most", "plan fewer")

    @cached_property
    def _shared_forecast(self) -> SharedForecast:
        return SharedForecast(self.backend.forecast)

    def _gradients(self, double: bool) -> Gradients:
        return self._numpy_gradients[bool(double)] if double or not self.backend.gradients else self.backend.gradients

    @cached_property
    def _numpy_gradients(self) -> tuple[NumpyGradients, NumpyGradients]:
        from rtsysid.model.backends.numpy_gradient import NumpyGradients

        weights = self._sampler.weights
        return NumpyGradients(self.spec, weights), NumpyGradients(self.spec, weights, np.float64)

    @cached_property
    def _sampler(self) -> NumpyBackend:
        """The same model in NumPy, for what the backend does not do."""
        from rtsysid.model.backends.numpy_backend import NumpyBackend

        if isinstance(self.backend, NumpyBackend):
            return self.backend
        if self.bundle is None:
            raise SpecError("predictor", "no bundle to take weights from", "use Predictor.load")
        return NumpyBackend(self.spec, self.bundle.arrays("weights.npz"))

    def snapshot(self) -> Snapshot:
        """Copy all that the predictor remembers of its samples, for `restore`, and for `rollout`, `stacked`."""
        backend = self.backend
        return Snapshot(backend.window.copy(), backend.state_before.copy(), backend.age, backend.count)

    def restore(self, snapshot: Snapshot) -> None:
        """Continue from a snapshot of this model, on any backend. Raises SpecError for one of another model."""
        self.backend.restore(*checked_snapshot(snapshot, self.spec))
