"""Describe a moment by a vector, so that the Euclidean distance of two vectors measures how different they are.

A moment is a window of `span` rows around a centre row. Shapes: n rows and C channels of the archive, m moments,
L taps, D values of a vector.

The squared distance is the mean over feature groups. In each group the unit is the mean squared distance of two random
moments. So 0 means equal, and 1 is the distance of random moments.
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

POINTS = 20  # rows of a window that are compared, evenly spaced
MAX_CODES = 5  # encoder windows per moment, at most

Rows: TypeAlias = NDArray[np.int64]


class FeatureGroup(NamedTuple):
    """Name the columns of a vector [D] that share a unit. Groups of the same name share one weight."""

    name: str
    columns: Rows


class Descriptor(Protocol):
    """Define how moments become vectors. `groups` cover the columns of a vector."""

    groups: tuple[FeatureGroup, ...]

    def vectors(self, values: Floats, newest: Rows) -> Floats:
        """Return the vectors [m, D] of the moments that end with rows `newest` [m] of `values` [n, C]."""


class WindowDescriptor:
    """Describe a moment by its channels in the model's coordinates: for a rigid body, in the newest body frame."""

    def __init__(self, spec: ModelSpec, span: int) -> None:
        self._coordinates = coordinates(spec, np)
        self._offsets = np.unique(np.linspace(1 - span, 0, min(span, POINTS)).round().astype(np.int64))
        self.groups = _window_groups(spec, len(self._offsets))

    def vectors(self, values: Floats, newest: Rows) -> Floats:
        """Return the vectors [m, D] of the moments that end with rows `newest` [m] of `values` [n, C]."""
        rows, vertical = self._coordinates.features(values[newest[:, None] + self._offsets])
        flat: Floats = rows.reshape(len(newest), -1)
        return flat if vertical is None else np.concatenate((flat, vertical), -1)


class CodeDescriptor:
    """Describe a moment by the encoder's codes of successive windows that cover it, as long as the encoder sees.

    Raises BundleError where the model has no encoder, SpecError where the moment is shorter than one of them.
    """

    def __init__(self, spec: ModelSpec, span: int, weights: Mapping[str, np.ndarray[Any, Any]]) -> None:
        if not spec.encoder:
            raise BundleError("index by code", "the model has no encoder", "index by window")
        rows = max(spec.encoder_rows, min(spec.taps, 2))  # two, since friction may see travel
        if span < rows:
            lengths = f"{span} rows, and the encoder needs {rows}"
            raise SpecError("a moment", lengths, "make it longer with --seconds, or index by window")
        self._encode = NumpyBackend(spec, weights).encode
        count = min(MAX_CODES, span // rows)
        self._lags = np.linspace(span - rows, 0, count).round().astype(np.int64)
        self._taps = np.arange(1 - rows, 1)
        self.groups: tuple[FeatureGroup, ...] = (FeatureGroup("code", np.arange(count * spec.code_size)),)

    def vectors(self, values: Floats, newest: Rows) -> Floats:
        """Return the vectors [m, D] of the moments that end with rows `newest` [m] of `values` [n, C]."""
        # Neighbouring moments share windows: encode each window once
        ticks, where = np.unique(newest[:, None] - self._lags, return_inverse=True)
        codes: Floats = self._encode(values[ticks[:, None] + self._taps])[where.reshape(-1)]
        return codes.reshape(len(newest), -1)


def descriptor_of(by: str, spec: ModelSpec, span: int, bundle: Bundle | None) -> Descriptor:
    """Return the descriptor named `by`: "window", or "code", which needs the bundle.

    Raises BundleError where the bundle or its encoder is missing, SpecError where the moment is too short for it.
    """
    if by == "window":
        return WindowDescriptor(spec, span)
    if bundle is None:
        raise BundleError("index by code", "it needs the encoder of a bundle", "give the bundle with --bundle")
    return CodeDescriptor(bundle.spec, span, bundle.arrays("weights.npz"))


def plain_spec(channels: tuple[Channel, ...], rate_hz: float) -> ModelSpec:
    """Return a specification that uses the recorded channels unchanged, for an archive without a bundle."""
    ordered = tuple(sorted(channels, key=lambda channel: channel.role != "input"))
    return ModelSpec(channels=ordered, rate_hz=rate_hz, taps=1, encoder=())


def weights_of(groups: tuple[FeatureGroup, ...], sample: Floats) -> Floats:
    """Compute weights [D] from the vectors [m, D] of random moments; 0 for a value that is constant.

    With these weights the mean squared distance of two random moments is 1, over all groups and within each.
    """
    names = [group.name for group in groups]
    weights = np.zeros(sample.shape[1], np.float32)
    spread = sample.std(0, dtype=np.float64)
    level = np.abs(sample).max(0)
    for group in groups:
        moving = spread[group.columns] > 1e-6 * level[group.columns]
        variance = float((spread[group.columns][moving] ** 2).sum())
        if variance > 0:
            share = names.count(group.name) * len(set(names))
            weights[group.columns] = moving / np.sqrt(2.0 * variance * share)
    return weights


def series(spec: ModelSpec, rows: Floats) -> Series:
    """Return the features of consecutive rows [n, C] as time series [n], by name and unit."""
    values, _ = coordinates(spec, np).features(rows[None])
    return {str(Channel(f.name, f.unit)): values[0, :, column] for column, f in enumerate(_features(spec))}


class _Feature(NamedTuple):
    """Describe a feature. Features of the same group and vector share a unit."""

    name: str
    unit: str
    group: str
    vector: str = ""


def _features(spec: ModelSpec) -> list[_Feature]:
    """List the features of a row in the order of `rtsysid.model.coordinates`."""
    body = spec.rigid_body
    if body is None:
        recorded = [_as_recorded(spec.channels[i]) for i in spec.columns]
        fed_back = recorded[spec.n_inputs :]
        return recorded + [_power(each, k) for k in range(2, spec.degree + 1) for each in fed_back]
    inside = {*body.attitude, *body.rate, *body.velocity, *body.position}
    units = {channel.name: channel.unit for channel in spec.channels}
    vectors = {
        "velocity": body.velocity,
        "displacement": body.position,
        "rotation": body.attitude[:3],
        "rate": body.rate,
    }
    return [_as_recorded(channel) for channel in spec.channels if channel.name not in inside] + [
        _Feature(f"{group} {axis}", "" if group == "rotation" else units[channel], group)
        for group, channels in vectors.items()
        for axis, channel in zip("xyz" if channels else "", channels, strict=True)
    ]


def _tail_features(spec: ModelSpec) -> list[_Feature]:
    """List the features after all rows. Each but the vertical is of the group of its channel, in a unit of its own."""
    channels, body = {channel.name: channel for channel in spec.channels}, spec.rigid_body
    directions = [spec.channels[i].name for i in spec.directions for _ in ("sine", "cosine")]
    if body is None:
        names = [*(name for name, _ in spec.friction), *directions]
        return [_as_recorded(channels[name])._replace(vector=f"{name} alone") for name in names]
    speeds = () if body.rotors is None or not body.rotors.learned else body.rotors.speeds
    rest = [_as_recorded(channels[name])._replace(vector=f"{name} alone") for name in (*directions, *speeds)]
    return [*(_Feature(f"vertical {axis}", "", "vertical") for axis in "xyz"), *rest]


def _power(feature: _Feature, degree: int) -> _Feature:
    name = f"{feature.name}^{degree}"
    return _Feature(name, f"({feature.unit})^{degree}", feature.group, name)


def _as_recorded(channel: Channel) -> _Feature:
    """Return the feature of a channel. Inputs without a group form the group "inputs", each as its own vector."""
    alone = channel.role == "input" and not channel.group
    group, vector = ("inputs", channel.name) if alone else (channel.group or channel.name, "")
    return _Feature(channel.name, channel.unit, group, vector)


def _window_groups(spec: ModelSpec, points: int) -> tuple[FeatureGroup, ...]:
    """Group the flat window: `points` rows of features, then the features of the newest row alone."""
    features = _features(spec)
    first, tail = len(features) * np.arange(points)[:, None], len(features) * points  # where each row begins; their end
    rows = [FeatureGroup(name, (first + each).reshape(-1)) for name, each in _by_group(features)]
    return (*rows, *(FeatureGroup(name, tail + each) for name, each in _by_group(_tail_features(spec))))


def _by_group(features: list[_Feature]) -> list[tuple[str, Rows]]:
    """List name and columns of each group of features that share a unit."""
    columns: dict[tuple[str, str], list[int]] = {}
    for column, feature in enumerate(features):
        columns.setdefault((feature.group, feature.vector), []).append(column)
    return [(name, np.array(each)) for (name, _), each in columns.items()]
