"""Predictor: run the model of a bundle next to the controller, with `step` and `forecast`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias, overload

import numpy as np

from rtsysid.errors import BackendError, BundleError, SpecError
from rtsysid.guards.ranges import Age, require
from rtsysid.model.backends import c_backend, onnx_backend
from rtsysid.model.backends.c_backend import CBackend
from rtsysid.model.backends.numpy_backend import NumpyBackend
from rtsysid.model.backends.onnx_backend import OnnxBackend
from rtsysid.model.backends.windowed import Ages
from rtsysid.model.bundle import Bundle
from rtsysid.model.golden import require_parity
from rtsysid.model.intervals import Intervals
from rtsysid.spec import Floats, ModelSpec

BackendName: TypeAlias = Literal["auto", "c", "onnx", "numpy"]
InnovationEnergy: TypeAlias = Callable[[], float]


class Forecast(NamedTuple):
    """Predicted outputs [N, ny] or [B, N, ny], and the interval of the requested coverage around each."""

    y: Floats
    lower: Floats
    upper: Floats


class Snapshot(NamedTuple):
    """All that a forecast starts from. Opaque to callers.

    ``window`` [L, C]; ``state`` [S] before the last step; ``age``: ticks from the newest measurement to the last
    sample. Of K stacked snapshots each field has one more axis: `stacked`.
    """

    window: Floats
    state: Floats
    age: Any  # int, or Ages [K]


class Backend(Protocol):
    """One implementation of the model for one robot, with its own delay line and state.

    Samples are [C], predictions [ny], the window [L, C], the state [S], plans [B, N, nu], forecasts [B, N, ny]. An age
    is in ticks since the newest measurement. The next step changes the arrays that it returns.
    """

    name: str
    y: Floats
    code: Floats
    age: int  # of the last sample

    @property
    def count(self) -> int: ...  # samples since the last reset
    @property
    def window(self) -> Floats: ...  # the last samples [L, C], oldest first
    @property
    def state_before(self) -> Floats: ...  # [S]
    @property
    def reconstruction_error(self) -> float: ...
    def reset(self) -> None: ...
    def step(self, values: Floats, age: int = 0) -> Floats: ...
    def innovation_energy(self, sample: Floats, weight: Floats) -> InnovationEnergy: ...
    def forecast(self, u_future: Floats) -> Floats: ...
    def rollout(self, window: Floats, state: Floats, age: Ages, u_future: Floats) -> Floats: ...


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

    @classmethod
    def load(cls, bundle: Bundle | Path | str, backend: BackendName = "auto", *, check: bool = True) -> Predictor:
        """Open a bundle and verify the backend on its golden trace, on this machine.

        "auto" loads the C library of a bundle that was exported on this machine alone; "c" loads any, and so runs code
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
        negative age.
        """
        if age:
            require("age", age, Age)
        return self.backend.step(values, age)

    def innovation_energy(self, sample: Floats, weight: Floats) -> InnovationEnergy:
        """Make a function that sums the squares of ``(measured - predicted) * weight``.

        Call it before the step with s_k, when `sample` [C] holds s_k; `weight` is [ny]. Both are kept, not copied.
        """
        return self.backend.innovation_energy(sample, weight)

    @overload
    def forecast(self, u_future: Any) -> Floats: ...
    @overload
    def forecast(self, u_future: Any, *, interval: float) -> Forecast: ...
    def forecast(self, u_future: Any, *, interval: float | None = None) -> Floats | Forecast:
        """Predict y_{k+1} .. y_{k+N} under planned inputs u_k .. u_{k+N-1}; s_k is the last sample stepped.

        Ages count up from that of s_k.

        [N, nu] -> [N, ny], or B plans in one call: [B, N, nu] -> [B, N, ny]. The state does not change. With
        `interval`, a coverage between 0 and 1, the result is a `Forecast`. Raises SpecError for another number of
        inputs, where the delay line is not full, and for a coverage or a horizon that the intervals do not support.
        """
        plans = self._plans(u_future)
        y = self.backend.forecast(plans)
        if np.ndim(u_future) == 2:
            y = y[0]
        if interval is None:
            return y
        if self.intervals is None:
            raise SpecError("intervals", "this bundle is not calibrated", "rtsysid calibrate BUNDLE TRACE...")
        half = self.intervals.half_widths(interval, y.shape[-2])
        return Forecast(y, y - half, y + half)

    def rollout(self, window: Floats, state: Floats, age: Ages, u_future: Floats) -> Floats:
        """Predict N ticks from B snapshots, each under its own plan [N, nu]: -> [B, N, ny].

        `window` [B, L, C], `state` [B, S] and `age` [B] are the fields of `stacked` snapshots, `u_future` is
        [B, N, nu]. The predictor's own state does not change.
        """
        return self.backend.rollout(window, state, age, u_future)

    def sample_futures(self, u_future: Any, count: int = 100, seed: int = 0) -> Floats:
        """Sample `count` forecasts of a variational model under one plan: [N, nu] -> [count, N, ny].

        Samples the code around its mean at every tick, in NumPy on every backend. The spread shows the uncertainty of
        the code, not that of the rest of the model. Raises SpecError where the model is not variational, and as
        `forecast` does.
        """
        if not self.spec.variational:
            raise SpecError("sample_futures", "the code is not variational", "train with model.variational = true")
        plan = self._plans(u_future)
        if len(plan) != 1 or count < 1:
            raise SpecError("sample_futures", f"{len(plan)} plans, {count} futures", "give one plan [N, nu]")
        starts = stacked([self.snapshot()] * count)
        return self._sampler.rollout(*starts, np.repeat(plan, count, 0), np.random.default_rng(seed))

    def _plans(self, u_future: Any) -> Floats:
        """Check plans and return them as [B, N, nu]."""
        plans = np.ascontiguousarray(u_future, np.float32)
        batch = plans[None] if plans.ndim == 2 else plans
        if batch.ndim != 3 or batch.shape[2] != self.spec.n_inputs or 0 in batch.shape[:2]:
            wanted = f"[N, {self.spec.n_inputs}] or [B, N, {self.spec.n_inputs}]"
            raise SpecError("u_future", f"shape {plans.shape}", f"give {wanted}")
        if self.backend.count < self.spec.taps:
            raise SpecError("forecast", f"{self.backend.count} of {self.spec.taps} samples", "step more samples first")
        return batch

    @cached_property
    def _sampler(self) -> NumpyBackend:
        if isinstance(self.backend, NumpyBackend):
            return self.backend
        if self.bundle is None:
            raise SpecError("sample_futures", "no bundle to take weights from", "use Predictor.load")
        return NumpyBackend(self.spec, self.bundle.arrays("weights.npz"))

    def snapshot(self) -> Snapshot:
        """Copy all that a forecast from the last sample starts from."""
        return Snapshot(self.backend.window.copy(), self.backend.state_before.copy(), self.backend.age)


def stacked(snapshots: Sequence[Snapshot]) -> Snapshot:
    """Stack K snapshots: window [K, L, C], state [K, S], age [K]. Raises ValueError where there is none."""
    return Snapshot(*(np.stack(part) for part in zip(*snapshots, strict=True)))


def backends_of(bundle: Bundle) -> tuple[str, ...]:
    """List the backends that this machine may run this bundle on, the preferred one first."""
    names = {
        "c": c_backend.library_of(bundle) is not None,
        "onnx": "step.onnx" in bundle.manifest.files and onnx_backend.available(),
        "numpy": True,
    }
    return tuple(name for name, runs in names.items() if runs)


def reason_against(bundle: Bundle, name: str) -> str:
    """Say why a backend is not loaded unless it is asked for; empty where nothing is against it."""
    if name == "c" and not bundle.trusted:
        return 'its C library was not exported on this machine; --backend c (backend="c" in Python) trusts and loads it'
    return ""


def load_backend(bundle: Bundle, name: BackendName = "auto") -> Backend:
    """Load a backend by name from the files of a bundle; "auto" takes the preferred one that loads on this machine.

    "auto" loads the C library of a bundle that was exported on this machine, and of no other; "c" loads any.
    Each backend that does not load is one logged line. Raises BackendError where the backend does not load here,
    BundleError where it is not in the bundle or is not what the specification says.
    """
    here = backends_of(bundle)
    if name == "auto":
        return _first_that_loads(bundle, here)
    if name not in here:
        raise BundleError(f"backend {name}", f"here this bundle runs on {', '.join(here)}", "choose one of those")
    return _loaded(bundle, name)


def _first_that_loads(bundle: Bundle, names: Sequence[str]) -> Backend:
    for name in names[:-1]:
        reason = reason_against(bundle, name)
        if not reason:
            try:
                return _loaded(bundle, name)
            except BackendError as error:
                reason = f"it does not load here ({error.found})"
        _log_once(f"bundle {bundle.folder}: backend {name} is passed over: {reason}")
    return _loaded(bundle, names[-1])


def _loaded(bundle: Bundle, name: str) -> Backend:
    if name == "numpy":
        return NumpyBackend(bundle.spec, bundle.arrays("weights.npz"))
    if name == "c":
        return CBackend(bundle.spec, bundle.content(str(c_backend.library_of(bundle))))
    names = ("step.onnx", "forecast.onnx", *(("initialiser.onnx",) if bundle.spec.state_init == "network" else ()))
    return OnnxBackend(bundle.spec, {name: bundle.content(name) for name in names})


@lru_cache(maxsize=1024)
def _log_once(line: str) -> None:
    logging.getLogger(__name__).warning(line)
