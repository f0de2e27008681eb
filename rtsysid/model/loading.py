"""Which backends of a bundle run on this machine, and which of them may: load one."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal, TypeAlias

from rtsysid.errors import BackendError, BundleError
from rtsysid.model.backends import c_backend
from rtsysid.model.backends.c_backend import CBackend
from rtsysid.model.backends.protocol import Backend
from rtsysid.model.bundle import Bundle
from rtsysid.model.manifest import graph_names

BackendName: TypeAlias = Literal["auto", "trusted", "c", "onnx", "numpy"]


def backends_of(bundle: Bundle) -> tuple[str, ...]:
    """List the backends that this machine may run this bundle on, the preferred one first."""
    names = {
        "c": c_backend.library_of(bundle) is not None,
        "onnx": "step.onnx" in bundle.manifest.files and onnx_runs_here(),
        "numpy": True,
    }
    return tuple(name for name, runs in names.items() if runs)


def onnx_runs_here() -> bool:
    """Tell whether onnxruntime is installed, without loading it."""
    return importlib.util.find_spec("onnxruntime") is not None


def reason_against(bundle: Bundle, name: str) -> str:
    """Say why a backend is not loaded unless it is asked for; empty where nothing is against it."""
    reason = bundle.maker.reason if name == "c" else ""
    return f"its C library is code, and {reason}" if reason else ""


def load_backend(bundle: Bundle, name: BackendName = "auto") -> Backend:
    """Load a backend by name from the files of a bundle; "auto" takes the preferred one that loads on this machine.

    "auto" loads the C library of a bundle that a trusted maker signed, and of no other. "trusted" is "auto" for a
    bundle whose maker the caller trusts; "c" loads any library. Each backend that does not load is one logged line.
    Raises BackendError where the backend does not load here, BundleError where it is not in the bundle or is not what
    the specification says.
    """
    here = backends_of(bundle)
    if name in ("auto", "trusted"):
        return _first_that_loads(bundle, here, name == "trusted")
    if name not in here:
        raise BundleError(f"backend {name}", f"here this bundle runs on {', '.join(here)}", "choose one of those")
    return _loaded(bundle, name)


def _first_that_loads(bundle: Bundle, names: Sequence[str], trusted: bool) -> Backend:
    for name in names[:-1]:
        reason = "" if trusted else reason_against(bundle, name)
        if not reason:
            try:
                return _loaded(bundle, name)
            except BackendError as error:
                reason = f"it does not load here ({error.found})"
        _log_once(f"bundle {bundle.folder}: backend {name} is passed over: {reason}")
    return _loaded(bundle, names[-1])


def _loaded(bundle: Bundle, name: str) -> Backend:
    """Load a backend by name; the module of no other one is imported, since each costs time and memory at the start."""
    if name == "numpy":
        from rtsysid.model.backends.numpy_backend import NumpyBackend

        return NumpyBackend(bundle.spec, bundle.arrays("weights.npz"))
    if name == "c":
        return CBackend(bundle.spec, bundle.content(str(c_backend.library_of(bundle))))
    from rtsysid.model.backends.onnx_backend import OnnxBackend

    graphs = {name: bundle.content(name) for name in graph_names(bundle.spec)}
    stretch = bundle.arrays("weights.npz")["spread.stretch"] if bundle.spec.distribution else None
    return OnnxBackend(bundle.spec, graphs, stretch)


@lru_cache(maxsize=1024)
def _log_once(line: str) -> None:
    logging.getLogger(__name__).warning(line)
