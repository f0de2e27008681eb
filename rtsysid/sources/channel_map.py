"""ChannelMap: which fields of which topics become which channels of a live source, and how.

Without a map, a message holds all channels by their names, and each message is a sample: as on the serial link. With a
map of one topic the same is true, by other names and units. A map of several topics is aligned to even rows
(`rtsysid.alignment`), and so are the messages of a model that was trained on aligned rows.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import msgspec

from rtsysid.alignment.plan import AlignmentPlan, alignment_plan
from rtsysid.alignment.source import ChannelSource
from rtsysid.config import Data
from rtsysid.errors import ConfigError
from rtsysid.guards import ranges
from rtsysid.guards.limits import limit
from rtsysid.spec import Channel, ModelSpec


class ChannelMap(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Say how messages become samples. ``rate_hz``: of the samples; 0 where it is not known.

    ``sources``: by channel or group; empty where messages hold the channels by name. ``aligned``: even rows are made.
    ``lateness``, ``max_age`` in s: see `rtsysid.config.Data`.
    """

    channels: tuple[Channel, ...]
    rate_hz: float = 0.0
    sources: dict[str, ChannelSource] = {}
    aligned: bool = False
    lateness: ranges.Seconds | None = None
    max_age: ranges.Seconds | None = None

    @classmethod
    def of_model(cls, spec: ModelSpec) -> Self:
        """Make the map of a model whose channels the messages hold by name."""
        return cls(channels=spec.channels, rate_hz=spec.rate_hz)

    @classmethod
    def of_data(cls, data: Data, channels: tuple[Channel, ...], aligned: bool) -> Self:
        """Make the map that a configuration states for its channels."""
        return cls(
            channels=channels, rate_hz=data.rate_hz, sources=data.sources, lateness=data.lateness, max_age=data.max_age,
            aligned=aligned or len({(each.topic, each.stamp) for each in data.sources.values()}) > 1,
        )  # fmt: skip

    @property
    def plan(self) -> AlignmentPlan:
        """Return the plan of alignment. Raises ConfigError where the sources do not give each channel once."""
        sources = self.sources or {each.name: ChannelSource(field=each.name) for each in self.channels}
        return alignment_plan(sources, self.channels, self.rate_hz, self.lateness, self.max_age)

    @property
    def topics(self) -> tuple[str, ...]:
        """List the topics that are named."""
        return tuple(dict.fromkeys(each.topic for each in self.sources.values()))


class MapFile(msgspec.Struct, frozen=True):
    """Hold what a map file says: the table ``[sources]``, or the table ``[data]`` of a configuration."""

    sources: dict[str, ChannelSource]
    rate_hz: ranges.RateHz | None = None
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    groups: dict[str, tuple[str, ...]] = {}
    angles: tuple[str, ...] = ()
    lateness: ranges.Seconds | None = None
    max_age: ranges.Seconds | None = None

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a file. Raises ConfigError where it is too long, no TOML, or has no sources."""
        try:
            raw = _toml(path)
            return msgspec.convert(raw.get("data", raw), cls)
        except (OSError, ValueError, RecursionError, msgspec.ValidationError) as error:
            remedy = "write a table [sources] as in docs/sources.md, or name a configuration with [data.sources]"
            raise ConfigError(f"map {path}", str(error), remedy) from None

    def for_model(self, spec: ModelSpec, aligned: bool) -> ChannelMap:
        """Make the map of a model. Raises ConfigError where a channel has no source."""
        made = ChannelMap.of_data(self._data(spec.rate_hz), spec.channels, aligned)
        made.plan  # noqa: B018 - what contradicts itself is said before a source is opened
        return made

    def alone(self) -> ChannelMap:
        """Make the map of the channels that the file names. Raises ConfigError where it names none, or no rate."""
        if self.rate_hz is None or not (self.inputs or self.outputs):
            remedy = "a recording without a model needs rate_hz, inputs and outputs in the map"
            raise ConfigError("map", "no channels or no rate", remedy)
        data = self._data(self.rate_hz)
        made = ChannelMap.of_data(data, data.channels, True)
        made.plan  # noqa: B018
        return made

    def _data(self, rate_hz: float) -> Data:
        known = {name: getattr(self, name) for name in self.__struct_fields__}
        return Data(**{**known, "rate_hz": rate_hz})


def _toml(path: Path) -> Mapping[str, Any]:
    with path.open("rb") as file:
        text = file.read(limit("config_bytes") + 1)
    if len(text) > limit("config_bytes"):
        raise ValueError(f"longer than {limit('config_bytes')} bytes")
    return tomllib.loads(text.decode())
