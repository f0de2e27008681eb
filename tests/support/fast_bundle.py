"""A bundle for a fast robot: the tiny model at 500 Hz, hardly trained."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from support.robots import TINY, plant

from export.bundle import export
from rtsysid.config import parse_config
from rtsysid.model.bundle import Bundle
from rtsysid.recordings.trace import Episode, Trace
from rtsysid.train.fit import begin

RATE_HZ = 500.0


def make_fast_bundle(folder: Path) -> Bundle:
    """Train and export it into a folder."""
    text = TINY.replace("rate_hz = 50", f"rate_hz = {RATE_HZ:g}").replace("epochs = 3", "epochs = 1")
    episodes = (Episode(e.name, np.arange(len(e)) / RATE_HZ, e.values) for e in plant(2).episodes)
    config = parse_config(text)
    for _ in begin(config, Trace(config.data.channels, tuple(episodes)), folder / "run", text).epochs():
        pass
    return export(folder / "run", folder / "bundle", ("c",))[0]
