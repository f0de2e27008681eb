"""Predictor: a bundle as `step` and `forecast`, beside the controller."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias, overload

import numpy as np

from rtsysid.errors import BundleError, SpecError
from rtsysid.model.backends import c_backend, onnx_backend
from rtsysid.model.backends.c_backend import CBackend
from rtsysid.model.backends.numpy_backend import NumpyBackend
from rtsysid.model.backends.onnx_backend import OnnxBackend
from rtsysid.model.bundle import Bundle
from rtsysid.model.intervals import Intervals
from rtsysid.spec import Floats, ModelSpec

BackendName: TypeAlias = Literal["auto", "c", "onnx", "numpy"]
InnovationEnergy: TypeAlias = Callable[[], float]


class Forecast(NamedTuple):
    """Outputs [N, ny] or [B, N, ny], and the interval that each of them lies in with the coverage asked for."""

    y: Floats
    lower: Floats
    upper: Floats


class Backend(Protocol):
    """One implementation of the model for one robot: delay line and state are its own.

    Arrays it returns change with the next step.
    """

    name: str
    y: Floats
    code: Floats

    @property
    def count(self) -> int: ...  # samples since the last reset
    @property
    def window(self) -> Floats: ...  # the last samples [L, C], oldest first
    @property
    def state_before(self) -> tuple[Floats, Floats]: ...
    @property
    def reconstruction_error(self) -> float: ...
    def reset(self) -> None: ...
    def step(self, values: Floats) -> Floats: ...
    def innovation_energy(self, sample: Floats, weight: Floats) -> InnovationEnergy: ...
    def forecast(self, u_future: Floats) -> Floats: ...
    def rollout(self, window: Floats, h: Floats, c: Floats, u_future: Floats) -> Floats: ...


class Predictor:
    """One robot's model, on one backend.

    `step` pushes s_k = [u_k, y_k] and predicts y_{k+1}. `forecast` asks what would follow if from tick k on the given
    inputs were applied: it starts from the state before the last step and puts u_future[0] in the place of u_k.

    ``settled``: samples after a reset from which on the predictor is ready.
    """

    def __init__(
        self, spec: ModelSpec, backend: Backend, intervals: Intervals | None = None, bundle: Bundle | None = None
    ) -> None:
        self.spec, self.backend, self.intervals, self.bundle = spec, backend, intervals, bundle
        self.settling_samples = spec.taps + (spec.warmup if spec.state_init == "warmup" else 0)

    @classmethod
    def load(cls, bundle: Bundle | Path | str, backend: BackendName = "auto", *, check: bool = True) -> Predictor:
        """Open a bundle and prove the backend on its golden trace, here, on this machine.

        Raises BundleError where a file is not the one that was verified, ParityError where the backend's outputs are
        off by more than the bundle's tolerance. `check=False` leaves the golden trace out (a few milliseconds).
        """
        bundle = bundle if isinstance(bundle, Bundle) else Bundle.open(bundle)
        predictor = cls(bundle.spec, load_backend(bundle, backend), Intervals.of(bundle), bundle)
        if check:
            from rtsysid.model.parity import require_parity

            require_parity(predictor, bundle)
        return predictor

    @property
    def ready(self) -> bool:
        """Whether the delay line is full and the warm-up, where the model has one, is over."""
        return self.backend.count >= self.settling_samples

    @property
    def y(self) -> Floats:
        """The last prediction [ny]; overwritten by the next step."""
        return self.backend.y

    @property
    def code(self) -> Floats:
        """The encoder's output for the last window, [Z]; overwritten by the next step."""
        return self.backend.code

    @property
    def reconstruction_error(self) -> float:
        """How badly the code describes the last window: its mean squared error in scaled units."""
        return self.backend.reconstruction_error

    def reset(self) -> None:
        """Forget every sample and the state."""
        self.backend.reset()

    def step(self, values: Floats) -> Floats:
        """Push one sample [C] in engineering units; y at the next tick [ny], overwritten by the next step.

        NaN until the delay line is full.
        """
        return self.backend.step(values)

    def innovation_energy(self, sample: Floats, weight: Floats) -> InnovationEnergy:
        """A function that sums the squares of ``(measured - predicted) * weight``.

        `sample` [C] is to hold s_k when it is called, before the step with it; `weight` is [ny]. Both are kept, not
        copied.
        """
        return self.backend.innovation_energy(sample, weight)

    @overload
    def forecast(self, u_future: Any) -> Floats: ...
    @overload
    def forecast(self, u_future: Any, *, interval: float) -> Forecast: ...
    def forecast(self, u_future: Any, *, interval: float | None = None) -> Floats | Forecast:
        """Outputs y_{k+1} .. y_{k+N} under planned inputs u_k .. u_{k+N-1}; s_k is the last sample stepped.

        [N, nu] -> [N, ny], or B plans at once: [B, N, nu] -> [B, N, ny]. The state is not changed. With `interval`, a
        coverage between 0 and 1, the answer is a `Forecast`. Raises SpecError for another number of inputs, where the
        delay line is not full, and for a coverage or a horizon that the bundle's intervals do not support.
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

    def sample_futures(self, u_future: Any, count: int = 100, seed: int = 0) -> Floats:
        """Futures that a variational model holds for possible under one plan: [N, nu] -> [count, N, ny].

        At every tick the code is drawn anew around its mean, in NumPy whatever the backend. Futures differ by what
        the code does not know; what it could not learn at all is not among them. Raises SpecError where the model is
        not variational, or as `forecast` does.
        """
        if not self.spec.variational:
            raise SpecError("sample_futures", "the code is not variational", "train with model.variational = true")
        plan = self._plans(u_future)
        if len(plan) != 1 or count < 1:
            raise SpecError("sample_futures", f"{len(plan)} plans, {count} futures", "give one plan [N, nu]")
        window, h, c = (np.repeat(part[None], count, 0) for part in self.snapshot())
        return self._sampler.rollout(window, h, c, np.repeat(plan, count, 0), np.random.default_rng(seed))

    def _plans(self, u_future: Any) -> Floats:
        """Checked plans [B, N, nu]."""
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

    def snapshot(self) -> tuple[Floats, Floats, Floats]:
        """Copies of window [L, C] and of the state h, c [H] before the last step: all that a forecast starts from."""
        h, c = self.backend.state_before
        return self.backend.window.copy(), h.copy(), c.copy()


def backends_of(bundle: Bundle) -> tuple[str, ...]:
    """Names of the backends that this machine can run this bundle with, the preferred one first."""
    names = {
        "c": c_backend.library_of(bundle) is not None,
        "onnx": "step.onnx" in bundle.manifest["files"] and onnx_backend.available(),
        "numpy": True,
    }
    return tuple(name for name, runs in names.items() if runs)


def load_backend(bundle: Bundle, name: BackendName = "auto") -> Backend:
    """The named backend on the files of a bundle; "auto" takes the preferred one of this machine."""
    here = backends_of(bundle)
    chosen = here[0] if name == "auto" else name
    if chosen not in here:
        raise BundleError(f"backend {name}", f"here this bundle runs on {', '.join(here)}", "choose one of those")
    if chosen == "numpy":
        return NumpyBackend(bundle.spec, bundle.arrays("weights.npz"))
    if chosen == "c":
        return CBackend(bundle.spec, bundle.verified(str(c_backend.library_of(bundle))))
    initialiser = bundle.path("initialiser.onnx") if bundle.spec.state_init == "network" else None
    return OnnxBackend(bundle.spec, bundle.path("step.onnx"), bundle.path("forecast.onnx"), initialiser)
