"""Read MCAP files: recordings of live sessions as a table, and logs of ROS of other programs as topics.

In a recording of rtsysid the columns are those of the topic `/samples`. `t` is the device's time, `episode` changes
when the device restarts, and channels have their own names and units.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from rtsysid.recordings.bag import Bag
from rtsysid.recordings.formats import EPISODE, Block, Column, block_of, rows_per_block
from rtsysid.recordings.mcap_records import BagMessage
from rtsysid.recordings.ros.container import BagTopic
from rtsysid.recordings.ros.decoder import Decoder
from rtsysid.recordings.ros.log import RosLog
from rtsysid.spec import Doubles

SAMPLES = "rtsysid_msgs/msg/Sample"  # a bag with this message type is a recording of rtsysid
_BYTES = 1 << 24  # bytes of messages in memory at a time


def Reader(path: Path) -> SampleTable | RosLog:
    """Open an MCAP file: a recording of rtsysid as a table, any other file as a log of topics.

    Raises TraceError where the file is damaged; of another program's file, where nothing can be read.
    """
    bag = Bag.readable(path)
    if bag.missing and _is_live_session(bag):
        bag = Bag(path)  # it is refused, with the command that saves it
    if not bag.indexed and not bag.missing:
        message = "%s was not closed, so its last second may be missing; rtsysid recover %s writes a complete file"
        logging.getLogger(__name__).warning(message, path.name, path)
    return SampleTable(bag) if _is_live_session(bag) else RosLog(path, [bag])


def _is_live_session(bag: Bag) -> bool:
    return any(each.type_name == SAMPLES and each.type for each in bag.topics.values())


class SampleTable:
    """Show the samples of a live session as a table. The samples of several channels of `/samples` follow each other.

    Raises TraceError where the file is damaged.
    """

    def __init__(self, bag: Bag) -> None:
        self.path, self.bag = bag.path, bag
        own = {number: each for number, each in bag.topics.items() if each.type_name == SAMPLES and each.type}
        self._fields: dict[Column, dict[int, str]] = {}  # the field of a column by channel
        with bag.damage():
            for number, topic in own.items():
                for column, field in _sample_columns(topic).items():
                    self._fields.setdefault(column, {})[number] = field
        self.columns: tuple[Column, ...] = (Column("t", "s", False), *self._fields)
        # A damaged count may exceed the length of the file; do not allocate for it.
        self.rows: int | None = min(sum(each.messages or 0 for each in own.values()), self.path.stat().st_size) or None

    def blocks(self, exact: Sequence[int], values: Sequence[int]) -> Iterator[Block]:
        """Stream the columns with these indices, in the order in which the messages were written.

        Raises TraceError where the file is damaged.
        """
        wanted = [self.columns[i] for i in (*exact, *values) if i > 0]
        channels = {number for column in wanted for number in self._fields[column]}
        rows = rows_per_block(len(wanted))
        batch: list[BagMessage] = []
        size = 0
        for message in self.bag.messages(channels):
            batch.append(message)
            size += len(message.payload)
            if len(batch) == rows or size > _BYTES:
                yield block_of(self._cells(batch, wanted), exact, values)
                batch, size = [], 0
        if batch:
            yield block_of(self._cells(batch, wanted), exact, values)

    def _cells(self, batch: Sequence[BagMessage], wanted: Sequence[Column]) -> dict[int, Doubles]:
        times = np.array([each.publish_ns for each in batch], np.uint64)
        table = np.full((len(batch), len(wanted)), np.nan)
        numbers = np.array([each.channel for each in batch])
        for channel in np.unique(numbers).tolist():
            rows = np.flatnonzero(numbers == channel)
            kind = self.bag.topics[channel].type
            assert kind is not None  # a topic of unknown type has no column
            fields = [self._fields[column].get(channel, "") for column in wanted]
            with self.bag.damage():
                table[rows] = Decoder(kind, fields, {}).decode([batch[row].payload for row in rows.tolist()])
        # rounded as on the serial link: whole microseconds
        cells = {self.columns.index(column): table[:, k] for k, column in enumerate(wanted)}
        return {0: (times // np.uint64(1000)) * 1e-6, **cells}


def _sample_columns(topic: BagTopic) -> dict[Column, str]:
    """Map the columns of a channel to its fields. Raises ValueError where its channel table is damaged."""
    columns = {Column(each.name, each.unit, True): each.field for each in topic.table()}
    known = topic.type.numbers if topic.type else ()
    unknown = [field for field in columns.values() if field not in known]
    if unknown:
        raise ValueError(f"its channel table names {unknown[0]!r}, which no message has")
    return {Column(EPISODE, "", True): "boot", **columns}
