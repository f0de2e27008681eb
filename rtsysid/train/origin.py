"""Say what a run comes from: configuration, recordings and versions of the software."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import torch

from rtsysid.config import Config
from rtsysid.guards.release import VERSION


def origin(config: Config, sources: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Describe what a run comes from, as plain values: configuration with its stages, recordings and versions.

    `sources`: name and SHA-256 of each recording.
    """
    built = msgspec.to_builtins(msgspec.structs.replace(config, stage=config.stages))
    return {"config": built, "sources": [list(source) for source in sources], "versions": versions()}


def versions() -> dict[str, str]:
    """Return the versions of the software; other versions may change the last bits of a result."""
    return {
        "rtsysid": VERSION,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": np.__version__,
    }
