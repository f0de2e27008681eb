"""The features of a window after its rows, in a free run: dry friction, then the directions of angles.

Each is a function of one value: of the newest row, less the row before where an output travels. Shapes as in
`rtsysid.train.track`, with T features in the tail.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from rtsysid.model.coordinates.angles import COS, SIN
from rtsysid.model.coordinates.plain import brakes
from rtsysid.spec import ModelSpec
from rtsysid.train.distances import ShortWay


class Tail:
    """Compute the tail of a window of the track [.., L * K], and its gradient.

    `mean`, `std` [K]: of the track. It keeps angles in engineering units: their mean is 0, their deviation 1.
    """

    def __init__(self, spec: ModelSpec, mean: Tensor, std: Tensor) -> None:
        size = spec.taps * spec.n_features
        friction = [_Friction(spec, size, mean, std)] if spec.friction else []
        directions = [_Directions(spec, size, mean)] if spec.directions else []
        self._parts: list[_Friction | _Directions] = [*friction, *directions]
        self._newest = torch.cat([part.newest for part in self._parts])
        self._travels = friction[0] if friction and friction[0].travels.any() else None

    def seen(self, window: Tensor) -> Tensor:
        """Compute the tail [.., T]."""
        tails = [part.of(part.values(window)) for part in self._parts]
        return tails[0] if len(tails) == 1 else torch.cat(tails, -1)

    def slopes(self, windows: Tensor) -> Tensor:
        """Compute the derivative of each feature by its value, for windows [..., L * K]: [..., T]."""
        return torch.cat([part.slopes(part.values(windows)) for part in self._parts], -1)

    def back(self, gradient: Tensor, slopes: Tensor, into: Tensor) -> None:
        """Add the gradient of the window [B, L * K] from that of the tail [B, T], in place."""
        grad = gradient * slopes
        into.index_add_(1, self._newest, grad)
        if self._travels is not None:
            travels = self._travels.travels
            into.index_add_(1, self._travels.before, -travels * grad[:, : len(travels)])


class _Friction:
    """tanh of the newest scaled values, less those before where they travel: of an angle, the short way around."""

    def __init__(self, spec: ModelSpec, size: int, mean: Tensor, std: Tensor) -> None:
        channels, travels, speeds = zip(*brakes(spec), strict=True)
        at = torch.tensor([spec.columns.index(channel) for channel in channels], device=mean.device)
        self.travels, slow = (mean.new_tensor(part) for part in (travels, speeds))
        self.newest = size - spec.n_features + at
        self.before = (self.newest - spec.n_features).clamp(min=0)
        self.factor = std[at] / slow * torch.where(self.travels > 0, spec.rate_hz, 1.0)
        self.level = mean[at] / slow  # 0 of what travels
        periods = [spec.channels[channel].period * on for channel, on in zip(channels, travels, strict=True)]
        self.short = ShortWay(periods, mean) if any(periods) else None

    def values(self, window: Tensor) -> Tensor:
        moved = window[..., self.newest] - self.travels * window[..., self.before]
        return moved if self.short is None else self.short.apply(moved)

    def of(self, moved: Tensor) -> Tensor:
        return torch.tanh(moved * self.factor + self.level)

    def slopes(self, moved: Tensor) -> Tensor:
        return (1 - self.of(moved).square()) * self.factor


class _Directions:
    """Sine and cosine of angles in the newest row, in the series of `rtsysid.model.coordinates.angles`."""

    def __init__(self, spec: ModelSpec, size: int, like: Tensor) -> None:
        at = torch.tensor([spec.columns.index(i) for i in spec.directions], device=like.device)
        self.angles = size - spec.n_features + at
        self.newest = self.angles.repeat_interleave(2)
        self.per_turn = like.new_tensor([1 / spec.channels[i].period for i in spec.directions])
        self.series = like.new_tensor([(0.0, *SIN[::-1]), COS[::-1]]).t().unbind()  # from the highest power down

    def values(self, window: Tensor) -> Tensor:
        return window[..., self.angles]

    def of(self, angles: Tensor) -> Tensor:
        turns = angles * self.per_turn
        z = (turns - (turns + 0.5).floor()) * math.pi  # half the angle: -pi / 2 .. pi / 2
        square, total = (z * z)[..., None], self.series[0]
        for coefficients in self.series[1:]:
            total = torch.addcmul(coefficients, total, square)
        sine, cosine = z * total[..., 0], total[..., 1]
        return torch.stack((2 * sine * cosine, cosine * cosine - sine * sine), -1).flatten(-2)

    def slopes(self, angles: Tensor) -> Tensor:
        with torch.enable_grad():
            angles = angles.detach().requires_grad_()
            directions = self.of(angles)
            sums = directions[..., ::2].sum(), directions[..., 1::2].sum()
        each = [torch.autograd.grad(total, angles, retain_graph=True)[0] for total in sums]
        return torch.stack(each, -1).flatten(-2)
