"""Golden trace: samples, and what every backend must compute from them.

Predictions are compared at every sample, forecasts, codes and reconstruction errors at some. `rtsysid.model.tolerance`
has the units of the errors and how large they may be.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from rtsysid.circle import differences
from rtsysid.errors import ParityError
from rtsysid.guards.ranges import OLDEST
from rtsysid.model.backends.windowed import Ages
from rtsysid.model.bundle import Bundle
from rtsysid.model.contents import FUTURES
from rtsysid.model.npz import Arrays
from rtsysid.model.tolerance import LARGEST, ROUNDING, TOLERANCE, tolerances
from rtsysid.spec import Doubles, Floats, ModelSpec

__all__ = ["LARGEST", "ROUNDING", "TOLERANCE", "tolerances"]


class Runner(Protocol):
    """The part of a predictor that the golden trace needs: samples [C] -> [ny], plans [B, N, nu] -> [B, N, ny]."""

    @property
    def spec(self) -> ModelSpec: ...
    @property
    def code(self) -> Floats: ...
    @property
    def reconstruction_error(self) -> float: ...
    def reset(self) -> None: ...
    def step(self, values: Floats, age: int = 0) -> Floats: ...
    def forecast(self, u_future: Floats) -> Floats: ...
    def sample_futures(self, u_future: Floats, count: int, seed: int) -> Floats: ...


class Row(msgspec.Struct, frozen=True):
    """One backend on the golden trace: largest errors, their bounds, and median times in microseconds."""

    backend: str
    step_error: float
    step_tolerance: float
    forecast_error: float
    forecast_tolerance: float
    code_error: float
    code_tolerance: float
    reconstruction_error: float
    reconstruction_tolerance: float
    step_us: float
    forecast_us: float

    @property
    def errors(self) -> dict[str, tuple[float, float]]:
        """Return each error with its bound, by the names of the table."""
        return {name: (getattr(self, f"{name}_error"), getattr(self, f"{name}_tolerance")) for name in TOLERANCE}

    @property
    def passed(self) -> bool:
        """Tell whether all errors are within their bounds."""
        return all(error <= bound for error, bound in self.errors.values())

    def require(self, what: str, remedy: str) -> None:
        """Check that all errors are within their bounds. Raises ParityError where one is not."""
        if not self.passed:
            errors = (f"{name} error {error:.2g} (bound {bound:.2g})" for name, (error, bound) in self.errors.items())
            raise ParityError(f"{what} on backend {self.backend}", ", ".join(errors), remedy)


def relative_error(
    found: np.ndarray[Any, Any], expected: np.ndarray[Any, Any], spec: ModelSpec, spread: Doubles | float = 0.0
) -> float:
    """Compute the largest difference of two arrays [..., ny] in units of the outputs' standard deviations.

    Where `spread` is larger, it is the unit. NaN equals NaN; a NaN in one of them alone counts as infinite.
    """
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    unit = np.maximum(np.asarray(spec.scaling.std[spec.n_inputs :]), spread)
    difference: Doubles = np.abs(differences(found, expected, spec.outputs)) / unit
    difference[np.isnan(found) & np.isnan(expected)] = 0.0
    return float(np.max(np.where(np.isnan(difference), np.inf, difference), initial=0.0))


def code_errors(found: Mapping[str, Any], expected: Mapping[str, Any]) -> dict[str, float]:
    """Compute the largest difference of codes [M, Z], and of the roots of reconstruction errors [M].

    A value that is not finite counts as infinite.
    """
    pairs = {
        "code": (found["code"], expected["code"]),
        "reconstruction": (np.sqrt(found["reconstruction"]), np.sqrt(expected["reconstruction"])),
    }
    differences = {name: np.abs(np.subtract(*pair, dtype=np.float64)) for name, pair in pairs.items()}
    return {
        name: float(np.max(np.where(np.isfinite(each), each, np.inf), initial=0.0))
        for name, each in differences.items()
    }


def golden_of(bundle: Bundle) -> Arrays:
    """Read the golden trace of a bundle.

    Raises BundleError where it leaves out forecasts, codes or reconstruction errors, and where a value is not finite
    that has to be.
    """
    golden, taps = bundle.arrays("golden.npz"), bundle.spec.taps
    starts, rows = golden["starts"], len(golden["samples"])
    if not len(starts) or starts[0] != 0 or (np.diff(starts, append=rows) < taps).any():
        raise bundle.refusal("golden.npz: its sequences are not each a window or longer")
    count = np.arange(rows) - starts[np.searchsorted(starts, np.arange(rows), "right") - 1]  # samples since the reset
    for name in ("forecast_at", "code_at"):
        at = golden[name]
        inside = len(at) and at.min() >= 0 and at.max() < rows and (np.diff(at) > 0).all()
        if not inside or (count[at] < taps - 1).any():
            raise bundle.refusal(f"golden.npz: {name} is empty, or names ticks at which the delay line is not full")
    if (np.isfinite(golden["y"]) != (count >= taps - 1)[:, None]).any():
        raise bundle.refusal("golden.npz: y is not finite where the delay line is full, or is where it is not")
    if (golden["reconstruction"] < 0).any():
        raise bundle.refusal("golden.npz: a reconstruction error is negative")
    _require_every_age(bundle, _ages_of(golden), count >= taps - 1)
    return golden


def _ages_of(golden: Arrays) -> Ages:
    """Return the age of each row [n]; 0 where the model does not depend on it."""
    return golden.get("ages", np.zeros(len(golden["samples"]), np.int64))


def _require_every_age(bundle: Bundle, ages: Ages, full: NDArray[np.bool_]) -> None:
    """Check that rows with a full window are of ages on both sides of every change of the model."""
    if ages.min() < 0 or ages.max() > OLDEST:
        raise bundle.refusal("golden.npz: an age is negative, or beyond all reason")
    passed = np.searchsorted(bundle.spec.age_changes, ages[full], "right")
    if set(passed.tolist()) != set(range(len(bundle.spec.age_changes) + 1)):
        raise bundle.refusal("golden.npz: its ages leave out a part of the model")


def run_golden(predictor: Runner, golden: Arrays, clock: Callable[[], float] = time.perf_counter) -> dict[str, Any]:
    """Step through the golden samples, forecast at the golden ticks, and look at code and reconstruction error.

    Returns ``y`` [n, ny], ``y_future`` [K, B, N, ny], ``code`` [M, Z], ``reconstruction`` [M], with a distribution
    ``futures`` [K, F, N, ny], and the seconds of each call: ``step_s``, ``forecast_s``.
    """
    samples, ages = golden["samples"], _ages_of(golden).tolist()
    starts, looks = set(golden["starts"].tolist()), set(golden["code_at"].tolist())
    at = {int(tick): plan for tick, plan in zip(golden["forecast_at"], golden["u_future"], strict=True)}
    steps = np.empty((len(samples), predictor.spec.n_outputs), np.float32)
    forecasts, codes, errors, seconds, forecast_seconds, futures = [], [], [], [], [], []
    for tick, (values, age) in enumerate(zip(samples, ages, strict=True)):
        if tick in starts:
            predictor.reset()
        begun = clock()
        y = predictor.step(values, age)
        seconds.append(clock() - begun)
        steps[tick] = y
        if tick in looks:
            codes.append(predictor.code.copy())
            errors.append(predictor.reconstruction_error)
        if tick in at:
            begun = clock()
            forecasts.append(predictor.forecast(at[tick]))
            forecast_seconds.append(clock() - begun)
            if predictor.spec.distribution:
                futures.append(predictor.sample_futures(at[tick][0], FUTURES, tick))
    predictor.reset()
    answers = {"y": steps, "y_future": np.stack(forecasts), "code": np.stack(codes), "reconstruction": errors}
    if futures:
        answers["futures"] = np.stack(futures)
    return {**answers, "step_s": seconds, "forecast_s": forecast_seconds}


def measure(predictor: Runner, backend: str, bundle: Bundle) -> Row:
    """Measure one row of the verification table. Raises BundleError where the golden trace is not one."""
    golden, bounds = golden_of(bundle), bundle.manifest.tolerance
    with np.errstate(all="ignore"):  # weights of any size; what is not finite is an infinite error
        found = run_golden(predictor, golden)
        errors = golden_errors(found, golden, bundle.spec)
    measured = {f"{name}_error": errors[name] for name in TOLERANCE}
    allowed = {f"{name}_tolerance": bounds[name] for name in TOLERANCE}
    times = {f"{name}_us": _median(found[f"{name}_s"]) * 1e6 for name in ("step", "forecast")}
    return Row(backend, **measured, **allowed, **times)


def _median(seconds: Iterable[float]) -> float:
    """Return the middle value: `numpy.median` loads masked arrays, 1.4 MB that no session needs."""
    ordered = sorted(seconds)
    middle = len(ordered) // 2
    return (ordered[middle] + ordered[~middle]) / 2


def golden_errors(found: Mapping[str, Any], golden: Arrays, spec: ModelSpec) -> dict[str, float]:
    """Compute the largest errors of what `run_golden` found, by the names of the table; see the arrays [..] there.

    Futures that spread widely amplify rounding as they do noise: they are compared in units of their spread.
    """
    ahead = [relative_error(found["y_future"], golden["y_future"], spec)]
    if "futures" in golden:
        spread = np.asarray(golden["futures"], np.float64).std(1, keepdims=True)
        ahead.append(relative_error(found["futures"], golden["futures"], spec, spread))
    return {
        "step": relative_error(found["y"], golden["y"], spec), "forecast": max(ahead), **code_errors(found, golden)
    }  # fmt: skip


def require_parity(predictor: Runner, backend: str, bundle: Bundle) -> None:
    """Check that the predictor reproduces the golden trace.

    Raises ParityError where it does not, BundleError where the trace is not one.
    """
    remedy = "try another backend (rtsysid verify shows all), or export again"
    measure(predictor, backend, bundle).require(f"bundle {bundle.folder}", remedy)
