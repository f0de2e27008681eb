"""Provide training sequences as tensors, their windows, and the scaling of the recordings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from torch import Tensor

from rtsysid.errors import TraceError
from rtsysid.model.coordinates import coordinates
from rtsysid.model.coordinates.seen import SeenRow, short_way
from rtsysid.spec import Doubles, Floats, ModelSpec, Scaling, sees_otherwise

ROUNDED = 1e-12  # relative standard deviation that float64 rounding gives to a constant
FURTHER = 60  # rows of further warm-up, with which the preset auto shows that the state does not drift


def row_windows(rows: Tensor, taps: int) -> Tensor:
    """Return a view of every window of row sequences, oldest sample first: [B, R, C] -> [B, R - taps + 1, taps, C].

    A window equals the content of a full `TappedDelayLine` after each push (`tests/model/test_parity_1_windows.py`).
    """
    return rows.unfold(1, taps, 1).transpose(-1, -2)


class Sequences:
    """Hold all episodes in one tensor, and find the starts of sequences that stay inside an episode."""

    def __init__(
        self, episodes: Iterable[Floats], device: torch.device | str = "cpu", weights: Sequence[float] | None = None
    ) -> None:
        """Copy episodes [n, C]. `weights`: one per episode, for an `episode_weighting` of 1; by default all are 1."""
        arrays = [np.ascontiguousarray(episode, np.float32) for episode in episodes]
        self.lengths = [len(episode) for episode in arrays]
        self.values = torch.from_numpy(np.concatenate(arrays)).to(device)
        each = torch.ones(len(arrays)) if weights is None else torch.tensor(weights)
        self._weight = each.repeat_interleave(torch.tensor(self.lengths))

    def starts(self, length: int, stride: int, offset: int = 0) -> Tensor:
        """Find the first rows [S] of sequences of `length` rows, every `stride` rows from `offset` within each episode.

        Raises TraceError where no episode is long enough.
        """
        by_episode, base = [], 0
        for rows in self.lengths:
            first, end = base + offset, base + rows - length + 1
            by_episode.append(torch.arange(first, max(first, end), stride))  # empty in an episode that is too short
            base += rows
        starts = torch.cat(by_episode)
        if not len(starts) and offset:  # a sequence fits, but not `offset` rows later
            return self.starts(length, stride)
        if not len(starts):
            longest = max(self.lengths, default=0)
            raise TraceError(
                "training sequences", f"the longest episode has {longest} rows, {length} are needed", "record longer"
            )
        return starts

    def histories(self, needed: int) -> tuple[int, ...]:
        """Return the further warm-up of sequences of `needed` rows that are judged: 0, and `FURTHER` if most allow it.

        Half of the episodes must have room for twice that much.
        """
        enough = sum(length >= needed + 2 * FURTHER for length in self.lengths)
        return (0, FURTHER) if 2 * enough >= len(self.lengths) else (0,)

    def shuffled(self, starts: Tensor, episode_weighting: float = 0.0) -> Tensor:
        """Shuffle the starts [S]. With `episode_weighting`: sample with replacement, probability by weight."""
        if not episode_weighting:
            return starts[torch.randperm(len(starts))]
        return starts[torch.multinomial(self._weight[starts] ** episode_weighting, len(starts), replacement=True)]

    def evenly_spaced(self, starts: Tensor, count: int, episode_weighting: float = 0.0) -> Tensor:
        """Select `count` or more of the starts [S] at even distances, or all where there are fewer.

        With `episode_weighting` a start may appear several times.
        """
        if not episode_weighting:
            return starts[:: max(1, len(starts) // count)]
        reached = (self._weight[starts].double() ** episode_weighting).cumsum(0)
        return starts[torch.searchsorted(reached, reached[-1] * (torch.arange(count) + 0.5) / count)]

    def rows(self, starts: Tensor, length: int) -> Tensor:
        """Return the sequences that begin at `starts`: [B] -> [B, length, C]."""
        steps = torch.arange(length, device=self.values.device)
        return self.values[starts.to(self.values.device)[:, None] + steps]

    def batches(self, starts: Tensor, size: int, length: int) -> Iterator[Tensor]:
        """Yield the sequences in the order of `starts`, `size` at a time: [size, length, C]."""
        for batch in torch.split(starts, size):
            yield self.rows(batch, length)


def fit_scaling(episodes: Sequence[Floats], spec: ModelSpec) -> Scaling:
    """Compute means, standard deviations and ranges of the training episodes [n, C].

    Raises TraceError where a channel is constant.
    """
    rows = np.concatenate(episodes).astype(np.float64)
    mean, std = rows.mean(0), rows.std(0)
    centres = {i: _mean_direction(rows[:, i], c.period) for i, c in enumerate(spec.channels) if c.angle}
    for i, centre in centres.items():
        std[i] = short_way(rows[:, i] - centre, spec.channels[i].period).std()
    for i, channel in enumerate(spec.channels):
        if not std[i] > 1e-9 * max(abs(mean[i]), 1e-30):
            raise TraceError(f"channel {channel.name}", f"always {mean[i]:.6g}", "remove it: it carries no information")
    coords, taps = coordinates(spec, np), spec.taps
    features, targets = [], []
    for episode in episodes:
        pairs = sliding_window_view(episode.astype(np.float64), 2, axis=0).transpose(2, 0, 1)
        targets.append(coords.targets(pairs[0], pairs[1][:, spec.n_inputs :]))
        if len(episode) >= taps:
            sparse = sliding_window_view(episode.astype(np.float64), taps, axis=0)[:: max(1, taps // 2)]
            features.append(coords.features(sparse.transpose(0, 2, 1))[0].reshape(-1, spec.n_features))
    feature, target = np.concatenate(features), np.concatenate(targets)
    of_features, of_targets = (feature.mean(0), _nonzero_std(feature)), _target_moments(target, spec)
    seen = SeenRow(spec, centres).columns(rows) if sees_otherwise(spec) else []
    of_rows = np.array([column.min() for column in seen]), np.array([column.max() for column in seen])
    fields = (std, rows.min(0), rows.max(0), *of_features, *of_targets, *of_rows)
    return Scaling(*(tuple(field.tolist()) for field in fields))


def _target_moments(targets: Doubles, spec: ModelSpec) -> tuple[Doubles, Doubles]:
    """Mean and standard deviation of each target; with bands of ages about a mean of 0, so that gains of 0 mean 0."""
    if not spec.age_bands:
        return targets.mean(0), _nonzero_std(targets)
    mirrored = np.concatenate((targets, -targets))
    return np.zeros(spec.n_targets), _nonzero_std(mirrored)


def _mean_direction(angles: Doubles, period: float) -> float:
    """Mean of angles [n] on the circle."""
    turns = np.exp(2j * np.pi * angles / period)
    return float(np.angle(turns.mean()) * period / (2 * np.pi))


def episode_weights(episodes: Sequence[Floats], spec: ModelSpec, episode_weighting: float) -> list[float]:
    """Weigh each episode [n, C] by its mean squared scaled target to the power of minus `episode_weighting`.

    The weights have mean 1.
    """
    coords, squares = coordinates(spec, np), []
    for episode in episodes:
        rows = episode.astype(np.float64)
        scaled = (
            coords.targets(rows[:-1], rows[1:, spec.n_inputs :]) - spec.scaling.target_mean
        ) / spec.scaling.target_std
        squares.append(np.mean(scaled**2))
    weights = np.array(squares) ** -episode_weighting
    return [float(weight) for weight in weights / weights.mean()]


def _nonzero_std(values: Doubles) -> Doubles:
    """Standard deviation of each column; 1 where it is constant, such as a difference in a window of one row."""
    std: Doubles = values.std(0)
    return np.where(std > ROUNDED * np.abs(values).max(0) + ROUNDED, std, 1.0)
