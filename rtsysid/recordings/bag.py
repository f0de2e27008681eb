"""Read an MCAP file as topics and messages, in the order in which they were written.

The `mcap` package parses the content of a record. This module finds the records in the file. It detects a file that
ends inside a record, and it reads a long file one chunk at a time.

Ref: https://mcap.dev/spec
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import IO, NamedTuple

import lz4.frame
import msgspec
import zstandard
from mcap.data_stream import ReadDataStream
from mcap.exceptions import McapError
from mcap.opcode import Opcode
from mcap.records import Channel, Chunk, Footer, Metadata, Schema, Statistics
from mcap.writer import MCAP0_MAGIC

from rtsysid.errors import TraceError
from rtsysid.guards.limits import checked_growth, checked_size, limit
from rtsysid.ros2msg import MessageType, Value

MAGIC = MCAP0_MAGIC  # at the beginning and at the end of a file
_RECORD = struct.Struct("<BQ")  # opcode, length
_MESSAGE = struct.Struct("<HIQQ")  # channel, sequence, log_time, publish_time
_CHANNEL = struct.Struct("<H")  # the first field of a message
_CRC = struct.Struct("<I")
_FOOTER = _RECORD.size + struct.calcsize("<QQI")
_CONTENT = (Opcode.CHUNK, Opcode.SCHEMA, Opcode.CHANNEL, Opcode.MESSAGE, Opcode.STATISTICS)
_DEFINITIONS = (Opcode.SCHEMA, Opcode.CHANNEL, Opcode.STATISTICS, Opcode.METADATA)
_LIMITS = {Opcode.CHUNK: "chunk_bytes", Opcode.MESSAGE: "chunk_bytes"} | dict.fromkeys(_DEFINITIONS, "definition_bytes")


class Torn(ValueError):
    """Report a file that ends inside the record at byte `at`, or ends there without a footer."""

    def __init__(self, at: int) -> None:
        super().__init__(f"it ends inside the record at byte {at}")
        self.at = at


class McapRecord(NamedTuple):
    """Hold a record of an MCAP file, and its position in bytes."""

    opcode: int
    at: int
    data: bytes


class BagMessage(NamedTuple):
    """Hold a message as stored in the file. Times are in nanoseconds."""

    channel: int
    sequence: int
    log_ns: int
    publish_ns: int
    payload: bytes


class TableRow(msgspec.Struct):
    """Map a field of the messages to a channel."""

    field: str
    name: str
    unit: str = ""


class BagTopic(NamedTuple):
    """Describe a topic. ``type`` is None where its messages are not ROS 2 (cdr, ros2msg), or of an unknown type.

    ``problem``: why the type is unknown, where there is a reason.
    """

    name: str
    type_name: str
    type: MessageType | None
    metadata: dict[str, str]
    messages: int | None
    problem: str = ""

    def table(self) -> list[TableRow]:
        """Return the channel table of a recording of rtsysid. Raises ValueError where there is none."""
        try:
            return msgspec.json.decode(self.metadata.get("channels", ""), type=list[TableRow])
        except (msgspec.MsgspecError, RecursionError) as error:
            raise ValueError(f"its channel table: {error}") from None


class Bag:
    """Open a complete MCAP file. `indexed` is true where the recorder closed it.

    Raises TraceError where the file is damaged, cut off, or not MCAP.
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
        self.topics: dict[int, BagTopic] = index.topics(path)

    def messages(self, channels: Collection[int]) -> Iterator[BagMessage]:
        """Stream the messages of these channel numbers. Raises TraceError where the file is damaged."""
        with self._opened() as stream:
            stream.seek(len(MAGIC))
            for batch in record_batches(stream):
                for opcode, start, end in walk(batch):
                    if opcode == Opcode.MESSAGE and _CHANNEL.unpack_from(batch, start)[0] in channels:
                        yield message_of(batch, start, end)

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
        with self._opened() as stream:
            stream.seek(len(MAGIC))
            groups = [Metadata.read(stream_of(record.data)) for record in records(stream, (Opcode.METADATA,))]
        return {each.name: each.metadata for each in groups}

    @contextmanager
    def damage(self) -> Iterator[None]:
        """Convert errors about damaged bytes to TraceError."""
        try:
            yield
        except (ValueError, struct.error, McapError) as error:
            reason = " ".join(str(error).split())[:120] or type(error).__name__
            remedy = f"save the intact messages with: rtsysid recover {self.path}"
            raise TraceError(f"recording {self.path.name}", f"damaged ({reason})", remedy) from error

    @contextmanager
    def _opened(self) -> Iterator[IO[bytes]]:
        try:
            with self.damage(), open(self.path, "rb") as stream:
                yield stream
        except OSError as error:
            reason = error.strerror or str(error)
            raise TraceError(f"cannot read {self.path.name}", reason, "check the file and its permissions") from error


def records(stream: IO[bytes], wanted: Collection[int]) -> Iterator[McapRecord]:
    """Stream the records with these opcodes, from the current position to the footer.

    Raises Torn where the file ends before the footer, TraceError for a record above the limits.
    """
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
            _check_length(opcode, length)
            yield McapRecord(opcode, at, stream.read(length))
        else:
            stream.seek(end)
        at = end


def record_batches(stream: IO[bytes]) -> Iterator[bytes]:
    """Stream records as bytes, from the current position: those of a chunk together, others one by one.

    Raises Torn where the file ends early, ValueError where a chunk is damaged, TraceError where a chunk, or all chunks
    of the file, exceed the limits.
    """
    held, unpacked = os.fstat(stream.fileno()).st_size, 0
    for record in records(stream, _CONTENT):
        batch = content(record)
        unpacked += len(batch)
        checked_growth("MCAP file", unpacked, held, "text_growth")
        yield batch


def content(record: McapRecord) -> bytes:
    """Return the records of a chunk as bytes, or the record itself.

    Raises ValueError for a damaged chunk, TraceError for one above the limit.
    """
    if record.opcode != Opcode.CHUNK:
        return _RECORD.pack(record.opcode, len(record.data)) + record.data
    chunk = Chunk.read(stream_of(record.data))
    size = checked_size("MCAP chunk", chunk.uncompressed_size, "chunk_bytes")
    try:
        batch = _unpacked(chunk, size + 1)  # one byte more than the claim tells a longer one
    except Exception as error:  # each compression has its own errors
        raise ValueError(f"a chunk does not unpack: {error}") from error
    if len(batch) != size:
        raise ValueError(f"a chunk claims {size} bytes and holds {'more' if len(batch) > size else len(batch)}")
    if chunk.uncompressed_crc and zlib.crc32(batch) != chunk.uncompressed_crc:
        raise ValueError("the checksum of a chunk is wrong")
    return batch


def _unpacked(chunk: Chunk, most: int) -> bytes:
    """Unpack a chunk, and stop after `most` bytes."""
    if chunk.compression == "zstd":
        window = max(limit("chunk_bytes"), 1 << 20)
        with zstandard.ZstdDecompressor(max_window_size=window).stream_reader(chunk.data) as stream:
            unpacked: bytes = stream.read(most)
        return unpacked
    if chunk.compression == "lz4":
        return bytes(lz4.frame.LZ4FrameDecompressor().decompress(chunk.data, max_length=most))
    if chunk.compression:
        raise ValueError(f"compression {chunk.compression[:20]!r} is not known")
    return chunk.data


def _check_length(opcode: int, length: int) -> None:
    """Check the length of a record against the limit of its kind. Raises TraceError where it is above."""
    if opcode in _LIMITS:
        checked_size("MCAP record", length, _LIMITS[Opcode(opcode)])


def walk(batch: bytes) -> Iterator[tuple[int, int, int]]:
    """List opcode, start and end of each record in `batch`.

    Raises ValueError where a record exceeds the bytes, TraceError where it exceeds the limits.
    """
    at, size = 0, len(batch)
    while at < size:
        opcode, length = _RECORD.unpack_from(batch, at)
        at += _RECORD.size
        if length > size - at:
            raise ValueError("a record is longer than its chunk")
        _check_length(opcode, length)
        yield opcode, at, at + length
        at += length


def message_of(batch: bytes, start: int, end: int) -> BagMessage:
    """Parse the message whose content is `batch[start:end]`. Raises struct.error where it is too short."""
    channel, sequence, log_ns, publish_ns = _MESSAGE.unpack_from(batch, start)
    return BagMessage(channel, sequence, log_ns, publish_ns, batch[start + _MESSAGE.size : end])


class _Index(NamedTuple):
    schemas: dict[int, Schema]
    channels: dict[int, Channel]
    counts: dict[int, int]

    def topics(self, path: Path) -> dict[int, BagTopic]:
        """Describe all topics by channel number. Raises TraceError where their types have too many values."""
        types: dict[int, MessageType | str] = {}  # by schema: the type, or why there is none
        known = 0
        for schema in self.schemas.values():
            kind = types[schema.id] = _message_type(schema) if schema.encoding == "ros2msg" else ""
            known += len(kind.names) if isinstance(kind, MessageType) else 0
            checked_size(f"recording {path.name}: values of its message types", known, "columns")
        return {
            channel.id: self._topic(channel, types.get(channel.schema_id, "")) for channel in self.channels.values()
        }

    def _topic(self, channel: Channel, kind: MessageType | str) -> BagTopic:
        schema = self.schemas.get(channel.schema_id)
        kind = kind if channel.message_encoding == "cdr" else ""
        name = schema.name if schema is not None else channel.message_encoding
        count = self.counts.get(channel.id, 0) if self.counts else None
        if isinstance(kind, str):
            return BagTopic(channel.topic, name, None, channel.metadata, count, kind)
        return BagTopic(channel.topic, name, kind, channel.metadata, count)


def _message_type(schema: Schema) -> MessageType | str:
    """Parse a definition; return the reason where it cannot be."""
    try:
        return MessageType(schema.name, schema.data.decode(errors="replace"))
    except ValueError as error:
        return str(error)


def _index(stream: IO[bytes], start: int) -> _Index:
    """Read schemas, channels and message counts, from byte `start`."""
    index = _Index({}, {}, {})
    stream.seek(start)
    for batch in record_batches(stream):
        for opcode, begin, end in walk(batch):
            if opcode == Opcode.SCHEMA:
                schema = Schema.read(stream_of(batch[begin:end]))
                index.schemas[schema.id] = schema
            elif opcode == Opcode.CHANNEL:
                channel = Channel.read(stream_of(batch[begin:end]))
                index.channels[channel.id] = channel
            elif opcode == Opcode.STATISTICS:
                index.counts.update(Statistics.read(stream_of(batch[begin:end])).channel_message_counts)
    return index


def _footer(path: Path, stream: IO[bytes]) -> Footer:
    """Check the magic bytes at both ends of a file, and read the footer."""
    if stream.read(len(MAGIC)) != MAGIC:
        raise TraceError(f"recording {path.name}", "it is not an MCAP file", "name a file that a recorder wrote")
    stream.seek(max(stream.seek(0, os.SEEK_END) - _FOOTER - len(MAGIC), 0))
    ending = stream.read()
    if ending[-len(MAGIC) :] != MAGIC or ending[0] != Opcode.FOOTER:
        cut_off = "it has no footer: the recorder was stopped, or the file was cut off"
        raise TraceError(f"recording {path.name}", cut_off, f"save the intact messages with: rtsysid recover {path}")
    footer: Footer = Footer.read(stream_of(ending[_RECORD.size :]))
    return footer


def _check_summary(stream: IO[bytes], footer: Footer) -> None:
    """Check the checksum of the summary, which defines the messages. Raises ValueError where it is wrong."""
    if not (footer.summary_start and footer.summary_crc):
        return  # no summary, or one without a checksum
    end = stream.seek(0, os.SEEK_END) - len(MAGIC) - _CRC.size  # it covers the footer up to the checksum itself
    stream.seek(footer.summary_start)
    if zlib.crc32(stream.read(max(end - footer.summary_start, 0))) != footer.summary_crc:
        raise ValueError("the checksum of its summary is wrong")


def stream_of(data: bytes) -> ReadDataStream:
    """Return a stream for the record classes of `mcap`. It raises ValueError on a read beyond its end."""
    return ReadDataStream(_Exact(data))


class _Exact(BytesIO):
    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > len(self.getbuffer()) - self.tell():
            raise ValueError("a record ends early")
        return super().read(size)
