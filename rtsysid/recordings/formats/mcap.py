"""MCAP: recordings of a live session, and ROS 2 bags of others.

A recording of ours is its topic `/samples`: `t` is the device's time, a change of `episode` is a restart of the device,
and channels have their own names and units. In any other bag every number is a column `topic.field`; each message is a
row with NaN under the other topics, which resampling takes for what it is. `t` is the time of recording there; a time
stamp in a message is a column of seconds, to be named where it is the better time.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rtsysid.errors import TraceError
from rtsysid.recordings.bag import Bag, BagMessage, Topic
from rtsysid.recordings.formats import EPISODE, ROWS, Block, Column, block_of
from rtsysid.ros2msg import HEADER, MessageType
from rtsysid.spec import Doubles

SAMPLES = "rtsysid_msgs/msg/Sample"  # the type of message that makes a bag one of ours
_BYTES = 1 << 26  # of messages in memory at a time, where they are long ones


class _Source(NamedTuple):
    """Where a column comes from: a value of the messages of a channel, and its billionths where it has some."""

    channel: int
    value: str
    billionths: str = ""


class McapLog:
    """An MCAP file; only the topics of the columns that are asked for are unpacked."""

    def __init__(self, path: Path) -> None:
        self.path, self.bag = path, Bag(path)
        if not self.bag.indexed:
            message = "%s was not closed, so its last second may be missing; rtsysid recover %s makes a whole one"
            logging.getLogger(__name__).warning(message, path.name, path)
        own = {number: each for number, each in self.bag.topics.items() if each.type_name == SAMPLES and each.type}
        self.own = bool(own)
        self.rows: int | None = None
        found: dict[Column, _Source] = {}
        with self.bag.damage():
            for number, topic in own.items():
                found |= _channels(number, topic)
                # A count that the file is too short for is a damaged one; nobody is to make room for it.
                self.rows = min(topic.messages or 0, path.stat().st_size) or None
        for number, topic in self.bag.topics.items() if not own else ():
            found |= _numbers(number, topic)
        if not found:
            listed = ", ".join(f"{each.name} ({each.type_name})" for each in self.bag.topics.values()) or "no topics"
            raise TraceError(f"recording {path.name}: no column of numbers", listed, "record ROS 2 messages (cdr)")
        self.columns: tuple[Column, ...] = (Column("t", "s", False), *found)
        self._sources = tuple(found.values())

    def columns_by_topic(self) -> dict[str, list[str]]:
        """Names of the columns of each topic, without that of the topic."""
        found: dict[str, list[str]] = {}
        for column, source in zip(self.columns[1:], self._sources, strict=True):
            topic = self.bag.topics[source.channel].name
            found.setdefault(topic, []).append(column.name.removeprefix(f"{topic}."))
        return found

    def blocks(self, exact: Sequence[int], values: Sequence[int]) -> Iterator[Block]:
        """Stream these columns, in the order in which the messages were written."""
        wanted = {i: self._sources[i - 1] for i in (*exact, *values) if i > 0}
        batch: list[BagMessage] = []
        size = 0
        for message in self.bag.messages({source.channel for source in wanted.values()}):
            batch.append(message)
            size += len(message.payload)
            if len(batch) == ROWS or size > _BYTES:
                yield block_of(self._cells(batch, wanted), exact, values)
                batch, size = [], 0
        if batch:
            yield block_of(self._cells(batch, wanted), exact, values)

    def _cells(self, batch: Sequence[BagMessage], wanted: Mapping[int, _Source]) -> dict[int, Doubles]:
        times = np.array([each.publish_ns if self.own else each.log_ns for each in batch], np.uint64)
        cells = {i: np.full(len(batch), np.nan) for i in wanted}
        cells[0] = (times // np.uint64(1000)) * 1e-6  # as the link makes seconds of microseconds, to the last bit
        numbers = np.array([each.channel for each in batch])
        for channel in np.unique(numbers).tolist():
            rows = np.flatnonzero(numbers == channel)
            here = {i: source for i, source in wanted.items() if source.channel == channel}
            names = [name for source in here.values() for name in source[1:] if name]
            with self.bag.damage():
                columns = _unpack(self._type(channel), [batch[row].payload for row in rows.tolist()], names)
            for i, source in here.items():
                cells[i][rows] = columns[source.value]
                if source.billionths:
                    cells[i][rows] += columns[source.billionths] * 1e-9
        return cells

    def _type(self, channel: int) -> MessageType:
        kind = self.bag.topics[channel].type
        assert kind is not None  # else it has no column
        return kind


def _channels(number: int, topic: Topic) -> dict[Column, _Source]:
    """Columns of a recording of ours. Raises ValueError where its table of channels is none."""
    columns = {Column(each.name, each.unit, True): _Source(number, each.field) for each in topic.table()}
    known = topic.type.numbers if topic.type else ()
    unknown = [source.value for source in columns.values() if source.value not in known]
    if unknown:
        raise ValueError(f"its table of channels names {unknown[0]!r}, which no message has")
    return {Column(EPISODE, "", True): _Source(number, "boot"), **columns}


def _numbers(number: int, topic: Topic) -> dict[Column, _Source]:
    """Columns of any other topic: its numbers, and seconds with their billionths as a time stamp."""
    names = topic.type.numbers if topic.type else ()
    columns = {}
    for name in names:
        stem, _, last = name.rpartition(".")
        if last == "sec" and f"{stem}.nanosec" in names:
            columns[Column(f"{topic.name}.{stem}", "s", False)] = _Source(number, name, f"{stem}.nanosec")
        elif last != "nanosec":
            columns[Column(f"{topic.name}.{name}", "", True)] = _Source(number, name)
    return columns


def _unpack(kind: MessageType, payloads: Sequence[bytes], names: Sequence[str]) -> dict[str, Doubles]:
    """Values [n] of n messages by name. Raises ValueError where a message is not what its type says."""
    if set(names) <= kind.head.keys():
        return _unpack_head({name: kind.head[name] for name in names}, payloads)
    places = [kind.names.index(name) for name in names]
    rows = np.array([[values[k] for k in places] for values in map(kind.unpack, payloads)], np.float64)
    return dict(zip(names, rows.T, strict=True))


def _unpack_head(head: Mapping[str, tuple[str, int]], payloads: Sequence[bytes]) -> dict[str, Doubles]:
    """Numbers that have the same place in every message."""
    codes, places = zip(*head.values(), strict=True)
    layout: Any = {"names": list(head), "formats": [f"<{code}" for code in codes], "offsets": places}
    kind = np.dtype(layout)
    cut = b"".join([payload[: kind.itemsize] for payload in payloads])
    if len(cut) < kind.itemsize * len(payloads) or any(payload[:2] != HEADER[:2] for payload in payloads):
        raise ValueError("a message ends early, or is not little-endian XCDR1")
    table = np.frombuffer(cut, kind)
    return {name: table[name].astype(np.float64) for name in head}
