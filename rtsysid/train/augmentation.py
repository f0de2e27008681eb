"""Augment training sequences: symmetries, sensor noise and cold starts."""

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
    """Turn recorded sequences into model inputs, as `[train]` configures.

    ``rows``: rows of a sequence up to the first prediction that counts in the loss.
    """

    symmetries: Symmetries
    sensor_noise: SensorNoise
    cold_start: ColdStart
    rows: int

    @classmethod
    def of(cls, training: Training, spec: ModelSpec) -> Self:
        """Read the augmentation from the configuration. Raises ConfigError where it names an unknown channel."""
        channels = spec.channels
        noise, cold_start = SensorNoise(training.sensor_noise, channels), ColdStart(training.history, spec)
        return cls(Symmetries(training.symmetry, channels), noise, cold_start, spec.settling_samples)

    def apply(self, rows: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Add sensor noise to sequences [B, R, C], then replace their history for a cold start: [B, R, C].

        Symmetries are not applied here: they also change the targets.
        """
        return self.cold_start.apply(self.sensor_noise.apply(rows, generator), self.rows)
