"""Read an MCAP file as topics and messages, in the order in which they were written.

`Bag` refuses a file that is damaged or cut off; `Bag.torn` opens it up to the damage.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from mcap.exceptions import McapError
from mcap.opcode import Opcode
from mcap.records import Channel, ChunkIndex, Footer, Metadata, Schema, Statistics

from rtsysid.errors import TraceError
from rtsysid.recordings.mcap_records import (
    MAGIC,
    MESSAGE,
    RECORD,
    BagMessage,
    message_of,
    record_batches,
    records,
    stream_of,
    walk,
)
from rtsysid.recordings.ros.container import INDEX_DAMAGED, BagTopic, Damage, MessageBatch, opened_file, what_is_lost
from rtsysid.recordings.ros.definitions import Definition, parsed_types
from rtsysid.rosmsg import MessageType, Value

_CRC = struct.Struct("<I")
_FOOTER = RECORD.size + struct.calcsize("<QQI")
_DAMAGE = (ValueError, struct.error, McapError)
_ENCODINGS = {"ros2msg": "cdr", "ros2idl": "cdr", "ros1msg": "ros1"}  # of messages, by that of their definition


class Bag:
    """Open a complete MCAP file. `indexed` is true where the recorder closed it.

    ``missing``: what was cut off, "" for a complete file. Raises TraceError where the file is damaged, cut off, or not
    MCAP.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.missing, index = path, "", _Index()
        with self.damage(), opened_file(self.path) as stream:
            _require_magic(path, stream)
            footer = _footer(path, stream)
            _check_summary(stream, footer)
            index.scan(stream, footer.summary_start or len(MAGIC))
            if not index.channels:
                index.scan(stream, len(MAGIC))
        self.indexed = footer.summary_start > 0
        self.topics: dict[int, BagTopic] = index.topics(path)
        self._chunks = index.chunks

    @classmethod
    def readable(cls, path: Path) -> Bag:
        """Open an MCAP file, also one that is damaged. Raises TraceError where not even its topics can be read."""
        try:
            return cls(path)
        except TraceError:
            bag = cls.torn(path)
            if not bag.topics:
                raise
            return bag

    @classmethod
    def torn(cls, path: Path) -> Bag:
        """Open an MCAP file up to its damage. Raises TraceError where it is not MCAP."""
        bag, index = object.__new__(cls), _Index()
        bag.path, bag.indexed, bag.missing, bag._chunks = path, False, "", index.chunks
        with opened_file(path) as stream:
            _require_magic(path, stream)
            try:
                index.scan(stream, len(MAGIC), tally=True)
            except Damage as damage:
                bag.missing = what_is_lost(damage, os.fstat(stream.fileno()).st_size, index.seconds)
            else:
                bag.missing = INDEX_DAMAGED
        bag.topics = index.topics(path)
        return bag

    def messages(self, channels: Collection[int]) -> Iterator[BagMessage]:
        """Stream the messages of these channel numbers. Raises TraceError where the file is damaged."""
        with self.damage(), opened_file(self.path) as stream:
            for _, batch in self._batches(stream, channels):
                for opcode, start, end in walk(batch):
                    if opcode == Opcode.MESSAGE and MESSAGE.unpack_from(batch, start)[0] in channels:
                        yield message_of(batch, start, end)

    def stream(self, channels: Collection[int]) -> Iterator[MessageBatch]:
        """Stream the messages of these channel numbers, the log time in ns. Raises Damage where the file is damaged."""
        with opened_file(self.path) as stream:
            for at, batch in self._batches(stream, channels):
                part = MessageBatch.empty()
                try:
                    _append_messages(batch, channels, part)
                except _DAMAGE as error:
                    yield part
                    raise Damage(error, at) from error
                yield part

    def _batches(self, stream: IO[bytes], channels: Collection[int]) -> Iterator[tuple[int, bytes]]:
        """Stream the batches of records that may hold messages of these channels, each with its position."""
        passed = {at for at, held in self._chunks.items() if not held & set(channels)}
        stream.seek(len(MAGIC))
        return record_batches(stream, passed)

    def read(self, topic: str) -> Iterator[tuple[BagMessage, dict[str, Value]]]:
        """Stream the messages of one topic with their values by name; none where the topic is missing.

        Raises TraceError where the file or a message is damaged.
        """
        types = {number: each.type for number, each in self.topics.items() if each.name == topic and each.type}
        for message in self.messages(types):
            kind = types[message.channel]
            with self.damage():
                values = dict(zip(kind.names, kind.unpack(message.payload), strict=True))
            yield message, values

    def metadata(self) -> dict[str, dict[str, str]]:
        """Return the metadata records: a group of texts per name. Raises TraceError where the file is damaged."""
        with self.damage(), opened_file(self.path) as stream:
            stream.seek(len(MAGIC))
            groups = [Metadata.read(stream_of(record.data)) for record in records(stream, (Opcode.METADATA,))]
        return {each.name: each.metadata for each in groups}

    @contextmanager
    def damage(self) -> Iterator[None]:
        """Convert errors about damaged bytes to TraceError."""
        try:
            yield
        except _DAMAGE as error:
            reason = " ".join(str(error).split())[:120] or type(error).__name__
            remedy = f"save the intact messages with: rtsysid recover {self.path}"
            raise TraceError(f"recording {self.path.name}", f"damaged ({reason})", remedy) from error


def _append_messages(batch: bytes, channels: Collection[int], part: MessageBatch) -> None:
    """Append the messages of channels in a batch of records. Raises an error of `_DAMAGE` where it is damaged."""
    numbers, times, payloads = part.channels.append, part.log_ns.append, part.payloads.append
    wanted, message, unpack, size = set(channels), int(Opcode.MESSAGE), MESSAGE.unpack_from, MESSAGE.size
    for opcode, start, end in walk(batch):
        if opcode == message:
            number, _, log_ns, _ = unpack(batch, start)
            if number in wanted:
                numbers(number)
                times(log_ns)
                payloads(batch[start + size : end])


class _Index:
    """Collect definitions, message counts, and the channels of each chunk by its position."""

    def __init__(self) -> None:
        self.schemas: dict[int, Schema] = {}
        self.channels: dict[int, Channel] = {}
        self.counts: dict[int, int] = {}
        self.chunks: dict[int, frozenset[int]] = {}
        self._sets: dict[frozenset[int], frozenset[int]] = {}  # most chunks hold the same channels
        self._first_ns: int | None = None
        self._last_ns = 0

    @property
    def seconds(self) -> float | None:
        """Return the time in s from the first to the last message of a tally, None where there is none."""
        return None if self._first_ns is None else (self._last_ns - self._first_ns) / 1e9

    def scan(self, stream: IO[bytes], start: int, tally: bool = False) -> None:
        """Read the records from byte `start` on; `tally` counts the messages, too. Raises Damage."""
        stream.seek(start)
        for at, batch in record_batches(stream):
            try:
                for opcode, begin, end in walk(batch):
                    if opcode != Opcode.MESSAGE:
                        self._take(opcode, batch[begin:end])
                    elif tally:
                        self._count(*MESSAGE.unpack_from(batch, begin)[::2])
            except _DAMAGE as error:
                raise Damage(error, at) from error

    def _take(self, opcode: int, data: bytes) -> None:
        if opcode == Opcode.SCHEMA:
            schema = Schema.read(stream_of(data))
            self.schemas.setdefault(schema.id, schema)  # the first is checked by the checksum of its chunk
        elif opcode == Opcode.CHANNEL:
            channel = Channel.read(stream_of(data))
            self.channels.setdefault(channel.id, channel)
        elif opcode == Opcode.STATISTICS:
            self.counts.update(Statistics.read(stream_of(data)).channel_message_counts)
        elif opcode == Opcode.CHUNK_INDEX:
            chunk = ChunkIndex.read(stream_of(data))
            held = frozenset(chunk.message_index_offsets)
            if held:  # without an index of its messages a chunk may hold any channel
                self.chunks[chunk.chunk_start_offset] = self._sets.setdefault(held, held)

    def _count(self, channel: int, log_ns: int) -> None:
        self.counts[channel] = self.counts.get(channel, 0) + 1
        self._first_ns = log_ns if self._first_ns is None else min(self._first_ns, log_ns)
        self._last_ns = max(self._last_ns, log_ns)

    def topics(self, path: Path) -> dict[int, BagTopic]:
        """Describe all topics by channel number. Raises TraceError where their types have too many values."""
        keys = {
            k: Definition(each.name, each.data.decode(errors="replace"), each.encoding)
            for k, each in self.schemas.items()
        }
        types = parsed_types(path, keys.values())
        return {
            k: self._topic(each, types[keys[each.schema_id]] if each.schema_id in keys else "")
            for k, each in self.channels.items()
        }

    def _topic(self, channel: Channel, kind: MessageType | str) -> BagTopic:
        schema = self.schemas.get(channel.schema_id)
        name = schema.name if schema is not None else channel.message_encoding
        if channel.message_encoding != _ENCODINGS.get(schema.encoding if schema is not None else ""):
            kind = f"messages in {channel.message_encoding[:40] or 'no encoding'}, which are not decoded"
        count = self.counts.get(channel.id, 0) if self.counts else None
        return BagTopic.of(channel.topic, name, kind, count, channel.metadata)


def _require_magic(path: Path, stream: IO[bytes]) -> None:
    if stream.read(len(MAGIC)) != MAGIC:
        raise TraceError(f"recording {path.name}", "it is not an MCAP file", "name a file that a recorder wrote")


def _footer(path: Path, stream: IO[bytes]) -> Footer:
    """Check the magic bytes at the end of a file, and read the footer."""
    stream.seek(max(stream.seek(0, os.SEEK_END) - _FOOTER - len(MAGIC), 0))
    ending = stream.read()
    if ending[-len(MAGIC) :] != MAGIC or ending[0] != Opcode.FOOTER:
        cut = "it has no footer: the recorder was stopped, or the file was cut off"
        raise TraceError(f"recording {path.name}", cut, f"save the intact messages with: rtsysid recover {path}")
    footer: Footer = Footer.read(stream_of(ending[RECORD.size :]))
    return footer


def _check_summary(stream: IO[bytes], footer: Footer) -> None:
    """Check the checksum of the summary, which defines the messages. Raises ValueError where it is wrong."""
    if not (footer.summary_start and footer.summary_crc):
        return  # no summary, or one without a checksum
    end = stream.seek(0, os.SEEK_END) - len(MAGIC) - _CRC.size  # it covers the footer up to the checksum itself
    stream.seek(footer.summary_start)
    if zlib.crc32(stream.read(max(end - footer.summary_start, 0))) != footer.summary_crc:
        raise ValueError("the checksum of its summary is wrong")
