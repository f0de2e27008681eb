"""Find the records of an MCAP file, also of one that ends inside a record, one chunk in memory at a time.

The `mcap` package parses the content of a record.

Ref: https://mcap.dev/spec
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Collection, Iterator
from io import BytesIO
from typing import IO, NamedTuple

from mcap.data_stream import ReadDataStream
from mcap.exceptions import McapError
from mcap.opcode import Opcode
from mcap.records import Chunk
from mcap.writer import MCAP0_MAGIC

from rtsysid.guards.limits import checked_growth, checked_size
from rtsysid.recordings.ros.container import Damage, Torn
from rtsysid.recordings.unpack import unpack_chunk

MAGIC = MCAP0_MAGIC  # at the beginning and at the end of a file
RECORD = struct.Struct("<BQ")  # opcode, length
CONTENT = (Opcode.CHUNK, Opcode.SCHEMA, Opcode.CHANNEL, Opcode.MESSAGE, Opcode.STATISTICS, Opcode.CHUNK_INDEX)
MESSAGE = struct.Struct("<HIQQ")  # channel, sequence, log_time, publish_time
_DEFINITIONS = (Opcode.SCHEMA, Opcode.CHANNEL, Opcode.STATISTICS, Opcode.METADATA, Opcode.CHUNK_INDEX)
_LIMITS = {Opcode.CHUNK: "chunk_bytes", Opcode.MESSAGE: "chunk_bytes"} | dict.fromkeys(_DEFINITIONS, "definition_bytes")


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


def records(stream: IO[bytes], wanted: Collection[int], passed: Collection[int] = ()) -> Iterator[McapRecord]:
    """Stream the records with these opcodes, from the current position to the footer, but for those at `passed`.

    Raises Torn where the file ends before the footer, TraceError for a record above the limits.
    """
    at, size, opcode = stream.tell(), os.fstat(stream.fileno()).st_size, 0
    while opcode != Opcode.FOOTER:
        head = stream.read(RECORD.size)
        if len(head) < RECORD.size:
            raise Torn(at)
        opcode, length = RECORD.unpack(head)
        end = at + RECORD.size + length
        if end > size:
            raise Torn(at)
        if opcode in wanted and at not in passed:
            _check_length(opcode, length)
            yield McapRecord(opcode, at, stream.read(length))
        else:
            stream.seek(end)
        at = end


def record_batches(stream: IO[bytes], passed: Collection[int] = ()) -> Iterator[tuple[int, bytes]]:
    """Stream records as position and bytes, from the current position: a chunk's together, others one by one.

    Chunks at `passed` are left out. Raises Torn where the file ends early, Damage where a chunk is damaged, TraceError
    where a chunk, or all chunks of the file, exceed the limits.
    """
    held, unpacked = os.fstat(stream.fileno()).st_size, 0
    for record in records(stream, CONTENT, passed):
        try:
            batch = content(record)
        except (ValueError, struct.error, McapError) as error:
            raise Damage(error, record.at) from error
        unpacked += len(batch)
        checked_growth("MCAP file", unpacked, held, "text_growth")
        yield record.at, batch


def content(record: McapRecord) -> bytes:
    """Return the records of a chunk as bytes, or the record itself.

    Raises ValueError for a damaged chunk, TraceError for one above the limit.
    """
    if record.opcode != Opcode.CHUNK:
        return RECORD.pack(record.opcode, len(record.data)) + record.data
    chunk = Chunk.read(stream_of(record.data))
    batch = unpack_chunk(chunk.compression, chunk.data, chunk.uncompressed_size)
    if chunk.uncompressed_crc and zlib.crc32(batch) != chunk.uncompressed_crc:
        raise ValueError("the checksum of a chunk is wrong")
    return batch


def walk(batch: bytes) -> Iterator[tuple[int, int, int]]:
    """List opcode, start and end of each record in `batch`.

    Raises ValueError where a record exceeds the bytes, TraceError where it exceeds the limits.
    """
    at, size, head = 0, len(batch), RECORD.size
    while at < size:
        opcode, length = RECORD.unpack_from(batch, at)
        at += head
        if length > size - at:
            raise ValueError("a record is longer than its chunk")
        if opcode != Opcode.MESSAGE:  # the limit of a chunk is that of a message
            _check_length(opcode, length)
        yield opcode, at, at + length
        at += length


def message_of(batch: bytes, start: int, end: int) -> BagMessage:
    """Parse the message whose content is `batch[start:end]`. Raises struct.error where it is too short."""
    channel, sequence, log_ns, publish_ns = MESSAGE.unpack_from(batch, start)
    return BagMessage(channel, sequence, log_ns, publish_ns, batch[start + MESSAGE.size : end])


def _check_length(opcode: int, length: int) -> None:
    """Check the length of a record against the limit of its kind. Raises TraceError where it is above."""
    if opcode in _LIMITS:
        checked_size("MCAP record", length, _LIMITS[Opcode(opcode)])


def stream_of(data: bytes) -> ReadDataStream:
    """Return a stream for the record classes of `mcap`. It raises ValueError on a read beyond its end."""
    return ReadDataStream(_Exact(data))


class _Exact(BytesIO):
    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > len(self.getbuffer()) - self.tell():
            raise ValueError("a record ends early")
        return super().read(size)
