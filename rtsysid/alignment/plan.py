"""Plan an alignment: which fields of which topics become which channels, and how long a value counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from rtsysid.alignment.conversion import Conversion
from rtsysid.alignment.source import ChannelSource
from rtsysid.errors import ConfigError
from rtsysid.spec import Channel

MAX_AGE = 0.1  # s that a value is held where nothing else is known


class Feed(NamedTuple):
    """Name a stream of messages: a topic, the stamp that counts, the files that hold it, and a shift of its times."""

    topic: str
    stamp: str = ""
    file: str = ""
    shift_s: float = 0.0

    def __str__(self) -> str:
        return self.topic + (f"@{self.stamp}" if self.stamp else "") + (f" in {self.file}" if self.file else "")


class SourceColumns(NamedTuple):
    """Say how a source becomes columns. ``feed``: the messages that carry it. ``max_age`` s that a value is held.

    ``columns``: of the rows. ``mean``: outputs are averaged over a tick; an input is its newest value. ``periods``: of
    each angle, 0 for other values. ``rotation``: the values are one quaternion.
    """

    name: str
    feed: Feed
    fields: tuple[str, ...]
    source: ChannelSource
    channels: tuple[Channel, ...]
    columns: tuple[int, ...]
    max_age: float

    @property
    def mean(self) -> bool:
        """Whether values of one tick are averaged."""
        return self.channels[0].role == "output"

    @property
    def periods(self) -> tuple[float, ...]:
        """List the period of each angle, 0 for other values."""
        return tuple(channel.period if channel.angle else 0.0 for channel in self.channels)

    @property
    def rotation(self) -> bool:
        """Whether the values are one quaternion."""
        return len(self.channels) == 4 and all(channel.unit == "quat" for channel in self.channels)

    def conversion(self) -> Conversion:
        """Make the conversion of this source, from its beginning."""
        return Conversion(self.name, self.source, self.channels)


class AlignmentPlan(NamedTuple):
    """Hold all that alignment depends on. ``lateness`` s that a tick waits after its time."""

    rate_hz: float
    lateness: float
    channels: tuple[Channel, ...]
    tracks: tuple[SourceColumns, ...]

    @property
    def feeds(self) -> dict[Feed, tuple[str, ...]]:
        """Return the streams of messages, each with the fields that are wanted of it."""
        wanted: dict[Feed, dict[str, None]] = {}
        for track in self.tracks:
            wanted.setdefault(track.feed, {}).update(dict.fromkeys(track.fields))
        return {feed: tuple(fields) for feed, fields in wanted.items()}


def alignment_plan(
    sources: Mapping[str, ChannelSource], channels: Sequence[Channel], rate_hz: float, lateness: float | None,
    max_age: float | None = None,
) -> AlignmentPlan:  # fmt: skip
    """Make the plan of channels whose sources are given by channel or by group.

    `max_age`: s, of sources that do not say it. Raises ConfigError where a source names no channel, a channel has two
    sources or none, or a source contradicts itself.
    """
    tracks: list[SourceColumns] = []
    owners: dict[int, str] = {}
    for name, source in sources.items():
        columns = _columns_of(name, channels)
        for column in columns:
            if column in owners:
                found = f"{owners[column]!r} and {name!r} both give it"
                raise ConfigError(f"data.sources: channel {channels[column].name!r}", found, "keep one of the two")
            owners[column] = name
        tracks.append(_track_of(name, source, channels, columns, max_age))
    missing = [channel.name for column, channel in enumerate(channels) if column not in owners]
    if missing:
        found = f"no source for {', '.join(missing[:5])}"
        raise ConfigError("data.sources", found, "name a topic and a field for every channel, or leave the channel out")
    return AlignmentPlan(rate_hz, 1 / rate_hz if lateness is None else lateness, tuple(channels), tuple(tracks))


def _columns_of(name: str, channels: Sequence[Channel]) -> tuple[int, ...]:
    own = tuple(column for column, channel in enumerate(channels) if channel.name == name)
    columns = own or tuple(column for column, channel in enumerate(channels) if channel.group == name)
    if not columns:
        raise ConfigError("data.sources", f"no channel or group is named {name!r}", "use names of this file")
    return columns


def _track_of(
    name: str, source: ChannelSource, channels: Sequence[Channel], columns: tuple[int, ...], max_age: float | None
) -> SourceColumns:
    own = tuple(channels[column] for column in columns)
    held = source.max_age if source.max_age is not None else MAX_AGE if max_age is None else max_age
    feed = Feed(source.topic, source.stamp, source.file, source.shift_s)
    track = SourceColumns(name, feed, source.fields or (source.field,), source, own, columns, held)
    track.conversion()  # what contradicts itself is said before a recording is read
    return track
