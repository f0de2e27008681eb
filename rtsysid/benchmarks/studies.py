"""What a study is made on: a model, and recordings that it was not trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rtsysid.model.bundle import Bundle
from rtsysid.recordings.trace import Episode


@dataclass(frozen=True, eq=False)
class Subject:
    """``calibration`` validates the training too; ``measured`` is like it; ``strange`` is unlike all of training."""

    name: str
    bundle: Bundle
    calibration: Sequence[Episode]
    measured: Sequence[Episode]
    strange: Sequence[Episode] = ()
