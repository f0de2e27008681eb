"""Learn a robot's dynamics from its logs and run the model beside the controller, sample by sample.

Importing this package loads neither torch nor onnxruntime; names are resolved on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "Bundle": "bundle",
    "Channel": "spec",
    "Deadline": "deadline",
    "ModelSpec": "spec",
    "Predictor": "predictor",
    "RtsysidError": "errors",
    "Sample": "spec",
    "Session": "session",
    "TappedDelayLine": "delayline",
    "Trace": "trace",
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
