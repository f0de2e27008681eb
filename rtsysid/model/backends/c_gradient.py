"""Gradients of forecasts in the generated C: `export/c/control.h`."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from rtsysid.errors import SpecError
from rtsysid.guards.limits import limit
from rtsysid.model.backends.protocol import Snapshot
from rtsysid.model.c_layout import LANES
from rtsysid.spec import Floats, ModelSpec

FUNCTIONS = ("model_keep_from", "model_gradient", "model_gradient_plans", "model_jacobian", "model_linearise")


class _KeptForecast(ctypes.Structure):
    """The structure `model_kept` of control.h."""

    _fields_ = (
        ("longest", ctypes.c_uint32),
        ("ticks", ctypes.c_uint32),
        ("age", ctypes.c_uint32),
        ("room", ctypes.c_void_p),
    )

    def place(self, room: Floats, ticks: int) -> None:
        """Put it into memory, which stays alive with it, for horizons of `ticks`."""
        self.owned, self.longest, self.room = room, ticks, room.ctypes.data


class _Room(threading.local):
    """The memory of one thread, made for the longest horizon so far."""

    def __init__(self) -> None:
        self.room: Floats = np.empty(0, np.float32)
        self.kept: Any = _KeptForecast()


class CGradients:
    """Differentiate forecasts in a library that has model-control.c. Arrays as in `Gradients`."""

    def __init__(self, library: Any, spec: ModelSpec) -> None:
        self._library, self._spec, self._own = library, spec, _Room()
        self._fixed, self._tick = (
            ctypes.c_uint32.in_dll(library, f"model_kept_{part}").value for part in ("fixed", "tick")
        )

    def gradient(self, start: Snapshot, u: Floats, dy: Floats) -> Floats:
        """Take the derivative of a cost by each forecast back to each input: u [B, N, nu], dy [B, N, ny] -> du.

        Raises SpecError for a horizon that needs too much memory.
        """
        plans, ticks, _ = u.shape
        if plans == 1:
            return self.vjp(start, u[0])[1](dy[0])[None]
        du, dy = np.empty_like(u), np.ascontiguousarray(dy, np.float32)
        sizes = ctypes.c_uint32(plans), ctypes.c_uint32(ticks)
        self._library.model_gradient_plans(
            self._kept(ticks, LANES), *_pointers(start), _pointer_to(u), _pointer_to(dy), *sizes, _pointer_to(du)
        )
        return du

    def vjp(self, start: Snapshot, u: Floats) -> tuple[Floats, Callable[[Floats], Floats]]:
        """Predict under a plan [N, nu], and return the function from dy [N, ny] to du [N, nu].

        It keeps memory of its own. Raises SpecError for a horizon that needs too much.
        """
        ticks = len(u)
        y, kept = np.empty((ticks, self._spec.n_outputs), np.float32), _KeptForecast()
        kept.place(np.empty(self._floats(ticks, 1), np.float32), ticks)
        place = ctypes.byref(kept)
        self._library.model_keep_from(place, *_pointers(start), _pointer_to(u), ctypes.c_uint32(ticks), _pointer_to(y))

        def back(dy: Floats) -> Floats:
            du, costs = np.empty_like(u), np.ascontiguousarray(dy, np.float32)
            self._library.model_gradient(place, _pointer_to(costs), _pointer_to(du))
            return du

        return y, back

    def jacobian(self, start: Snapshot, u: Floats) -> Floats:
        """Differentiate each output of a forecast by each input: a plan [N, nu] -> [N, ny, N, nu].

        Raises SpecError for a horizon that needs too much memory.
        """
        ticks = len(u)
        jacobian = np.empty((ticks, self._spec.n_outputs, *u.shape), np.float32)
        kept = self._kept(ticks, LANES)
        self._library.model_jacobian(
            kept, *_pointers(start), _pointer_to(u), ctypes.c_uint32(ticks), _pointer_to(jacobian)
        )
        return jacobian

    def one_tick(self, start: Snapshot) -> tuple[Floats, Floats]:
        """Differentiate the next outputs, then the next state, by the window and the state.

        Returns arrays [ny + S, L, C] and [ny + S, S]. Raises SpecError where they need too much memory.
        """
        rows = self._spec.n_outputs + len(start.state)
        of_window = np.empty((rows, *start.window.shape), np.float32)
        of_state = np.empty((rows, len(start.state)), np.float32)
        self._library.model_linearise(
            self._kept(1, LANES), *_pointers(start), _pointer_to(of_window), _pointer_to(of_state)
        )
        return of_window, of_state

    def _kept(self, ticks: int, lanes: int) -> Any:
        """Return this thread's memory for horizons of `ticks` in all lanes."""
        own, needed = self._own, self._floats(ticks, lanes)
        if needed > own.room.size:
            own.room = np.empty(needed, np.float32)
        own.kept.place(own.room, ticks)
        return ctypes.byref(own.kept)

    def _floats(self, ticks: int, lanes: int) -> int:
        """Count the floats of memory for horizons of `ticks` in all lanes. Raises SpecError where they are too many."""
        needed = lanes * (self._fixed + self._tick * ticks)
        if 4 * needed > limit("model_bytes"):
            longest = (limit("model_bytes") // 4 // lanes - self._fixed) // self._tick
            raise SpecError("u_future", f"{ticks} ticks, and memory for a gradient ends at {longest}", "plan fewer")
        return needed


def has_gradients(library: Any) -> bool:
    """Tell whether a library was made with model-control.c; those of older bundles were not."""
    return all(hasattr(library, name) for name in FUNCTIONS)


def _pointers(start: Snapshot) -> tuple[Any, Any, Any]:
    return _pointer_to(start.window), _pointer_to(start.state), ctypes.c_uint32(start.age)


def _pointer_to(array: Floats) -> Any:
    return ctypes.c_void_p(array.ctypes.data)
