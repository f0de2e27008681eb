"""Read a ROS 1 bag as channels and messages, also one that was not closed or was cut off.

Ref: http://wiki.ros.org/Bags/Format/2.0
"""

from __future__ import annotations

import os
import struct
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import IO, NamedTuple, TypeAlias

from rtsysid.errors import TraceError
from rtsysid.guards.limits import checked_growth, checked_size
from rtsysid.recordings.ros.container import (
    INDEX_DAMAGED,
    BagTopic,
    Damage,
    MessageBatch,
    Torn,
    opened_file,
    what_is_lost,
)
from rtsysid.recordings.ros.definitions import Definition, parsed_types
from rtsysid.recordings.unpack import unpack_chunk

MAGIC_ROS1 = b"#ROSBAG V2.0\n"
_MESSAGE, _HEAD, _CHUNK, _CHUNK_INFO, _CONNECTION = 2, 3, 5, 6, 7
_PAIR = struct.Struct("<II")
_CODES = {b"op": "B", b"conn": "I", b"time": "II"}  # of the header of a message
_DAMAGE = (ValueError, struct.error)

_Content: TypeAlias = tuple[int, int, int, bytes]  # kind, number of the connection, time in ns, data


class _Record(NamedTuple):
    """Hold a record of the file: position, fields of its header, place and length of its data."""

    at: int
    fields: dict[bytes, bytes]
    start: int
    length: int

    @property
    def opcode(self) -> int:
        """Return the kind of the record. Raises ValueError where it has none."""
        return _number(self.fields, b"op", 1)


class _Layout(NamedTuple):
    """Locate connection and time in the headers of messages, which are alike; `fixed` are the other values."""

    form: struct.Struct
    fixed: tuple[tuple[int, object], ...]
    number: int
    sec: int


class Ros1Bag:
    """Open a ROS 1 bag, a file of `MessageFile`. Raises TraceError where it is none."""

    def __init__(self, path: Path) -> None:
        self.path, self.missing = path, ""
        self._chunks: dict[int, dict[int, int]] = {}  # by position: the messages of each connection
        index = _ConnectionIndex({}, {})
        with opened_file(path) as stream:
            head = _checked_head(path, stream)
            try:
                self._chunks = index.read(stream, head)
            except _DAMAGE:
                index = _ConnectionIndex({}, {})
                self.missing = index.scan(stream, head)
        self.topics: dict[int, BagTopic] = index.topics(path)

    def stream(self, channels: Collection[int]) -> Iterator[MessageBatch]:
        """Stream the messages of these connections. Raises Damage where the file is damaged."""
        passed = {at for at, held in self._chunks.items() if not held.keys() & set(channels)}
        wanted = set(channels)
        with opened_file(self.path) as stream:
            for at, contents in _walk(stream, passed):
                part = MessageBatch.empty()
                try:
                    for kind, number, time_ns, content in contents:
                        if kind == _MESSAGE and number in wanted:
                            part.channels.append(number)
                            part.log_ns.append(time_ns)
                            part.payloads.append(content)
                except _DAMAGE as error:
                    yield part
                    raise Damage(error, at) from error
                yield part


class _ConnectionIndex(NamedTuple):
    """Collect topic, type and definition of each connection, and its number of messages."""

    connections: dict[int, tuple[str, Definition]]
    counts: dict[int, int]

    def read(self, stream: IO[bytes], head: _Record) -> dict[int, dict[int, int]]:
        """Read the index at the end of the file; return the messages of each connection by position of the chunk.

        Raises ValueError where it is missing or incomplete.
        """
        chunks: dict[int, dict[int, int]] = {}
        start = _index_at(head)
        for record in _file_records(stream, start) if start else ():
            data = stream.read(record.length)
            if record.opcode == _CONNECTION:
                self._define(_number(record.fields, b"conn"), _field(record.fields, b"topic"), data)
            elif record.opcode == _CHUNK_INFO:
                at = int.from_bytes(_field(record.fields, b"chunk_pos", 8), "little")
                chunks[at] = dict(_PAIR.iter_unpack(data))
        stated = _number(head.fields, b"conn_count"), _number(head.fields, b"chunk_count")
        if not start or (len(self.connections), len(chunks)) != stated:
            raise ValueError("its index is incomplete")
        for number, count in (each for held in chunks.values() for each in held.items()):
            self.counts[number] = self.counts.get(number, 0) + count
        return chunks

    def scan(self, stream: IO[bytes], head: _Record) -> str:
        """Read the whole file up to its damage, and say what is missing."""
        times: list[int] = []  # in ns, the first and the last
        size, index = os.fstat(stream.fileno()).st_size, _index_at(head)
        try:
            for at, contents in _walk(stream):
                try:
                    self._tally(contents, times)
                except _DAMAGE as error:
                    raise Damage(error, at) from error
        except Damage as damage:
            if not 0 < index <= (damage.at or 0):
                return what_is_lost(damage, max(size, index), (times[1] - times[0]) / 1e9 if times else None)
        return INDEX_DAMAGED if index else "it was not closed: its end may be missing"

    def _tally(self, contents: Iterable[_Content], times: list[int]) -> None:
        for kind, number, time_ns, content in contents:
            if kind == _CONNECTION:
                self._define(number, b"", content)
            elif kind == _MESSAGE:
                self.counts[number] = self.counts.get(number, 0) + 1
                times[:] = min((time_ns, *times)), max((time_ns, *times))

    def _define(self, number: int, topic: bytes, data: bytes) -> None:
        fields = _header_fields(data)
        texts = topic or fields.get(b"topic", b""), _field(fields, b"type"), _field(fields, b"message_definition")
        name, type_name, definition = (each.decode(errors="replace") for each in texts)
        self.connections[number] = name, Definition(type_name, definition, "ros1msg")

    def topics(self, path: Path) -> dict[int, BagTopic]:
        """Describe the connections. Raises TraceError where their types have too many values."""
        kinds = parsed_types(path, (each for _, each in self.connections.values()))
        return {
            number: BagTopic.of(topic, definition.name, kinds[definition], self.counts.get(number, 0))
            for number, (topic, definition) in self.connections.items()
        }


def _checked_head(path: Path, stream: IO[bytes]) -> _Record:
    """Read the first record. Raises TraceError where the file is no bag of version 2.0, or is encrypted."""
    what, magic = f"recording {path.name}", stream.read(len(MAGIC_ROS1))
    if magic != MAGIC_ROS1:
        old = magic.startswith(b"#ROSBAG V1")
        found = "a ROS 1 bag of version 1" if old else "it is not a ROS 1 bag"
        raise TraceError(what, found, "convert it with: rosbag fix" if old else "name a file that rosbag record wrote")
    try:
        head = next(_file_records(stream, len(MAGIC_ROS1)))
        if head.opcode != _HEAD:
            raise ValueError("its first record is no header")
    except (StopIteration, *_DAMAGE) as error:
        raise TraceError(what, f"damaged in its first record ({error})", "copy or record it again") from error
    if head.fields.get(b"encryptor"):
        raise TraceError(what, "it is encrypted", "decrypt it with: rosbag decrypt")
    return head


def _index_at(head: _Record) -> int:
    """Return the position of the index, 0 where the bag was not closed."""
    return int.from_bytes(head.fields.get(b"index_pos", b"")[:8], "little")


def _file_records(stream: IO[bytes], start: int) -> Iterator[_Record]:
    """Stream the records from byte `start` to the end of the file; the stream is then at the data of the record.

    Raises Damage where the file ends inside a record, TraceError for a record above the limits.
    """
    at, size = start, os.fstat(stream.fileno()).st_size
    while at < size:
        header = _header_at(stream, at, size)
        fields, start = _header_fields(header), at + 4 + len(header)
        length = int.from_bytes(stream.read(4), "little")
        end = start + 4 + length
        if end > size:
            raise Torn(at)
        checked_size("ROS 1 record", length, "chunk_bytes")
        yield _Record(at, fields, start + 4, length)
        at = end


def _header_at(stream: IO[bytes], at: int, size: int) -> bytes:
    """Read the header of the record at byte `at`. Raises Damage where the file ends inside it."""
    stream.seek(at)
    length = int.from_bytes(stream.read(4), "little")
    if at + 8 + length > size:
        raise Torn(at)
    return stream.read(checked_size("ROS 1 record", length, "definition_bytes"))


def _header_fields(header: bytes) -> dict[bytes, bytes]:
    """Parse a header. Raises ValueError where it is none."""
    fields, at = {}, 0
    while at < len(header):
        end = at + 4 + int.from_bytes(header[at : at + 4], "little")
        name, equals, value = header[at + 4 : end].partition(b"=")
        if end > len(header) or not equals:
            raise ValueError("the header of a record is damaged")
        fields[name] = value
        at = end
    return fields


def _field(fields: dict[bytes, bytes], name: bytes, size: int = 0) -> bytes:
    """Return a field of a header. Raises ValueError where it is missing or has another size."""
    found = fields.get(name)
    if found is None or (size and len(found) != size):
        raise ValueError(f"a record has no field {name.decode()}")
    return found


def _number(fields: dict[bytes, bytes], name: bytes, size: int = 4) -> int:
    return int.from_bytes(_field(fields, name, size), "little")


def _walk(stream: IO[bytes], passed: Collection[int] = ()) -> Iterator[tuple[int, Iterable[_Content]]]:
    """Stream the parts that hold messages and connections, each with its position, but for the chunks at `passed`.

    Raises Damage where the file is damaged, TraceError above the limits.
    """
    at, unpacked, held = len(MAGIC_ROS1), 0, os.fstat(stream.fileno()).st_size
    try:
        for record in _file_records(stream, at):
            at, kind = record.at, record.opcode
            if kind == _CHUNK and at not in passed:
                compression = _field(record.fields, b"compression").decode()
                chunk = unpack_chunk(compression, stream.read(record.length), _number(record.fields, b"size"))
                unpacked += len(chunk)
                checked_growth("ROS 1 bag", unpacked, held, "text_growth")
                yield at, _in_chunk(chunk)
            elif kind in (_MESSAGE, _CONNECTION):
                number, data = _number(record.fields, b"conn"), stream.read(record.length)
                yield at, [(kind, number, _time_in(record.fields, kind), data)]
    except Damage:
        raise
    except _DAMAGE as error:
        raise Damage(error, at) from error


def _time_in(fields: dict[bytes, bytes], kind: int) -> int:
    """Return the time of a message in ns, 0 for a connection. Raises ValueError where it is missing."""
    sec, nanosec = _PAIR.unpack(_field(fields, b"time", 8) if kind == _MESSAGE else bytes(8))
    return int(sec) * 1_000_000_000 + int(nanosec)


def _in_chunk(chunk: bytes) -> Iterator[_Content]:
    """List the messages and connections of a chunk. Raises ValueError where it is damaged."""
    layouts: dict[int, _Layout] = {}
    at, size = 0, len(chunk)
    while at < size:
        begin = at + 4
        header = int.from_bytes(chunk[at:begin], "little")
        start = begin + header + 4
        end = start + int.from_bytes(chunk[start - 4 : start], "little")
        if end > size or start > size:
            raise ValueError("a record is longer than its chunk")
        layout = layouts.get(header)
        values = layout.form.unpack_from(chunk, begin) if layout else ()
        if layout is None or any(values[k] != value for k, value in layout.fixed):
            fields = _header_fields(chunk[begin : start - 4])
            kind, number = _number(fields, b"op", 1), _number(fields, b"conn")
            time_ns = _time_in(fields, kind)
            if kind == _MESSAGE:
                layouts[header] = _layout(fields)
        else:
            kind, number = _MESSAGE, values[layout.number]
            time_ns = values[layout.sec] * 1_000_000_000 + values[layout.sec + 1]
        yield kind, number, time_ns, chunk[start:end]
        at = end


def _layout(fields: dict[bytes, bytes]) -> _Layout:
    """Describe the headers that have the fields of this message, in their order and with their sizes."""
    form, fixed, places = "<", list[tuple[int, object]](), dict[bytes, int]()
    count = 0
    for name, value in fields.items():
        prefix = struct.pack("<I", len(name) + 1 + len(value)) + name + b"="
        fixed.append((count, prefix))
        places[name] = count + 1
        if name == b"op":
            fixed.append((count + 1, _MESSAGE))
        form += f"{len(prefix)}s" + _CODES.get(name, f"{len(value)}x")
        count += 1 + len(_CODES.get(name, ""))
    return _Layout(struct.Struct(form), tuple(fixed), places[b"conn"], places[b"time"])
