"""The generated C of a bundle, compiled: one call of a few microseconds per step, delay line and state in C.

A library is named after the machine that can run it, `model-x86_64-v3-linux.so`. Its bytes are checked against the
manifest right before it is loaded.
"""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from rtsysid.errors import BundleError
from rtsysid.model.backends.windowed import weighted_squares
from rtsysid.model.bundle import Bundle
from rtsysid.spec import Floats, ModelSpec

TILE = 16  # rows of a tile of weights, as in export/c/kernels.c
INITIALISER_WIDTH = 64  # as in rtsysid.train.network, which the runtime does not import

# Microarchitecture levels of the x86-64 psABI, the best first, by the flags that the kernel calls them.
LEVELS = {
    "x86_64-v4": {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"},
    "x86_64-v3": {"avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe"},
    "x86_64": set[str](),
}


class CBackend:
    """One robot in a C struct that this object owns; arrays are views of its fields."""

    name = "c"

    def __init__(self, spec: ModelSpec, library: Path) -> None:
        self.spec = spec
        self._library = _load(library, spec)
        self._state, self._scratch = state_type(spec)(), state_type(spec)()
        self._lanes = ctypes.create_string_buffer(_number(self._library, "model_lanes_bytes"))
        self._sample: Floats = np.zeros(spec.width, np.float32)
        self.y: Floats = np.ctypeslib.as_array(self._state.y)
        self.code: Floats = np.ctypeslib.as_array(self._state.seen)[: spec.code_size]
        self._h: Floats = np.ctypeslib.as_array(self._state.seen)[spec.code_size :]
        self._c: Floats = np.ctypeslib.as_array(self._state.c_before)
        self._line: Floats = np.ctypeslib.as_array(self._state.line).reshape(2 * spec.taps, spec.width)
        # A step is shorter than handing the interpreter lock over: PyDLL keeps it. Its arguments never change.
        self._quick = ctypes.PyDLL(str(library))
        step = self._quick.model_step
        step.restype = None
        self._step = partial(step, ctypes.byref(self._state), ctypes.c_void_p(self._sample.ctypes.data))
        self.reset()

    @property
    def count(self) -> int:
        """Samples since the last reset."""
        return int(self._state.count)

    @property
    def window(self) -> Floats:
        """The last samples [L, C], oldest first; a view that the next step changes."""
        return self._line[self._state.next : self._state.next + self.spec.taps]

    @property
    def state_before(self) -> tuple[Floats, Floats]:
        """h and c [H] from before the last step: where a forecast starts."""
        return self._h, self._c

    @property
    def reconstruction_error(self) -> float:
        """Mean squared difference between the last features and their decoded code; computed when asked."""
        return float(self._library.model_reconstruction_error(ctypes.byref(self._state)))

    def reset(self) -> None:
        """Forget every sample and the state."""
        self._library.model_reset(ctypes.byref(self._state))

    def step(self, values: Floats) -> Floats:
        """Push one sample [C] and predict y_{k+1} [ny], overwritten by the next step; NaN until the line is full."""
        self._sample[...] = values
        self._step()
        return self.y

    def innovation_energy(self, sample: Floats, weight: Floats) -> Callable[[], float]:
        """A function that sums the squares of ``(sample's outputs - y) * weight`` [ny], whatever these hold then."""
        innovation = getattr(self._quick, "model_innovation", None)
        if innovation is None:  # of a release before
            return weighted_squares(sample[self.spec.n_inputs :], self.y, weight)
        innovation.restype = ctypes.c_float
        self._energy_arrays = sample, weight  # C knows their addresses alone
        return partial(innovation, ctypes.byref(self._state), _pointer(sample), _pointer(weight))

    def forecast(self, u_future: Floats) -> Floats:
        """What follows the last step under B plans [B, N, nu] -> [B, N, ny]; the state is not changed."""
        plans, ticks, _ = u_future.shape
        y = np.empty((plans, ticks, self.spec.n_outputs), np.float32)
        state, u, out = ctypes.byref(self._state), _pointer(u_future), _pointer(y)
        if plans == 1:
            self._library.model_forecast(state, ctypes.byref(self._scratch), u, ticks, out)
        else:
            self._library.model_forecast_plans(state, self._lanes, u, plans, ticks, out)
        return y

    def rollout(self, window: Floats, h: Floats, c: Floats, u_future: Floats) -> Floats:
        """N ticks with predictions fed back: [B, L, C], 2 x [B, H], [B, N, nu] -> [B, N, ny]."""
        plans, ticks, _ = u_future.shape
        y = np.empty((plans, ticks, self.spec.n_outputs), np.float32)
        starts = [np.ascontiguousarray(part, np.float32) for part in (window, h, c, u_future)]
        w, h_, c_, u = map(_pointer, starts)
        self._library.model_rollout(self._lanes, w, h_, c_, 0, u, plans, ticks, _pointer(y))
        return y


@lru_cache(maxsize=1)
def machines() -> tuple[str, ...]:
    """Names of the machines whose libraries run here, the best first; none where it is not Linux."""
    machine = platform.machine()
    if platform.system() != "Linux":
        return ()
    if machine != "x86_64":
        return (machine,)
    flags = set(Path("/proc/cpuinfo").read_text().partition("\nflags")[2].partition("\n")[0].split())
    needed: dict[str, set[str]] = {"x86_64-v4": LEVELS["x86_64-v4"] | LEVELS["x86_64-v3"]}
    return tuple(name for name in LEVELS if needed.get(name, LEVELS[name]) <= flags)


def library_name(machine: str) -> str:
    """File of a bundle that holds the library for a machine."""
    return f"model-{machine}-linux.so"


def library_of(bundle: Bundle) -> str | None:
    """File of the bundle with the best library for this machine, if it has one."""
    names = (library_name(machine) for machine in machines())
    return next((name for name in names if name in bundle.manifest["files"]), None)


def _load(path: Path, spec: ModelSpec) -> Any:
    """The library with the signatures of model.h; refused where it was generated from another specification."""
    try:
        library = ctypes.CDLL(str(path))
        found = bytes((ctypes.c_char * 17).in_dll(library, "model_fingerprint")).rstrip(b"\0").decode()
        size = _number(library, "model_state_bytes")
    except (OSError, ValueError) as error:
        raise BundleError(f"library {path.name}", str(error), "use another backend, or export again") from None
    if found != spec.fingerprint or size != ctypes.sizeof(state_type(spec)):
        raise BundleError(f"library {path.name}", f"fingerprint {found}, not {spec.fingerprint}", "export again")
    pointer, count = ctypes.c_void_p, ctypes.c_uint32
    library.model_reset.argtypes = library.model_reconstruction_error.argtypes = [pointer]
    library.model_forecast.argtypes = [pointer, pointer, pointer, count, pointer]
    library.model_forecast_plans.argtypes = [pointer, pointer, pointer, count, count, pointer]
    library.model_rollout.argtypes = [*[pointer] * 4, ctypes.c_int, pointer, count, count, pointer]
    for name in ("model_reset", "model_forecast", "model_forecast_plans", "model_rollout"):
        getattr(library, name).restype = None
    library.model_reconstruction_error.restype = ctypes.c_float
    return library


@lru_cache(maxsize=8)
def state_type(spec: ModelSpec) -> Any:
    """`model_state` of model.h."""
    floats = {
        "line": 2 * spec.taps * spec.width,
        "seen": spec.code_size + spec.hidden,
        "h": spec.hidden,
        "c_before": spec.hidden,
        "c": spec.hidden,
        "y": spec.n_outputs,
        "target": 2 * padded(spec.n_targets),
        "work": 2 * widest(spec),
    }
    fields: list[tuple[str, Any]] = [("count", ctypes.c_uint32), ("next", ctypes.c_uint32)]
    fields += [(name, ctypes.c_float * size) for name, size in floats.items()]
    return type("State", (ctypes.Structure,), {"_fields_": fields})


def widest(spec: ModelSpec) -> int:
    """Most values that any layer reads or writes, in whole tiles."""
    learned = INITIALISER_WIDTH if spec.state_init == "network" else 0
    return padded(max(spec.window_size, 4 * spec.hidden, learned, *spec.encoder))


def padded(rows: int) -> int:
    """Rows of a matrix in whole tiles."""
    return -(-rows // TILE) * TILE


def _number(library: Any, name: str) -> int:
    return ctypes.c_uint32.in_dll(library, name).value


def _pointer(array: Floats) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)
