"""Choose channels, sources and rate of a log: known parts first, then the columns of a table by their names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from rtsysid.errors import TraceError
from rtsysid.recordings.draft.known import KnownPart, Role, candidates, knowledge
from rtsysid.recordings.topics import Series, Topic, TopicLog, TopicRequest, read_each
from rtsysid.spec import Doubles

FEWEST = 30  # messages of a source
MOVED = 1e-9  # of its level, that a field must move
RATES = (1, 2, 5, 10, 20, 25, 30, 40, 50, 60, 80, 100, 120, 125, 150, 200, 250, 300, 400, 500, 800, 1000)
ACROSS = 2.5  # times the slowest source, that the rate of a model may be


class DraftSource(NamedTuple):
    """Hold one row of the table of sources. ``key``: a channel, or the group of several. ``rate_hz`` of its messages.

    ``channels``: names with units; ``fields``: one for each of them. ``known``: the entry that it comes from.
    """

    key: str
    role: Role
    channels: tuple[str, ...]
    topic: str
    fields: tuple[str, ...]
    rate_hz: float
    known: KnownPart | None = None
    unit: str = ""
    derive: str = ""

    @property
    def grouped(self) -> bool:
        """Whether the channels are converted together."""
        return self.known is not None and (self.known.together or self.derive != "" or self.is_rotation)

    @property
    def is_rotation(self) -> bool:
        """Whether the channels are a quaternion."""
        return len(self.channels) == 4 and all(name.endswith("[quat]") for name in self.channels)


class Draft(NamedTuple):
    """Hold what was chosen. ``rate_hz``: of the model. ``unsure``: what a user should look at, in words.

    ``table``: whether the log is one table, whose columns need no map. ``time``: its time column.
    """

    rate_hz: float
    sources: tuple[DraftSource, ...]
    unsure: tuple[str, ...]
    table: bool
    time: str = "t"

    @property
    def keys(self) -> list[str]:
        """List what a user chooses among: channels, and groups of channels that belong together."""
        return [source.key for source in self.sources]

    def with_roles(self, roles: Mapping[str, Role]) -> Draft:
        """Return the draft with these sources alone, in these roles."""
        kept = [source._replace(role=roles[source.key]) for source in self.sources if source.key in roles]
        return self._replace(sources=tuple(kept))

    def of_role(self, role: Role) -> list[str]:
        """List the channels of a role."""
        return [channel for source in self.sources if source.role == role for channel in source.channels]


def draft_of(log: TopicLog, table: bool, time: str = "t") -> Draft:
    """Choose the channels of a log. Raises TraceError where no output is found."""
    sources, unsure = _known_sources(log, table), list[str]()
    roles = {source.role for source in sources}
    if len(roles) < 2:
        named, doubts = _named_sources(log, roles)
        sources, unsure = [*sources, *named], [*unsure, *doubts]
    if not any(source.role == "output" for source in sources):
        topics = ", ".join(topic.name or "its columns" for topic in log.topics[:5])
        raise TraceError(f"log {log.path.name}", f"no field that moves and could be an output, in {topics}",
                         "write [data] by hand; rtsysid info lists the fields")  # fmt: skip
    unsure += [source.known.unsure for source in sources if source.known and source.known.unsure]
    rate, doubts = _rate_of(sources, table)
    return Draft(rate, tuple(sources), (*unsure, *doubts), table, time)


def _with_unit(topic: Topic, name: str) -> str:
    unit = next(field.unit for field in topic.fields if field.name == name)
    return f"{name} [{unit}]" if unit else name


def _known_sources(log: TopicLog, table: bool) -> list[DraftSource]:
    taken: dict[str, DraftSource] = {}
    fitting = [each for each in candidates(log.topics) if each[1].messages is None or each[1].messages >= FEWEST]
    requests = [TopicRequest(topic.name, [field for field, _ in part.found_in(topic)]) for part, topic in fitting]
    for (part, topic), series in zip(fitting, read_each(log, requests), strict=True):
        if part.part in taken:
            continue
        pairs, moving = part.found_in(topic), _moving(series)
        derive = "yaw" if part.is_rotation and not moving[:2].any() else ""
        if not part.together and not part.is_rotation:
            pairs = tuple(pair for pair, moves in zip(pairs, moving, strict=True) if moves)
        elif not (moving.any() if part.is_rotation else moving.all()):
            continue  # an output that never moves cannot be trained, and the others need it for their frame
        if pairs and len(series.t) >= FEWEST:
            fields, channels = zip(*pairs, strict=True)
            if table:  # without a map a channel has the name of its column
                channels = tuple(_with_unit(topic, field) for field in fields)
            rate = _rate_in(series)
            found = DraftSource(part.part, part.role, channels, topic.name, fields, rate, part, part.unit, derive)
            taken[part.part] = found._replace(key="yaw", channels=("yaw [rad]",)) if derive else found
    return list(taken.values())


def _named_sources(log: TopicLog, have: set[Role]) -> tuple[list[DraftSource], list[str]]:
    """Choose by the names of fields, in the topic with the most fields that move."""
    found: list[DraftSource] = []
    for topic in _richest(log):
        series = log.read(topic.name, [field.name for field in topic.fields])
        if len(series.t) < FEWEST:
            continue
        rate = _rate_in(series)
        for field, moves in zip(topic.fields, _moving(series), strict=True):
            role = knowledge().words.role(field.name)
            if moves and role is not None and role not in have:
                name = _with_unit(topic, field.name)
                found.append(DraftSource(field.name, role, (name,), topic.name, (field.name,), rate))
        break
    inputs, outputs = (sum(each.role == role for each in found) for role in ("input", "output"))
    unsure = ["inputs and outputs are guessed from names"] if found else []
    if not inputs and "input" not in have and outputs > 1:
        found[0] = found[0]._replace(role="input")
        unsure = [f"no name says what an input is: {found[0].key} is only a guess"]
    return found, unsure


def _richest(log: TopicLog) -> list[Topic]:
    return sorted(log.topics, key=lambda topic: -len(topic.fields) * min(topic.messages or 1000, 1000))


def _moving(series: Series) -> np.ndarray:
    """Tell which fields [F] move in messages [n, F], and are finite in most."""
    return np.array([_has_moved(column) for column in series.values.T], bool)


def _has_moved(values: Doubles) -> bool:
    finite = values[np.isfinite(values)]
    if len(finite) <= len(values) / 2:
        return False
    low, high = float(finite.min()), float(finite.max())
    return high - low > MOVED * max(abs(low), abs(high))


def _rate_in(series: Series) -> float:
    steps = np.diff(np.sort(series.t))
    steps = steps[steps > 0]
    return float(1 / np.median(steps)) if len(steps) else 0.0


def _rate_of(sources: Sequence[DraftSource], table: bool) -> tuple[float, list[str]]:
    """Choose the rate of the model, and say where sources are slower."""
    rates = {source.key: source.rate_hz for source in sources if source.rate_hz > 0}
    if table or not rates:
        return float(f"{max(rates.values(), default=100.0):.6g}"), []
    wanted = min(max(rates.values()), ACROSS * min(rates.values()))
    rate = float(max((each for each in RATES if each <= 1.05 * wanted), default=1))
    slow = [f"{key} comes at {own:.3g} Hz" for key, own in rates.items() if own < 0.8 * rate]
    return rate, [f"{', '.join(slow)}, slower than the model at {rate:g} Hz"] if slow else []
