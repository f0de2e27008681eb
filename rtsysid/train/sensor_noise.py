"""Add sensor noise to training recordings.

Recordings that were smoothed afterwards have smaller second differences than any live sensor delivers. A model that
relies on them fails on the robot. Training on noisy inputs and clean targets makes the model robust to that noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from rtsysid.config import NoiseLevels
from rtsysid.errors import ConfigError
from rtsysid.spec import Channel, Floats

SEED = 20171025  # of noise that is drawn once: for the linear fits and the validation sequences


class NoisyRecordings(NamedTuple):
    """Hold recordings twice, one array [n, C] per episode: as recorded, and with sensor noise added."""

    clean: list[Floats]
    noisy: list[Floats]


class SensorNoise:
    """Add the configured noise and repeated rows to sequences [B, R, C]."""

    def __init__(self, levels: NoiseLevels, channels: Sequence[Channel]) -> None:
        """Raises ConfigError where `levels` names an unknown channel."""
        names = [channel.name for channel in channels]
        if unknown := sorted(set(levels.noise) - set(names)):
            found = f"no channel is named {', '.join(unknown)}"
            raise ConfigError("train.sensor_noise", found, f"choose among {', '.join(names)}")
        self._std = torch.tensor([levels.noise.get(name, 0.0) for name in names])
        self._repeat = levels.repeat

    @property
    def silent(self) -> bool:
        """Tell whether the noise is zero, so that nothing changes."""
        return not (self._repeat or self._std.any())

    def apply(self, rows: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Add white noise to every value; then replace each lost row by the row before it: [B, R, C] -> [B, R, C].

        Without a generator the draws come from torch's global one.
        """
        if self.silent:
            return rows
        noise = torch.randn(rows.shape, generator=generator).to(rows.device)
        lost = torch.rand(rows.shape[:2], generator=generator) < self._repeat
        lost[:, 0] = False
        source = torch.where(lost, 0, torch.arange(rows.shape[1])).cummax(1).values.to(rows.device)
        return (rows + noise * self._std.to(rows.device)).gather(1, source[..., None].expand_as(rows))

    def recordings(self, clean: Sequence[Floats]) -> NoisyRecordings:
        """Add noise to whole episodes [n, C]. The draws restart from `SEED`: equal episodes give equal noise."""
        generator = torch.Generator().manual_seed(SEED)
        noisy = [self.apply(torch.from_numpy(episode)[None], generator)[0].numpy() for episode in clean]
        return NoisyRecordings(list(clean), noisy)
