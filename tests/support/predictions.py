"""Predictions for tests of their files and of their comparison."""

from __future__ import annotations

import numpy as np

from rtsysid.live.session import Prediction, Status
from rtsysid.spec import Channel

OUTPUTS = (Channel("x", "m"), Channel("roll, pitch", "rad"))
SUFFIXES = (".csv", ".csv.gz", ".npz", ".CSV", ".NPZ")


def prediction(t: float, *y: float, status: Status = "ok") -> Prediction:
    return Prediction(t, np.array(y, np.float32), status, (status,))
