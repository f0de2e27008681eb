"""Golden trace: samples and outputs that every backend must reproduce, and how far off it may be.

Errors are in units of each output's standard deviation over the training recordings. The reference is the trained
network in float64. How much float32 rounding changes the outputs depends on the weights: the exporter measures it with
torch in float32. A backend may be off by `ROUNDING` times that, or by the floor of the table.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

import msgspec
import numpy as np

from rtsysid.errors import ParityError
from rtsysid.model.bundle import Arrays, Bundle
from rtsysid.spec import Doubles, Floats, ModelSpec

TOLERANCE = {  # floor of the largest error, in spreads of the output
    "step": 1e-5,
    "forecast": 1e-4,
}
ROUNDING = 8.0  # a sum in another order rounds differently, but by no more than this factor


class Runner(Protocol):
    """The part of a predictor that the golden trace needs: samples [C] -> [ny], plans [B, N, nu] -> [B, N, ny]."""

    @property
    def spec(self) -> ModelSpec: ...
    def reset(self) -> None: ...
    def step(self, values: Floats) -> Floats: ...
    def forecast(self, u_future: Floats) -> Floats: ...


class Row(msgspec.Struct, frozen=True):
    """One backend on the golden trace: largest errors, their bounds, and median times in microseconds."""

    backend: str
    step_error: float
    step_tolerance: float
    forecast_error: float
    forecast_tolerance: float
    step_us: float
    forecast_us: float

    @property
    def passed(self) -> bool:
        """Tell whether both errors are within their bounds."""
        return self.step_error <= self.step_tolerance and self.forecast_error <= self.forecast_tolerance

    def require(self, what: str, remedy: str) -> None:
        """Check that both errors are within their bounds. Raises ParityError where one is not."""
        if not self.passed:
            raise ParityError(
                f"{what} on backend {self.backend}",
                f"step error {self.step_error:.2g} (bound {self.step_tolerance:.2g}), "
                f"forecast error {self.forecast_error:.2g} (bound {self.forecast_tolerance:.2g})",
                remedy,
            )


def tolerances(measured: dict[str, float]) -> dict[str, float]:
    """Compute the bounds of a model from its measured float32 rounding; a forecast's is never below a step's."""
    bounds = {name: max(floor, ROUNDING * measured[name]) for name, floor in TOLERANCE.items()}
    return bounds | {"forecast": max(bounds.values())}


def relative_error(found: np.ndarray[Any, Any], expected: np.ndarray[Any, Any], spec: ModelSpec) -> float:
    """Compute the largest difference of two arrays [..., ny] in units of the outputs' standard deviations.

    NaN equals NaN; a NaN in one of them alone counts as infinite.
    """
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    difference: Doubles = np.abs(found - expected) / np.asarray(spec.scaling.std[spec.n_inputs :])
    difference[np.isnan(found) & np.isnan(expected)] = 0.0
    return float(np.max(np.where(np.isnan(difference), np.inf, difference), initial=0.0))


def run_golden(predictor: Runner, golden: Arrays, clock: Callable[[], float] = time.perf_counter) -> dict[str, Any]:
    """Step through the golden samples and forecast at the golden ticks.

    Returns ``y`` [n, ny], ``y_future`` [K, B, N, ny], and the seconds of each call: ``step_s``, ``forecast_s``.
    """
    samples, starts = golden["samples"], set(golden["starts"].tolist())
    at = {int(tick): plan for tick, plan in zip(golden["forecast_at"], golden["u_future"], strict=True)}
    steps = np.empty((len(samples), predictor.spec.n_outputs), np.float32)
    forecasts, seconds, forecast_seconds = [], [], []
    for tick, values in enumerate(samples):
        if tick in starts:
            predictor.reset()
        begun = clock()
        y = predictor.step(values)
        seconds.append(clock() - begun)
        steps[tick] = y
        if tick in at:
            begun = clock()
            forecasts.append(predictor.forecast(at[tick]))
            forecast_seconds.append(clock() - begun)
    predictor.reset()
    return {"y": steps, "y_future": np.stack(forecasts), "step_s": seconds, "forecast_s": forecast_seconds}


def measure(predictor: Runner, backend: str, bundle: Bundle) -> Row:
    """Measure one row of the verification table."""
    golden, bounds = bundle.arrays("golden.npz"), bundle.manifest.tolerance
    found = run_golden(predictor, golden)
    return Row(
        backend,
        relative_error(found["y"], golden["y"], bundle.spec),
        bounds["step"],
        relative_error(found["y_future"], golden["y_future"], bundle.spec),
        bounds["forecast"],
        float(np.median(found["step_s"]) * 1e6),
        float(np.median(found["forecast_s"]) * 1e6),
    )


def require_parity(predictor: Runner, backend: str, bundle: Bundle) -> None:
    """Check that the predictor reproduces the golden trace. Raises ParityError where it does not."""
    remedy = "try another backend (rtsysid verify shows all), or export again"
    measure(predictor, backend, bundle).require(f"bundle {bundle.folder}", remedy)
