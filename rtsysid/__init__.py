"""Learn a robot's dynamics from its logs and run the model beside the controller, sample by sample.

Importing this package loads neither torch nor onnxruntime; names are resolved on first use.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

# onnxruntime's wheels for Linux (seen in 1.32) start a thread that reports to its maker some 9 s after the import: a
# name look-up, three threads and, with locked memory, 24 MB in the middle of a live session. Read at its import.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__version__ = "0.1.0"

_HOMES = {
    "Bundle": "model.bundle",
    "Channel": "spec",
    "Deadline": "live.deadline",
    "ModelSpec": "spec",
    "Predictor": "model.predictor",
    "RtsysidError": "errors",
    "Sample": "spec",
    "Session": "live.session",
    "TappedDelayLine": "model.delayline",
    "Trace": "recordings.trace",
}
__all__ = [
    "Bundle",
    "Channel",
    "Deadline",
    "ModelSpec",
    "Predictor",
    "RtsysidError",
    "Sample",
    "Session",
    "TappedDelayLine",
    "Trace",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
