"""Training sequences: rows of the recordings as tensors, and the windows in them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from torch import Tensor

from rtsysid.coordinates import coordinates
from rtsysid.errors import TraceError
from rtsysid.spec import Doubles, Floats, ModelSpec, Scaling


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


def fit_scaling(episodes: Sequence[Floats], spec: ModelSpec) -> Scaling:
    """Means and spreads of the training recordings; a channel that never moves is refused by name."""
    rows = np.concatenate(episodes).astype(np.float64)
    mean, std = rows.mean(0), rows.std(0)
    for i, channel in enumerate(spec.channels):
        if not std[i] > 1e-9 * max(abs(mean[i]), 1e-30):
            raise TraceError(f"channel {channel.name}", f"always {mean[i]:.6g}", "drop it: it carries no information")
    plane, taps = coordinates(spec, np), spec.taps
    features, targets = [], []
    for episode in episodes:
        pairs = sliding_window_view(episode.astype(np.float64), 2, axis=0).transpose(2, 0, 1)
        targets.append(plane.targets(pairs[0], pairs[1][:, spec.n_inputs :]))
        if len(episode) >= taps:
            sparse = sliding_window_view(episode.astype(np.float64), taps, axis=0)[:: max(1, taps // 2)]
            features.append(plane.features(sparse.transpose(0, 2, 1))[0].reshape(-1, spec.n_features))
    seen, target = np.concatenate(features), np.concatenate(targets)
    figures = (std, rows.min(0), rows.max(0), seen.mean(0), _spread(seen), target.mean(0), _spread(target))
    return Scaling(*(tuple(figure.tolist()) for figure in figures))


def _spread(values: Doubles) -> Doubles:
    """Standard deviation; 1 for what is always the same, as a displacement is in a window of one row."""
    std: Doubles = values.std(0)
    return np.where(std > 0, std, 1.0)
