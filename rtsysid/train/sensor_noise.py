"""Disturbance: what live sensors do to recordings that were smoothed afterwards.

Smoothed with hindsight, a recording has second differences that no sensor delivers; a model that lives on them falls
apart on the robot. Trained on disturbed measurements and evaluated by the clean ones, it learns to see through both.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rtsysid.config import NoiseLevels
from rtsysid.errors import ConfigError
from rtsysid.spec import Channel, Floats

SEED = 20171025  # of what is disturbed once for all: fits, and the validation sequences


class SensorNoise:
    """Adds the configured noise and repeats to sequences [B, R, C]."""

    def __init__(self, wanted: NoiseLevels, channels: Sequence[Channel]) -> None:
        names = [channel.name for channel in channels]
        if unknown := sorted(set(wanted.noise) - set(names)):
            found = f"no channel is named {', '.join(unknown)}"
            raise ConfigError("train.sensor_noise", found, f"choose among {', '.join(names)}")
        self._std = torch.tensor([wanted.noise.get(name, 0.0) for name in names])
        self._repeat = wanted.repeat

    @property
    def silent(self) -> bool:
        """Whether it leaves everything as it is."""
        return not (self._repeat or self._std.any())

    def apply(self, rows: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """What a live sensor would have shown of `rows`: noise on every value, then a row again for one that is lost.

        Without a generator the draws are those of `torch.manual_seed`.
        """
        if self.silent:
            return rows
        noise = torch.randn(rows.shape, generator=generator).to(rows.device)
        lost = torch.rand(rows.shape[:2], generator=generator) < self._repeat
        lost[:, 0] = False
        source = torch.where(lost, 0, torch.arange(rows.shape[1])).cummax(1).values.to(rows.device)
        return (rows + noise * self._std.to(rows.device)).gather(1, source[..., None].expand_as(rows))

    def episodes(self, episodes: Sequence[Floats]) -> list[Floats]:
        """Whole recordings [n, C], always disturbed in the same way."""
        generator = torch.Generator().manual_seed(SEED)
        return [self.apply(torch.from_numpy(episode)[None], generator)[0].numpy() for episode in episodes]
