"""View: in what shape training sees its recordings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from rtsysid.config import Training
from rtsysid.spec import ModelSpec
from rtsysid.train.cold_start import Past
from rtsysid.train.sensor_noise import Disturber
from rtsysid.train.symmetry import Symmetries


@dataclass(frozen=True)
class View:
    """Through which symmetries, as what a live sensor would have shown, and with how much of its past."""

    symmetries: Symmetries
    disturber: Disturber
    past: Past
    rows: int  # up to the first prediction that counts

    @classmethod
    def of(cls, training: Training, spec: ModelSpec) -> Self:
        """As configured. Raises ConfigError for a channel that the model has not."""
        channels = spec.channels
        disturber, past = Disturber(training.disturbance, channels), Past(training.history, spec)
        return cls(Symmetries(training.symmetry, channels), disturber, past, spec.past)

    def shown(self, rows: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """What the model is shown of sequences [B, R, C]."""
        return self.past.known(self.disturber.seen(rows, generator), self.rows)
