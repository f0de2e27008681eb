"""The rows of a free run in one tensor: where windows and predictions lie in it, and which matrices predict each tick.

Shapes as in `rtsysid.train.freerun`.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from rtsysid.model.coordinates.columns import columns, powers
from rtsysid.spec import ModelSpec
from rtsysid.train.distances import Distances
from rtsysid.train.network import Network
from rtsysid.train.tail import Tail

Layer = tuple[Tensor, Tensor]  # weight, bias
Each = TypeVar("Each")


class Targets(NamedTuple):
    """Matrices from h [H], code [Z] and features [F] to the targets in engineering units [T], and their bias."""

    head: Tensor
    code: Tensor | None
    linear: Tensor | None
    bias: Tensor

    @property
    def turned(self) -> Targets:
        """Return the same with transposed matrices [.., T]."""
        code, linear = (None if part is None else part.t() for part in (self.code, self.linear))
        return Targets(self.head.t(), code, linear, self.bias)


def target_layers(network: Network, age: int) -> Targets:
    """Return the matrices that predict from a row of this age; without the linear map where it adds nothing."""
    std, mean, hidden = network.target_std, network.target_mean, network.spec.hidden
    weight, bias = _times_gain(network, network.head, "head_gain", age)
    weight = weight * std[:, None]
    code = weight[:, :-hidden] if network.spec.head_sees_code else None
    if not network.spec.linear_path:
        return Targets(weight[:, -hidden:], code, None, bias * std + mean)
    linear, linear_bias = _times_gain(network, network.linear_map(age), "linear_gain", age)
    silent = not linear.requires_grad and not linear.any()  # a network that replaces the linear model
    scaled = None if silent else linear * std[:, None]
    return Targets(weight[:, -hidden:], code, scaled, (bias + linear_bias) * std + mean)


def _times_gain(network: Network, layer: torch.nn.Linear, name: str, age: int) -> Layer:
    """Return weight and bias of a layer, times its gain at this age where the model has gains."""
    if not network.spec.age_bands:
        return layer.weight, layer.bias
    gain = getattr(network, name)[network.spec.band(age)]
    return layer.weight * gain[:, None], layer.bias * gain


class Track:
    """A track of scaled rows [B, (L + N) * K]: where windows and predictions lie in it, and its features.

    ``spans``: first and last-plus-one of the ticks that the same matrices predict; they differ by the age of the rows.
    """

    def __init__(self, network: Network, ticks: int) -> None:
        spec = network.spec
        self.spans = list(pairwise([0, *(age for age in spec.age_changes if age < ticks), ticks]))
        self.quaternions = [columns(each) for each in spec.quaternions]
        self.row, self.size, self.inputs = spec.n_features, spec.taps * spec.n_features, spec.n_inputs
        self.encoder, self.unseen = spec.encoder_columns, spec.window_size - spec.encoder_window
        self.increment, self.feeds = spec.output == "increment", feeds(spec)
        self.fed = columns([i - spec.n_inputs for i in spec.columns[spec.n_inputs :]])  # of the outputs
        self.mean, self.std, self.degree = network.feature_mean, network.feature_std, spec.degree
        self.distances = None
        if spec.distances.intersection(spec.columns):
            self.distances = Distances(spec, self.mean, self.std)
            self.mean = self.mean * (1 - self.distances.moving)
            self.std = torch.where(self.distances.angle, 1.0, self.std)
        self.tail = Tail(spec, self.mean, self.std) if spec.n_tail else None

    def layers(self, parts: tuple[Tensor, ...]) -> tuple[list[Targets], list[Layer]]:
        """Sort weights [..] in a row: the matrices of each span, then the layers of the encoder."""
        width = len(Targets._fields)
        end = width * len(self.spans)
        encoder = list(zip(parts[end::2], parts[end + 1 :: 2], strict=True))
        return [Targets(*parts[k : k + width]) for k in range(0, end, width)], encoder

    def by_tick(self, spans: list[Each]) -> list[Each]:
        """List what belongs to each tick, from what belongs to each span."""
        return [each for (first, end), each in zip(self.spans, spans, strict=True) for _ in range(first, end)]

    def windows(self, track: Tensor) -> list[Tensor]:
        """List the window of each tick: views [B, L * K]."""
        return list(track[:, : -self.row].unfold(1, self.size, self.row).unbind(1))

    def shown(self, track: Tensor) -> list[Tensor]:
        """List where each tick's prediction is written into the track: views [B, K - inputs]."""
        return list(track[:, self.size + self.inputs :].unfold(1, self.row - self.inputs, self.row).unbind(1))

    def begun(self, rows: Tensor) -> Tensor:
        """Make the track of measured rows [B, R, u and y]."""
        return ((self._raised(rows[..., : self.inputs], rows[..., self.inputs :]) - self.mean) / self.std).flatten(1)

    def show(self, fed: Tensor, into: Tensor) -> None:
        """Write predicted outputs [B, f] into the track, for the next windows."""
        torch.sub(self._raised(fed), self.mean[self.inputs :], out=into).div_(self.std[self.inputs :])

    def feedback_backward(self, gradient: Tensor, fed: Tensor) -> Tensor:
        """Compute the gradient of the outputs [B, f] from that of what `show` wrote."""
        first, *others = (gradient / self.std[self.inputs :]).chunk(self.degree, 1)
        power = fed
        for k, part in enumerate(others, 2):
            first, power = first.addcmul(part, power, value=k), power * fed
        return first

    def seen(self, window: Tensor) -> Tensor:
        """Compute features [.., F] from a window of the track [.., L * K]."""
        flat = window
        if self.distances is not None:
            flat = self.distances.seen(window.view(*window.shape[:-1], -1, self.row)).flatten(-2)
        return flat if self.tail is None else torch.cat((flat, self.tail.seen(window)), -1)

    def slopes(self, windows: Tensor) -> list[Tensor | None]:
        """List the derivatives of the tail of each tick's window by its values: [N, B, L * K] -> N x [B, T] or None."""
        return [None] * len(windows) if self.tail is None else [*self.tail.slopes(windows)]

    def features_backward(self, gradient: Tensor, slopes: Tensor | None) -> Tensor:
        """Compute the gradient of the window from that of the features [B, F]; may work in place."""
        flat = gradient[:, : self.size]
        if self.distances is not None:
            self.distances.back(flat.view(len(flat), -1, self.row))  # a slice where there is a tail, too
        if self.tail is not None and slopes is not None:
            self.tail.back(gradient[:, self.size :], slopes, flat)
        return flat

    def _raised(self, *parts: Tensor) -> Tensor:
        """Join inputs, where they are given, outputs, and powers of the outputs."""
        raised = (*parts, *powers(parts[-1], self.degree))
        return raised[0] if len(raised) == 1 else torch.cat(raised, -1)


def feeds(spec: ModelSpec) -> bool:
    return len(spec.columns) > spec.n_inputs
