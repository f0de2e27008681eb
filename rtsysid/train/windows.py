"""Training sequences: rows of the recordings as tensors, and the windows in them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from torch import Tensor

from rtsysid.errors import TraceError
from rtsysid.model.coordinates import coordinates
from rtsysid.spec import Doubles, Floats, ModelSpec, Scaling

ROUNDED = 1e-12  # what rounding in float64 leaves of nothing


def windows(rows: Tensor, taps: int) -> Tensor:
    """Every window in a batch of row sequences, oldest sample first: [B, R, C] -> view [B, R - taps + 1, taps, C].

    Exactly what a `TappedDelayLine` shows after each push once it is full, tested.
    """
    return rows.unfold(1, taps, 1).transpose(-1, -2)


class Sequences:
    """All episodes end to end in one tensor, and the starts of sequences that stay inside an episode."""

    def __init__(
        self, episodes: Iterable[Floats], device: torch.device | str = "cpu", weights: Sequence[float] | None = None
    ) -> None:
        """`weights`: of a sequence of each episode at an `episode_weighting` of 1; without, all weigh the same."""
        kept = [np.ascontiguousarray(episode, np.float32) for episode in episodes]
        self.lengths = [len(episode) for episode in kept]
        self.values = torch.from_numpy(np.concatenate(kept)).to(device)
        each = torch.ones(len(kept)) if weights is None else torch.tensor(weights)
        self._weight = each.repeat_interleave(torch.tensor(self.lengths))

    def starts(self, length: int, stride: int, offset: int = 0) -> Tensor:
        """First row of each sequence of `length` rows, every `stride` rows from `offset` within each episode."""
        found, base = [], 0
        for rows in self.lengths:
            first, end = base + offset, base + rows - length + 1
            found.append(torch.arange(first, max(first, end), stride))  # none in an episode that ends before the offset
            base += rows
        starts = torch.cat(found)
        if not len(starts):
            longest = max(self.lengths, default=0)
            raise TraceError(
                "training sequences", f"the longest episode has {longest} rows, {length} are needed", "record longer"
            )
        return starts

    def shuffled(self, starts: Tensor, episode_weighting: float = 0.0) -> Tensor:
        """The starts in random order. With `episode_weighting`: sampled with replacement, probability by weight."""
        if not episode_weighting:
            return starts[torch.randperm(len(starts))]
        return starts[torch.multinomial(self._weight[starts] ** episode_weighting, len(starts), replacement=True)]

    def spread(self, starts: Tensor, count: int, episode_weighting: float = 0.0) -> Tensor:
        """At least `count` of the starts, evenly spread, or all. With `episode_weighting` some appear several times."""
        if not episode_weighting:
            return starts[:: max(1, len(starts) // count)]
        reached = (self._weight[starts].double() ** episode_weighting).cumsum(0)
        return starts[torch.searchsorted(reached, reached[-1] * (torch.arange(count) + 0.5) / count)]

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
    coords, taps = coordinates(spec, np), spec.taps
    features, targets = [], []
    for episode in episodes:
        pairs = sliding_window_view(episode.astype(np.float64), 2, axis=0).transpose(2, 0, 1)
        targets.append(coords.targets(pairs[0], pairs[1][:, spec.n_inputs :]))
        if len(episode) >= taps:
            sparse = sliding_window_view(episode.astype(np.float64), taps, axis=0)[:: max(1, taps // 2)]
            features.append(coords.features(sparse.transpose(0, 2, 1))[0].reshape(-1, spec.n_features))
    seen, target = np.concatenate(features), np.concatenate(targets)
    figures = (std, rows.min(0), rows.max(0), seen.mean(0), _spread(seen), target.mean(0), _spread(target))
    return Scaling(*(tuple(figure.tolist()) for figure in figures))


def balanced(episodes: Sequence[Floats], spec: ModelSpec, episode_weighting: float) -> list[float]:
    """Weight of each episode: its mean squared target, in spreads of all, to the power of -`episode_weighting`."""
    coords, squares = coordinates(spec, np), []
    for episode in episodes:
        rows = episode.astype(np.float64)
        scaled = (
            coords.targets(rows[:-1], rows[1:, spec.n_inputs :]) - spec.scaling.target_mean
        ) / spec.scaling.target_std
        squares.append(np.mean(scaled**2))
    weights = np.array(squares) ** -episode_weighting
    return [float(weight) for weight in weights / weights.mean()]


def _spread(values: Doubles) -> Doubles:
    """Standard deviation; 1 for what is always the same but for rounding, as a displacement in a window of one row."""
    std: Doubles = values.std(0)
    return np.where(std > ROUNDED * np.abs(values).max(0) + ROUNDED, std, 1.0)
