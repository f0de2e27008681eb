"""Learn a robot's dynamics from its logs and run the model next to the controller, sample by sample.

Importing this package loads neither torch nor onnxruntime; names are resolved on first use.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from rtsysid.guards.release import VERSION

# onnxruntime's wheels for Linux (seen in 1.32) start a thread that reports to its maker some 9 s after the import: a
# name look-up, three threads and, with locked memory, 24 MB in the middle of a live session. Read at its import.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__version__ = VERSION

_HOMES = {
    "api": ("Model", "export_run", "fit", "load"),
    "model.bundle": ("Bundle",),
    "model.delayline": ("TappedDelayLine",),
    "model.predictor": ("Forecast", "Predictor"),
    "alignment.aligner": ("Aligner",),
    "live.deadline": ("Deadline",),
    "live.novelty": ("Novelty",),
    "live.replay": ("replay",),
    "live.session": ("Prediction", "Session"),
    "evaluation.horizon": ("evaluate",),
    "recordings.trace": ("Trace",),
    "spec": ("Channel", "ModelSpec", "Sample"),
    "errors": (
        "BundleError",
        "ConfigError",
        "DeadlineError",
        "LinkError",
        "ParityError",
        "RtsysidError",
        "ScheduleError",
        "SpecError",
        "StorageError",
        "TraceError",
    ),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

if TYPE_CHECKING:
    from rtsysid.alignment.aligner import Aligner
    from rtsysid.api import Model, export_run, fit, load
    from rtsysid.errors import (
        BundleError,
        ConfigError,
        DeadlineError,
        LinkError,
        ParityError,
        RtsysidError,
        ScheduleError,
        SpecError,
        StorageError,
        TraceError,
    )
    from rtsysid.evaluation.horizon import evaluate
    from rtsysid.live.deadline import Deadline
    from rtsysid.live.novelty import Novelty
    from rtsysid.live.replay import replay
    from rtsysid.live.session import Prediction, Session
    from rtsysid.model.bundle import Bundle
    from rtsysid.model.delayline import TappedDelayLine
    from rtsysid.model.predictor import Forecast, Predictor
    from rtsysid.recordings.trace import Trace
    from rtsysid.spec import Channel, ModelSpec, Sample

__all__ = [
    "Aligner",
    "Bundle",
    "BundleError",
    "Channel",
    "ConfigError",
    "Deadline",
    "DeadlineError",
    "Forecast",
    "LinkError",
    "Model",
    "ModelSpec",
    "Novelty",
    "ParityError",
    "Prediction",
    "Predictor",
    "RtsysidError",
    "Sample",
    "ScheduleError",
    "Session",
    "SpecError",
    "StorageError",
    "TappedDelayLine",
    "Trace",
    "TraceError",
    "evaluate",
    "export_run",
    "fit",
    "load",
    "replay",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
