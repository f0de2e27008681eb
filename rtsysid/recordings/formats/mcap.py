"""Read MCAP files: recordings of live sessions, and ROS 2 bags of other programs.

In a recording of rtsysid the columns are those of the topic `/samples`. `t` is the device's time, `episode` changes
when the device restarts, and channels have their own names and units.

In any other bag every number is a column `topic.field`. Each message is a row, with NaN in the columns of the other
topics; resampling handles such sparse columns. `t` is the time of recording. A time stamp in a message is a column of
seconds; name it as the time column where it is more accurate.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rtsysid.errors import TraceError
from rtsysid.guards.limits import checked_size
from rtsysid.recordings.bag import Bag, BagMessage, BagTopic
from rtsysid.recordings.formats import EPISODE, Block, Column, block_of, rows_per_block
from rtsysid.ros2msg import HEADER, MessageType
from rtsysid.spec import Doubles

SAMPLES = "rtsysid_msgs/msg/Sample"  # a bag with this message type is a recording of rtsysid
_BYTES = 1 << 24  # bytes of messages in memory at a time


class _Source(NamedTuple):
    """Locate a column: an MCAP channel, a value of its messages, and for a time stamp the value in nanoseconds."""

    channel: int
    value: str
    nanoseconds: str = ""


class Reader:
    """Open an MCAP file. Only the topics of the requested columns are unpacked.

    Raises TraceError where the file is damaged or holds no numbers.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.bag = path, Bag(path)
        if not self.bag.indexed:
            message = "%s was not closed, so its last second may be missing; rtsysid recover %s writes a complete file"
            logging.getLogger(__name__).warning(message, path.name, path)
        own = {number: each for number, each in self.bag.topics.items() if each.type_name == SAMPLES and each.type}
        self.own = bool(own)
        self.rows: int | None = None
        columns: dict[Column, _Source] = {}
        with self.bag.damage():
            for number, topic in own.items():
                columns |= _channels(number, topic)
                # A damaged count may exceed the length of the file; do not allocate for it.
                self.rows = min(topic.messages or 0, path.stat().st_size) or None
        for number, topic in self.bag.topics.items() if not own else ():
            columns |= _numbers(number, topic)
            checked_size(f"recording {path.name}", len(columns), "columns")
        if not columns:
            listed = ", ".join(map(_described, self.bag.topics.values())) or "no topics"
            raise TraceError(f"recording {path.name}: no column of numbers", listed, "record ROS 2 messages (cdr)")
        self.columns: tuple[Column, ...] = (Column("t", "s", False), *columns)
        self._sources = tuple(columns.values())

    def columns_by_topic(self) -> dict[str, list[str]]:
        """List the columns of each topic, without the topic's name."""
        names: dict[str, list[str]] = {}
        for column, source in zip(self.columns[1:], self._sources, strict=True):
            topic = self.bag.topics[source.channel].name
            names.setdefault(topic, []).append(column.name.removeprefix(f"{topic}."))
        return names

    def blocks(self, exact: Sequence[int], values: Sequence[int]) -> Iterator[Block]:
        """Stream the columns with these indices, in the order in which the messages were written.

        Raises TraceError where the file is damaged.
        """
        wanted = {i: self._sources[i - 1] for i in (*exact, *values) if i > 0}
        rows = rows_per_block(len(wanted))
        batch: list[BagMessage] = []
        size = 0
        for message in self.bag.messages({source.channel for source in wanted.values()}):
            batch.append(message)
            size += len(message.payload)
            if len(batch) == rows or size > _BYTES:
                yield block_of(self._cells(batch, wanted), exact, values)
                batch, size = [], 0
        if batch:
            yield block_of(self._cells(batch, wanted), exact, values)

    def _cells(self, batch: Sequence[BagMessage], wanted: Mapping[int, _Source]) -> dict[int, Doubles]:
        times = np.array([each.publish_ns if self.own else each.log_ns for each in batch], np.uint64)
        cells = {i: np.full(len(batch), np.nan) for i in wanted}
        cells[0] = (times // np.uint64(1000)) * 1e-6  # rounded as on the serial link: whole microseconds
        numbers = np.array([each.channel for each in batch])
        for channel in np.unique(numbers).tolist():
            rows = np.flatnonzero(numbers == channel)
            here = {i: source for i, source in wanted.items() if source.channel == channel}
            names = [name for source in here.values() for name in source[1:] if name]
            with self.bag.damage():
                columns = _unpack(self._type(channel), [batch[row].payload for row in rows.tolist()], names)
            for i, source in here.items():
                cells[i][rows] = columns[source.value]
                if source.nanoseconds:
                    cells[i][rows] += columns[source.nanoseconds] * 1e-9
        return cells

    def _type(self, channel: int) -> MessageType:
        kind = self.bag.topics[channel].type
        assert kind is not None  # a topic of unknown type has no column
        return kind


def _described(topic: BagTopic) -> str:
    return f"{topic.name} ({topic.type_name}{': ' if topic.problem else ''}{topic.problem})"


def _channels(number: int, topic: BagTopic) -> dict[Column, _Source]:
    """List the columns of a recording of rtsysid. Raises ValueError where its channel table is damaged."""
    columns = {Column(each.name, each.unit, True): _Source(number, each.field) for each in topic.table()}
    known = topic.type.numbers if topic.type else ()
    unknown = [source.value for source in columns.values() if source.value not in known]
    if unknown:
        raise ValueError(f"its channel table names {unknown[0]!r}, which no message has")
    return {Column(EPISODE, "", True): _Source(number, "boot"), **columns}


def _numbers(number: int, topic: BagTopic) -> dict[Column, _Source]:
    """List the columns of any other topic: its numbers, and each pair sec, nanosec as one time stamp."""
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
    """Unpack n messages into values [n] by name. Raises ValueError where a message does not fit its type."""
    if set(names) <= kind.head.keys():
        return _unpack_head({name: kind.head[name] for name in names}, payloads)
    places = [kind.names.index(name) for name in names]
    rows = np.array([[values[k] for k in places] for values in map(kind.unpack, payloads)], np.float64)
    return dict(zip(names, rows.T, strict=True))


def _unpack_head(head: Mapping[str, tuple[str, int]], payloads: Sequence[bytes]) -> dict[str, Doubles]:
    """Unpack numbers that have the same offset in every message."""
    codes, places = zip(*head.values(), strict=True)
    layout: Any = {"names": list(head), "formats": [f"<{code}" for code in codes], "offsets": places}
    kind = np.dtype(layout)
    heads = b"".join([payload[: kind.itemsize] for payload in payloads])
    if len(heads) < kind.itemsize * len(payloads) or any(payload[:2] != HEADER[:2] for payload in payloads):
        raise ValueError("a message ends early, or is not little-endian XCDR1")
    table = np.frombuffer(heads, kind)
    return {name: table[name].astype(np.float64) for name in head}
