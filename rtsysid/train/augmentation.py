"""Augmentation: in what shape training sees its recordings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from rtsysid.config import Training
from rtsysid.spec import ModelSpec
from rtsysid.train.cold_start import ColdStart
from rtsysid.train.sensor_noise import SensorNoise
from rtsysid.train.symmetry import Symmetries


@dataclass(frozen=True)
class Augmentation:
    """Through which symmetries, as what a live sensor would have shown, and with how much of its past."""

    symmetries: Symmetries
    sensor_noise: SensorNoise
    cold_start: ColdStart
    rows: int  # up to the first prediction that counts

    @classmethod
    def of(cls, training: Training, spec: ModelSpec) -> Self:
        """As configured. Raises ConfigError for a channel that the model has not."""
        channels = spec.channels
        sensor_noise, past = SensorNoise(training.sensor_noise, channels), ColdStart(training.history, spec)
        return cls(Symmetries(training.symmetry, channels), sensor_noise, past, spec.settling_samples)

    def apply(self, rows: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """What the model is shown of sequences [B, R, C]."""
        return self.cold_start.apply(self.sensor_noise.apply(rows, generator), self.rows)
