"""Hold the subject of a study: a model, and recordings that it was not trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rtsysid.model.bundle import Bundle
from rtsysid.recordings.trace import Episode


@dataclass(frozen=True, eq=False)
class Subject:
    """Hold a model and its recordings.

    ``calibration``: recordings that calibrate, and validated the training. ``measured``: held-out recordings of the
    training kinds. ``unseen``: recordings of kinds that were not trained on.
    """

    name: str
    bundle: Bundle
    calibration: Sequence[Episode]
    measured: Sequence[Episode]
    unseen: Sequence[Episode] = ()
