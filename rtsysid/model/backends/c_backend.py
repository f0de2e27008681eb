"""The generated C of a bundle, compiled: one call per step, with delay line and state in C.

A library is named after the machine that can run it, `model-x86_64-v3-linux.so`. It is loaded from the bytes that were
hashed, not from a file that could have changed since.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import tempfile
import threading
from collections.abc import Callable
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from rtsysid.errors import BackendError, BundleError
from rtsysid.model.backends.c_gradient import CGradients, has_gradients
from rtsysid.model.backends.windowed import Ages
from rtsysid.model.bundle import Bundle
from rtsysid.model.c_layout import state_bytes, state_type
from rtsysid.spec import Floats, ModelSpec

POINTER_BITS = {"x86_64": 64, "aarch64": 64, "armv7l": 32}  # the machines that libraries are made for
NARROW = {"aarch64": "armv7l", "armv8l": "armv7l"}  # what a process of 32 bits is on a kernel of 64

# Microarchitecture levels of the x86-64 psABI, the best first, by the flags that the kernel calls them.
LEVELS = {
    "x86_64-v4": {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"},
    "x86_64-v3": {"avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe"},
    "x86_64": set[str](),
}

# Where an ELF file lists its segments (offset, entry size, count), and where one lies (offset, size), by class.
ELF = {1: ("<28xI10xHH", "<4xI8xI"), 2: ("<32xQ14xHH", "<8xQ16xQ")}
FUNCTIONS = ("reset", "reconstruction_error", "forecast", "forecast_plans", "rollout", "step", "innovation")


class CBackend:
    """Run one robot's model in a compiled library; the arrays are views of the fields of its C struct.

    ``library``: the bytes of the shared library. Raises BackendError where it does not load on this machine,
    BundleError where it was generated from another specification.
    """

    name = "c"

    def __init__(self, spec: ModelSpec, library: bytes) -> None:
        self.spec = spec
        self._library = _load_library(library, spec)
        self.age = 0  # of the last sample, in ticks
        self._state = state_type(spec)()
        self._rooms = _Rooms(spec, _exported_uint32(self._library, "model_lanes_bytes"))
        self.gradients = CGradients(self._library, spec) if has_gradients(self._library) else None
        self._sample: Floats = np.zeros(spec.width, np.float32)
        self.y: Floats = np.ctypeslib.as_array(self._state.y)
        self.code: Floats = np.ctypeslib.as_array(self._state.seen)[: spec.code_size]
        self._state_before: Floats = np.ctypeslib.as_array(self._state.state_before)
        self._line: Floats = np.ctypeslib.as_array(self._state.line).reshape(2 * spec.taps, spec.width)
        # PyDLL does not release the GIL: releasing it costs more than a step. The arguments never change.
        self._quick = ctypes.PyDLL(None, handle=self._library._handle)
        step = self._quick.model_step
        step.restype = None
        self._step = partial(step, ctypes.byref(self._state), ctypes.c_void_p(self._sample.ctypes.data))
        if spec.age_changes:
            aged = self._quick.model_step_aged
            aged.restype, aged.argtypes = None, [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint32]
            self._aged = partial(aged, ctypes.byref(self._state), self._sample.ctypes.data)
        self.reset()

    @property
    def count(self) -> int:
        """Count the samples since the last reset."""
        return int(self._state.count)

    @property
    def window(self) -> Floats:
        """Return the last samples [L, C], oldest first; a view that the next step changes."""
        return self._line[self._state.next : self._state.next + self.spec.taps]

    @property
    def state_before(self) -> Floats:
        """Return the state [S] from before the last step: where a forecast starts."""
        return self._state_before

    @property
    def reconstruction_error(self) -> float:
        """Compute the mean squared difference between the last features and their decoded code, in scaled units."""
        return float(self._library.model_reconstruction_error(ctypes.byref(self._state)))

    def reset(self) -> None:
        """Forget every sample and the state."""
        self._library.model_reset(ctypes.byref(self._state))
        self.age = 0

    def restore(self, window: Floats, state: Floats, age: int, count: int) -> None:
        """Continue as after `count` samples: the last of them [L, C], and the state [S] before the last step."""
        self.reset()
        if count:
            taps = self.spec.taps
            self._line[:taps] = self._line[taps:] = window
            self._state.next, self._state.count = taps - 1, count - 1  # the newest row is written again
            np.ctypeslib.as_array(self._state.state)[:] = state
            self.step(window[-1], age)

    def step(self, values: Floats, age: int = 0) -> Floats:
        """Push one sample [C] of an age in ticks and predict y_{k+1} [ny]; NaN until the delay line is full.

        The next step overwrites the array.
        """
        self._sample[...] = values
        self.age = age
        if age and self.spec.age_changes:
            self._aged(age)
        else:
            self._step()
        return self.y

    def innovation_energy(self, sample: Floats, weight: Floats) -> Callable[[], float]:
        """Make a function that sums the squares of ``(sample's outputs - y) * weight`` [ny] when it is called."""
        innovation = self._quick.model_innovation
        innovation.restype = ctypes.c_float
        self._energy_arrays = sample, weight  # keep them alive: the C holds their addresses
        return partial(innovation, ctypes.byref(self._state), _float_pointer(sample), _float_pointer(weight))

    def forecast(self, u_future: Floats) -> Floats:
        """Predict what follows the last step under B plans: [B, N, nu] -> [B, N, ny]. The state does not change."""
        plans, ticks, _ = u_future.shape
        y = np.empty((plans, ticks, self.spec.n_outputs), np.float32)
        state, u, out = ctypes.byref(self._state), _float_pointer(u_future), _float_pointer(y)
        if plans == 1:
            self._library.model_forecast(state, ctypes.byref(self._rooms.scratch), u, ticks, out)
        else:
            self._library.model_forecast_plans(state, self._rooms.lanes, u, plans, ticks, out)
        return y

    def rollout(self, window: Floats, state: Floats, age: Ages, u_future: Floats) -> Floats:
        """Predict N ticks with predictions fed back: [B, L, C], [B, S], ages [B], [B, N, nu] -> [B, N, ny]."""
        plans, ticks, _ = u_future.shape
        y, ages = np.empty((plans, ticks, self.spec.n_outputs), np.float32), np.ascontiguousarray(age, np.uint32)
        arrays = [np.ascontiguousarray(part, np.float32) for part in (window, state, u_future)]
        windows, states, u = map(_float_pointer, arrays)
        # A library that was made before models had ages takes one argument less, and does not see the last one.
        self._library.model_rollout(
            self._rooms.lanes, windows, states, 0, u, plans, ticks, _float_pointer(y), ctypes.c_void_p(ages.ctypes.data)
        )
        return y

    def sample(self, u_future: Floats, first: int, count: int, seed: int) -> Floats:
        """Sample what follows the last step under a plan: [N, nu] -> [count, N, ny], futures from number `first` on."""
        plan = np.ascontiguousarray(u_future, np.float32)
        y = np.empty((count, len(plan), self.spec.n_outputs), np.float32)
        state, u, out = ctypes.byref(self._state), _float_pointer(plan), _float_pointer(y)
        self._library.model_sample(state, self._rooms.lanes, u, first, count, seed, len(plan), out)
        return y


class _Rooms(threading.local):
    """Memory of forecasts, of its own in each thread: forecasts release the GIL."""

    def __init__(self, spec: ModelSpec, lanes_bytes: int) -> None:
        self.scratch, self.lanes = state_type(spec)(), ctypes.create_string_buffer(lanes_bytes)


@lru_cache(maxsize=1)
def machines() -> tuple[str, ...]:
    """List the machines whose libraries run here, the best first; empty where this is not Linux, or is none of them."""
    machine, bits = platform.machine(), 8 * struct.calcsize("P")  # the width of this process, not of the kernel
    if bits == 32:
        machine = NARROW.get(machine, machine)
    if platform.system() != "Linux" or POINTER_BITS.get(machine) != bits:
        return ()
    if machine != "x86_64":
        return (machine,)
    flags = _processor_flags()
    needed: dict[str, set[str]] = {"x86_64-v4": LEVELS["x86_64-v4"] | LEVELS["x86_64-v3"]}
    return tuple(name for name in LEVELS if needed.get(name, LEVELS[name]) <= flags)


def _processor_flags() -> set[str]:
    """Return what the processor can do, as the kernel calls it; nothing where /proc is not mounted."""
    try:
        return set(Path("/proc/cpuinfo").read_text().partition("\nflags")[2].partition("\n")[0].split())
    except OSError:
        return set()


def library_name(machine: str) -> str:
    """Name the file of a bundle that holds the library for a machine."""
    return f"model-{machine}-linux.so"


def library_of(bundle: Bundle) -> str | None:
    """Find the file of the bundle with the best library for this machine; None where it has none."""
    names = (library_name(machine) for machine in machines())
    return next((name for name in names if name in bundle.manifest.files), None)


def _load_library(content: bytes, spec: ModelSpec) -> Any:
    """Load a library with the signatures of model.h. Raises BundleError where it is of another specification."""
    remedy = "use another backend, or export again"
    try:
        library = _library_from(content)
    except OSError as error:
        raise BackendError("C library", str(error).partition(": ")[2] or "it does not load", remedy) from None
    try:
        found = bytes((ctypes.c_char * 17).in_dll(library, "model_fingerprint")).rstrip(b"\0").decode()
        size, _ = (_exported_uint32(library, f"model_{name}_bytes") for name in ("state", "lanes"))
        chosen = (*(["step_aged"] if spec.age_changes else []), *(["sample"] if spec.distribution else []))
        for name in (*FUNCTIONS, *chosen):
            getattr(library, f"model_{name}")
    except (ValueError, AttributeError) as error:
        raise BundleError("C library", str(error), remedy) from None
    if found != spec.fingerprint or size != state_bytes(spec):
        raise BundleError("C library", f"fingerprint {found}, not {spec.fingerprint}", "export again")
    pointer, count = ctypes.c_void_p, ctypes.c_uint32
    library.model_reset.argtypes = library.model_reconstruction_error.argtypes = [pointer]
    library.model_forecast.argtypes = [pointer, pointer, pointer, count, pointer]
    library.model_forecast_plans.argtypes = [pointer, pointer, pointer, count, count, pointer]
    library.model_rollout.argtypes = [*[pointer] * 3, ctypes.c_int, pointer, count, count, pointer, pointer]
    if spec.distribution:
        library.model_sample.argtypes = [pointer, pointer, pointer, count, count, ctypes.c_uint64, count, pointer]
        library.model_sample.restype = None
    for name in ("model_reset", "model_forecast", "model_forecast_plans", "model_rollout"):
        getattr(library, name).restype = None
    library.model_reconstruction_error.restype = ctypes.c_float
    return library


@cache
def _library_from(content: bytes) -> ctypes.CDLL:
    """Load a library from these bytes, once for each process. Raises OSError where it does not load.

    A file in memory serves on a machine whose disks are mounted noexec; without /proc it has no name, and a file of
    this user's own has to do. The loader knows libraries by their names: the descriptor stays open, so that no other
    file takes its name.
    """
    _require_whole(content)
    try:
        descriptor = os.memfd_create("model")
        try:
            _write_all(descriptor, content)
            return ctypes.CDLL(f"/proc/self/fd/{descriptor}")
        except OSError:
            os.close(descriptor)
            raise
    except (OSError, AttributeError):  # no /proc, or no files in memory here
        with tempfile.TemporaryDirectory(prefix="rtsysid-") as folder:
            path = Path(folder) / "model.so"
            path.write_bytes(content)
            return ctypes.CDLL(str(path))


def _require_whole(content: bytes) -> None:
    """Raise OSError where a library is cut off: the loader would map what is not there, and end the process there."""
    if content[:4] != b"\x7fELF" or content[4:5] not in (b"\1", b"\2"):
        return  # the loader says what it is
    header, segment = ELF[content[4]]
    try:
        start, size, count = struct.unpack_from(header, content)
        ends = [sum(struct.unpack_from(segment, content, start + k * size)) for k in range(count)]
    except struct.error:
        ends = [len(content) + 1]
    if max(ends, default=0) > len(content):
        raise OSError("library: it is cut off")


def _write_all(descriptor: int, content: bytes) -> None:
    with os.fdopen(os.dup(descriptor), "wb") as stream:
        stream.write(content)


def _exported_uint32(library: Any, name: str) -> int:
    return ctypes.c_uint32.in_dll(library, name).value


def _float_pointer(array: Floats) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)
