"""Bag: an MCAP file as topics and messages, in the order in which they were written.

The `mcap` package parses what a record says. Which bytes are a record is decided here, so that a file that ends in the
middle of one is told from a whole one, and a long file is read one chunk at a time.

Ref: https://mcap.dev/spec
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import IO, NamedTuple

import msgspec
from mcap.data_stream import ReadDataStream
from mcap.exceptions import McapError
from mcap.opcode import Opcode
from mcap.records import Channel, Chunk, Footer, Metadata, Schema, Statistics
from mcap.stream_reader import get_chunk_data_stream
from mcap.writer import MCAP0_MAGIC

from rtsysid.errors import TraceError
from rtsysid.ros2msg import MessageType, Value

MAGIC = MCAP0_MAGIC  # at both ends of a file
_RECORD = struct.Struct("<BQ")  # opcode, length
_MESSAGE = struct.Struct("<HIQQ")  # channel, sequence, log_time, publish_time
_CHANNEL = struct.Struct("<H")  # the first of these
_CRC = struct.Struct("<I")
_FOOTER = _RECORD.size + struct.calcsize("<QQI")
_CONTENT = (Opcode.CHUNK, Opcode.SCHEMA, Opcode.CHANNEL, Opcode.MESSAGE, Opcode.STATISTICS)
_LARGEST = 1 << 30  # bytes of a chunk: no writer makes them so long


class Torn(ValueError):
    """The file ends inside the record that begins at byte `at`, or there without an ending."""

    def __init__(self, at: int) -> None:
        super().__init__(f"it ends inside what begins at byte {at}")
        self.at = at


class McapRecord(NamedTuple):
    """What stands at byte `at` of a file."""

    opcode: int
    at: int
    data: bytes


class BagMessage(NamedTuple):
    """A message as it lies in the file; times in nanoseconds."""

    channel: int
    sequence: int
    log_ns: int
    publish_ns: int
    payload: bytes


class TableRow(msgspec.Struct):
    """A field of the messages, and the channel that it holds."""

    field: str
    name: str
    unit: str = ""


class Topic(NamedTuple):
    """A topic and its messages. ``type`` is None where they are not ROS 2 (cdr, ros2msg), or not understood."""

    name: str
    type_name: str
    type: MessageType | None
    metadata: dict[str, str]
    messages: int | None

    def table(self) -> list[TableRow]:
        """In a recording of ours, which field is which channel. Raises ValueError where that is not said."""
        try:
            return msgspec.json.decode(self.metadata.get("channels", ""), type=list[TableRow])
        except msgspec.MsgspecError as error:
            raise ValueError(f"its table of channels: {error}") from None


class Bag:
    """An MCAP file that has an ending. `indexed`: whether it was closed as it should be.

    Raises TraceError, one line, for whatever else it may be.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._opened() as stream:
            footer = _footer(path, stream)
            _check_summary(stream, footer)
            index = _index(stream, footer.summary_start or len(MAGIC))
            if not index.channels:
                index = _index(stream, len(MAGIC))
        self.indexed = footer.summary_start > 0
        self.topics: dict[int, Topic] = {number: index.topic(channel) for number, channel in index.channels.items()}

    def messages(self, channels: Collection[int]) -> Iterator[BagMessage]:
        """Messages of these channels."""
        with self._opened() as stream:
            stream.seek(len(MAGIC))
            for part in parts(stream):
                for opcode, start, end in walk(part):
                    if opcode == Opcode.MESSAGE and _CHANNEL.unpack_from(part, start)[0] in channels:
                        yield message_of(part, start, end)

    def read(self, topic: str) -> Iterator[tuple[BagMessage, dict[str, Value]]]:
        """Messages of one topic and their values by name; none where there is no such topic."""
        types = {number: each.type for number, each in self.topics.items() if each.name == topic and each.type}
        for message in self.messages(types):
            kind = types[message.channel]
            with self.damage():
                values = dict(zip(kind.names, kind.unpack(message.payload), strict=True))
            yield message, values

    def metadata(self) -> dict[str, dict[str, str]]:
        """Groups of texts by their names."""
        with self._opened() as stream:
            stream.seek(len(MAGIC))
            found = [Metadata.read(stream_of(record.data)) for record in records(stream, (Opcode.METADATA,))]
        return {each.name: each.metadata for each in found}

    @contextmanager
    def damage(self) -> Iterator[None]:
        """Turn what is said about bytes that are not what they should be into one line."""
        try:
            yield
        except (ValueError, struct.error, McapError) as error:
            reason = " ".join(str(error).split())[:120] or type(error).__name__
            remedy = f"rescue what is whole with rtsysid recover {self.path}"
            raise TraceError(f"recording {self.path.name}", f"damaged ({reason})", remedy) from error

    @contextmanager
    def _opened(self) -> Iterator[IO[bytes]]:
        try:
            with self.damage(), open(self.path, "rb") as stream:
                yield stream
        except OSError as error:
            reason = error.strerror or str(error)
            raise TraceError(f"cannot read {self.path.name}", reason, "check the file and its rights") from error


def records(stream: IO[bytes], wanted: Collection[int]) -> Iterator[McapRecord]:
    """The records of these kinds, from here to the footer. Raises Torn where the file ends before it."""
    at, size, opcode = stream.tell(), os.fstat(stream.fileno()).st_size, 0
    while opcode != Opcode.FOOTER:
        head = stream.read(_RECORD.size)
        if len(head) < _RECORD.size:
            raise Torn(at)
        opcode, length = _RECORD.unpack(head)
        end = at + _RECORD.size + length
        if end > size:
            raise Torn(at)
        if opcode in wanted:
            yield McapRecord(opcode, at, stream.read(length))
        else:
            stream.seek(end)
        at = end


def parts(stream: IO[bytes]) -> Iterator[bytes]:
    """The content from here on, some records at a time: that of a chunk, or one record that stands alone."""
    for record in records(stream, _CONTENT):
        yield content(record)


def content(record: McapRecord) -> bytes:
    """Records as bytes: those in a chunk, or this one. Raises ValueError for a chunk that is damaged."""
    if record.opcode != Opcode.CHUNK:
        return _RECORD.pack(record.opcode, len(record.data)) + record.data
    chunk = Chunk.read(stream_of(record.data))
    if chunk.uncompressed_size > _LARGEST:
        raise ValueError(f"a chunk of {chunk.uncompressed_size} bytes")
    try:
        stream, length = get_chunk_data_stream(chunk, validate_crc=True)
    except Exception as error:  # each compression has errors of its own
        raise ValueError(f"a chunk does not unpack: {error}") from error
    return stream.read(length)


def walk(part: bytes) -> Iterator[tuple[int, int, int]]:
    """Opcode, start and end of the content of each record in some bytes. Raises ValueError where one goes beyond."""
    at, size = 0, len(part)
    while at < size:
        opcode, length = _RECORD.unpack_from(part, at)
        at += _RECORD.size
        if length > size - at:
            raise ValueError("a record goes beyond its chunk")
        yield opcode, at, at + length
        at += length


def message_of(part: bytes, start: int, end: int) -> BagMessage:
    """The message whose content stands there in some records."""
    channel, sequence, log_ns, publish_ns = _MESSAGE.unpack_from(part, start)
    return BagMessage(channel, sequence, log_ns, publish_ns, part[start + _MESSAGE.size : end])


class _Index(NamedTuple):
    schemas: dict[int, Schema]
    channels: dict[int, Channel]
    counts: dict[int, int]

    def topic(self, channel: Channel) -> Topic:
        schema = self.schemas.get(channel.schema_id)
        kind = None
        if schema is not None and (channel.message_encoding, schema.encoding) == ("cdr", "ros2msg"):
            with suppress(ValueError):
                kind = MessageType(schema.name, schema.data.decode(errors="replace"))
        name = schema.name if schema is not None else channel.message_encoding
        count = self.counts.get(channel.id, 0) if self.counts else None
        return Topic(channel.topic, name, kind, channel.metadata, count)


def _index(stream: IO[bytes], start: int) -> _Index:
    """What is said from byte `start` on about schemas, channels and counts of messages."""
    index = _Index({}, {}, {})
    stream.seek(start)
    for part in parts(stream):
        for opcode, begin, end in walk(part):
            if opcode == Opcode.SCHEMA:
                schema = Schema.read(stream_of(part[begin:end]))
                index.schemas[schema.id] = schema
            elif opcode == Opcode.CHANNEL:
                channel = Channel.read(stream_of(part[begin:end]))
                index.channels[channel.id] = channel
            elif opcode == Opcode.STATISTICS:
                index.counts.update(Statistics.read(stream_of(part[begin:end])).channel_message_counts)
    return index


def _footer(path: Path, stream: IO[bytes]) -> Footer:
    """Check both ends of a file."""
    if stream.read(len(MAGIC)) != MAGIC:
        raise TraceError(f"recording {path.name}", "it is no MCAP file", "name a file that a recorder wrote")
    stream.seek(max(stream.seek(0, os.SEEK_END) - _FOOTER - len(MAGIC), 0))
    ending = stream.read()
    if ending[-len(MAGIC) :] != MAGIC or ending[0] != Opcode.FOOTER:
        found = "it has no ending: the recorder was cut off, or the file was"
        raise TraceError(f"recording {path.name}", found, f"rescue what is whole with rtsysid recover {path}")
    footer: Footer = Footer.read(stream_of(ending[_RECORD.size :]))
    return footer


def _check_summary(stream: IO[bytes], footer: Footer) -> None:
    """Raises ValueError where the summary, of which messages are understood, is not what was written."""
    if not (footer.summary_start and footer.summary_crc):
        return  # there is none, or it was written without one
    end = stream.seek(0, os.SEEK_END) - len(MAGIC) - _CRC.size  # it covers the footer up to itself
    stream.seek(footer.summary_start)
    if zlib.crc32(stream.read(max(end - footer.summary_start, 0))) != footer.summary_crc:
        raise ValueError("the checksum of its summary is wrong")


def stream_of(data: bytes) -> ReadDataStream:
    """What the record classes of the `mcap` package read from; ValueError where they want more than there is."""
    return ReadDataStream(_Exact(data))


class _Exact(BytesIO):
    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > len(self.getbuffer()) - self.tell():
            raise ValueError("a record ends early")
        return super().read(size)
