"""Training sequences: rows of the recordings as tensors, and the windows in them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from rtsysid.config import Model
from rtsysid.errors import TraceError
from rtsysid.spec import Channel, Floats, Scaling


def windows(rows: Tensor, taps: int) -> Tensor:
    """Every window in a batch of row sequences, oldest sample first: [B, R, C] -> view [B, R - taps + 1, taps, C].

    Exactly what a `TappedDelayLine` shows after each push once it is full, tested.
    """
    return rows.unfold(1, taps, 1).transpose(-1, -2)


class Sequences:
    """All episodes end to end in one tensor, and the starts of sequences that stay inside an episode."""

    def __init__(self, episodes: Iterable[Floats], device: torch.device | str = "cpu") -> None:
        kept = [np.ascontiguousarray(episode, np.float32) for episode in episodes]
        self.lengths = [len(episode) for episode in kept]
        self.values = torch.from_numpy(np.concatenate(kept)).to(device)

    def starts(self, length: int, stride: int, offset: int = 0) -> Tensor:
        """First row of each sequence of `length` rows, every `stride` rows from `offset` within each episode."""
        found, base = [], 0
        for rows in self.lengths:
            found.append(torch.arange(base + offset, base + rows - length + 1, stride))
            base += rows
        starts = torch.cat(found)
        if not len(starts):
            longest = max(self.lengths, default=0)
            raise TraceError(
                "training sequences", f"the longest episode has {longest} rows, {length} are needed", "record longer"
            )
        return starts

    def rows(self, starts: Tensor, length: int) -> Tensor:
        """[B] -> [B, length, C]."""
        steps = torch.arange(length, device=self.values.device)
        return self.values[starts.to(self.values.device)[:, None] + steps]

    def batches(self, starts: Tensor, size: int, length: int) -> Iterator[Tensor]:
        """The sequences in the order of `starts`, `size` at a time."""
        for part in torch.split(starts, size):
            yield self.rows(part, length)


def fit_scaling(episodes: Sequence[Floats], channels: Sequence[Channel], model: Model) -> Scaling:
    """Means and spreads of the training recordings; a channel that never moves is refused by name."""
    rows = np.concatenate(episodes).astype(np.float64)
    mean, std = rows.mean(0), rows.std(0)
    for i, channel in enumerate(channels):
        if not std[i] > 1e-9 * max(abs(mean[i]), 1e-30):
            raise TraceError(f"channel {channel.name}", f"always {mean[i]:.6g}", "drop it: it carries no information")
    first = sum(c.role == "input" for c in channels)
    targets = rows[:, first:]
    if model.output == "increment":
        targets = np.concatenate([np.diff(e[:, first:].astype(np.float64), axis=0) for e in episodes])
    return Scaling(
        tuple(mean.tolist()), tuple(std.tolist()), tuple(targets.mean(0).tolist()), tuple(targets.std(0).tolist()),
        tuple(rows.min(0).tolist()), tuple(rows.max(0).tolist()),
    )  # fmt: skip
