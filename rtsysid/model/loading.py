"""Which backends of a bundle run on this machine, and which of them may: load one."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal, TypeAlias

from rtsysid.errors import BackendError, BundleError
from rtsysid.model.backends import c_backend, onnx_backend
from rtsysid.model.backends.c_backend import CBackend
from rtsysid.model.backends.numpy_backend import NumpyBackend
from rtsysid.model.backends.onnx_backend import OnnxBackend
from rtsysid.model.backends.protocol import Backend
from rtsysid.model.bundle import Bundle
from rtsysid.model.manifest import graph_names

BackendName: TypeAlias = Literal["auto", "c", "onnx", "numpy"]


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
    return OnnxBackend(bundle.spec, {name: bundle.content(name) for name in graph_names(bundle.spec)})


@lru_cache(maxsize=1024)
def _log_once(line: str) -> None:
    logging.getLogger(__name__).warning(line)
