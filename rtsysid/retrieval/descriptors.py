"""Views: what of a window is plain_spec. A vector per moment, made so that Euclidean distance says how unlike two are.

A moment is a window of `span` rows around a centre row. Shapes: n rows and C channels of the archive, m moments,
L taps, D values of a vector.

The squared distance is the mean over parts (groups of channels), each in units of how far two random moments are apart
in it: 0 is the same, 1 is chance.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from rtsysid.errors import BundleError, SpecError
from rtsysid.model.backends.numpy_backend import NumpyBackend
from rtsysid.model.bundle import Bundle
from rtsysid.model.coordinates import coordinates
from rtsysid.spec import Channel, Floats, ModelSpec

Series: TypeAlias = dict[str, Floats]

POINTS = 20  # rows of a window that are plain_spec, evenly over it
CODES = 5  # windows of the encoder over a moment

Rows: TypeAlias = NDArray[np.int64]


class FeatureGroup(NamedTuple):
    """Values of a vector [D] that belong together, of one unit. Parts of one name share its weight."""

    name: str
    columns: Rows


class Descriptor(Protocol):
    """A way to look at a moment."""

    parts: tuple[FeatureGroup, ...]

    def vectors(self, values: Floats, newest: Rows) -> Floats:
        """The moments that end with the rows `newest` [m] of `values` [n, C], as [m, D]."""


class WindowDescriptor:
    """The channels over the window in the model's coordinates: from the body at the newest row, where it has one."""

    def __init__(self, spec: ModelSpec, span: int) -> None:
        self._coordinates = coordinates(spec, np)
        self._offsets = np.unique(np.linspace(1 - span, 0, min(span, POINTS)).round().astype(np.int64))
        self.parts = _window_parts(spec, len(self._offsets))

    def vectors(self, values: Floats, newest: Rows) -> Floats:
        rows, tail = self._coordinates.features(values[newest[:, None] + self._offsets])
        flat: Floats = rows.reshape(len(newest), -1)
        return flat if tail is None else np.concatenate((flat, tail), -1)


class CodeDescriptor:
    """The encoder's code of successive windows of the delay line that cover the moment."""

    def __init__(self, spec: ModelSpec, span: int, weights: Mapping[str, np.ndarray[Any, Any]]) -> None:
        if not spec.encoder:
            raise BundleError("index by code", "the model has no encoder, so no code", "index by window")
        if span < spec.taps:
            found = f"{span} rows, and the encoder sees {spec.taps}"
            raise SpecError("a moment", found, "make it longer with --seconds, or index by window")
        self._encode = NumpyBackend(spec, weights).encode
        count = min(CODES, span // spec.taps)
        self._lags = np.linspace(span - spec.taps, 0, count).round().astype(np.int64)
        self._taps = np.arange(1 - spec.taps, 1)
        self.parts: tuple[FeatureGroup, ...] = (FeatureGroup("code", np.arange(count * spec.code_size)),)

    def vectors(self, values: Floats, newest: Rows) -> Floats:
        ticks, where = np.unique(newest[:, None] - self._lags, return_inverse=True)  # neighbours share their codes
        codes: Floats = self._encode(values[ticks[:, None] + self._taps])[where.reshape(-1)]
        return codes.reshape(len(newest), -1)


def descriptor_of(by: str, spec: ModelSpec, span: int, bundle: Bundle | None) -> Descriptor:
    """The descriptor named `by`: "window", or "code", which needs its bundle."""
    if by == "window":
        return WindowDescriptor(spec, span)
    if bundle is None:
        raise BundleError("index by code", "no bundle whose encoder makes codes", "give it with --bundle")
    return CodeDescriptor(bundle.spec, span, bundle.arrays("weights.npz"))


def plain_spec(channels: tuple[Channel, ...], rate_hz: float) -> ModelSpec:
    """A specification that sees recorded channels as they are, for an archive without a bundle."""
    ordered = tuple(sorted(channels, key=lambda channel: channel.role != "input"))
    return ModelSpec(channels=ordered, rate_hz=rate_hz, taps=1, encoder=())


def weights_of(parts: tuple[FeatureGroup, ...], sample: Floats) -> Floats:
    """Weight [D] of each value, from vectors of random moments [m, D]; 0 for a part that never moves.

    Two random moments are then at a mean squared distance of 1, in all and in each name.
    """
    names = [part.name for part in parts]
    weights = np.zeros(sample.shape[1], np.float32)
    spread = sample.std(0, dtype=np.float64)
    level = np.abs(sample).max(0)
    for part in parts:
        moving = spread[part.columns] > 1e-6 * level[part.columns]
        variance = float((spread[part.columns][moving] ** 2).sum())
        if variance > 0:
            share = names.count(part.name) * len(set(names))
            weights[part.columns] = moving / np.sqrt(2.0 * variance * share)
    return weights


def series(spec: ModelSpec, rows: Floats) -> Series:
    """What a row of features holds, under its name and unit, over consecutive rows [n, C] of a recording: each [n]."""
    values, _ = coordinates(spec, np).features(rows[None])
    return {str(Channel(f.name, f.unit)): values[0, :, column] for column, f in enumerate(_features(spec))}


class _Feature(NamedTuple):
    """A column of a row of features; those of one part and one vector share a unit."""

    name: str
    unit: str
    part: str
    vector: str = ""


def _features(spec: ModelSpec) -> list[_Feature]:
    """In the order in which `rtsysid.model.coordinates` lays out a row."""
    body = spec.rigid_body
    if body is None:
        return [_as_recorded(spec.channels[i]) for i in spec.columns]
    inside = {*body.attitude, *body.rate, *body.velocity, *body.position}
    units = {channel.name: channel.unit for channel in spec.channels}
    vectors = {
        "velocity": body.velocity,
        "displacement": body.position,
        "rotation": body.attitude[:3],
        "rate": body.rate,
    }
    return [_as_recorded(channel) for channel in spec.channels if channel.name not in inside] + [
        _Feature(f"{part} {axis}", "" if part == "rotation" else units[channel], part)
        for part, channels in vectors.items()
        for axis, channel in zip("xyz" if channels else "", channels, strict=True)
    ]


def _as_recorded(channel: Channel) -> _Feature:
    """An input without a group is a vector of its own in the part of all such inputs."""
    alone = channel.role == "input" and not channel.group
    part, vector = ("inputs", channel.name) if alone else (channel.group or channel.name, "")
    return _Feature(channel.name, channel.unit, part, vector)


def _window_parts(spec: ModelSpec, points: int) -> tuple[FeatureGroup, ...]:
    """Parts of the flat window: rows of features, and behind them the vertical where there is a body."""
    features = _features(spec)
    groups: dict[tuple[str, str], list[int]] = {}
    for column, feature in enumerate(features):
        groups.setdefault((feature.part, feature.vector), []).append(column)
    every = len(features) * np.arange(points)[:, None]
    parts = [FeatureGroup(name, (every + columns).reshape(-1)) for (name, _), columns in groups.items()]
    vertical = [] if spec.rigid_body is None else [FeatureGroup("vertical", len(features) * points + np.arange(3))]
    return (*parts, *vertical)
