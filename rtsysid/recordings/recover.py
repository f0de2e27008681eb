"""Recover the intact messages of an MCAP file that was cut off or damaged, into a new file with an index.

Every chunk has a checksum, so a message is copied unchanged or not at all. The original file is not modified.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO

import msgspec
from mcap.exceptions import McapError
from mcap.opcode import Opcode
from mcap.records import Attachment, Channel, Footer, Header, Metadata, Schema
from mcap.writer import Writer

from rtsysid.errors import TraceError
from rtsysid.recordings.mcap_records import (
    MAGIC,
    BagMessage,
    McapRecord,
    content,
    message_of,
    records,
    stream_of,
    walk,
)
from rtsysid.recordings.ros.container import Torn
from rtsysid.storage import replacing, require_output
from rtsysid.storage.products import RECORDING

_DEFINITIONS = (Opcode.SCHEMA, Opcode.CHANNEL)
_COPIED = (Opcode.CHUNK, Opcode.MESSAGE, Opcode.METADATA, Opcode.ATTACHMENT, Opcode.FOOTER)
_UNREADABLE = (ValueError, KeyError, struct.error, McapError)  # raised while a damaged record is read


class Rescue(msgspec.Struct, frozen=True, kw_only=True):
    """Summarise a recovery.

    ``messages``: number of messages copied. ``seconds``: from the first to the last log_time. ``closed``: whether the
    file had an index; without one, messages that were not yet written are missing, at most the last second in a
    recording of rtsysid. ``torn_bytes``: bytes of an incomplete record at the end. ``damaged``: number of damaged
    chunks, and of messages whose channel was defined in a damaged chunk.
    """

    messages: int
    seconds: float
    closed: bool
    torn_bytes: int
    damaged: int

    @property
    def lost(self) -> str:
        """Describe the loss in one line."""
        losses = []
        if not self.closed:
            losses.append("messages not yet written when the recorder stopped, at most one second")
        if self.torn_bytes:
            losses.append(f"{self.torn_bytes} bytes of an incomplete record")
        if self.damaged:
            losses.append(f"{self.damaged} damaged chunks or messages")
        return "; ".join(losses) or "nothing"


def recover(path: Path | str, out: Path | str, *, overwrite: bool = False) -> Rescue:
    """Copy the intact messages of `path` to the new file `out`.

    Raises TraceError where there is no intact message, StorageError where `out` cannot be written, exists and
    `overwrite` is not given, or is `path`.
    """
    path, out = Path(path), Path(out)
    if not path.is_file():
        raise TraceError(f"recording {path}", "no such file", "check the path")
    require_output(out, RECORDING, (path,), overwrite)
    with open(path, "rb") as source:
        if source.read(len(MAGIC)) != MAGIC:
            raise TraceError(f"recording {path.name}", "it is not an MCAP file", "name a file that a recorder wrote")
        with replacing(out, RECORDING, inputs=(path,), overwrite=overwrite) as scratch, open(scratch, "wb") as target:
            rescue = _rescue(source, target)
            if not rescue.messages:
                raise TraceError(f"recording {path.name}", "it holds no intact message", "record it again")
    return rescue


def _rescue(source: IO[bytes], target: IO[bytes]) -> Rescue:
    copy = _Copy(target, _read_mcap_header(source))
    for wanted in (_DEFINITIONS, _COPIED):  # definitions outside chunks repeat those in chunks, which may be damaged
        for record in _complete_records(source, wanted):
            copy.take(record)
    return copy.finish(_torn_bytes(source))


def _complete_records(source: IO[bytes], wanted: tuple[int, ...]) -> Iterator[McapRecord]:
    source.seek(len(MAGIC))
    with suppress(Torn):
        yield from records(source, wanted)


def _read_mcap_header(source: IO[bytes]) -> Header:
    header = Header("", "")
    for record in _complete_records(source, (Opcode.HEADER,)):
        with suppress(*_UNREADABLE):
            header = Header.read(stream_of(record.data))
    return header


def _torn_bytes(source: IO[bytes]) -> int:
    source.seek(len(MAGIC))
    try:
        for _ in records(source, ()):
            pass
    except Torn as torn:
        return os.fstat(source.fileno()).st_size - torn.at
    return 0


class _Copy:
    """Write the copy, with the chunks of the original. Recovering a copy again gives the same file."""

    def __init__(self, target: IO[bytes], header: Header) -> None:
        self._writer = Writer(target)
        self._writer.start(header.profile, header.library)
        self._closed = False
        self._schemas: dict[int, Schema] = {}
        self._channels: dict[int, Channel] = {}
        self._numbers: dict[int, int] = {}  # channel number in the copy, by channel number in the original
        self._schema_numbers = {0: 0}
        self._messages = self._damaged = 0
        self._first_ns = self._last_ns = 0

    def take(self, record: McapRecord) -> None:
        """Copy a record and its content, or count it as damaged."""
        try:
            self._take(record)
        except _UNREADABLE:
            self._damaged += 1

    def finish(self, torn_bytes: int) -> Rescue:
        """Write the index, which also lists channels without messages."""
        for original in self._channels:
            with suppress(KeyError):  # its schema was in a damaged chunk
                self._number(original)
        self._writer.finish()
        return Rescue(
            messages=self._messages,
            seconds=(self._last_ns - self._first_ns) / 1e9,
            closed=self._closed,
            torn_bytes=torn_bytes,
            damaged=self._damaged,
        )

    def _take(self, record: McapRecord) -> None:
        if record.opcode in _DEFINITIONS:
            self._define(record.opcode, record.data)
        elif record.opcode == Opcode.FOOTER:
            self._closed = Footer.read(stream_of(record.data)).summary_start > 0
        elif record.opcode == Opcode.METADATA:
            group = Metadata.read(stream_of(record.data))
            self._writer.add_metadata(group.name, group.metadata)
        elif record.opcode == Opcode.ATTACHMENT:
            each = Attachment.read(stream_of(record.data))
            self._writer.add_attachment(each.create_time, each.log_time, each.name, each.media_type, each.data)
        else:
            self._take_content(content(record))
            if record.opcode == Opcode.CHUNK:
                self._writer.flush()

    def _define(self, opcode: int, data: bytes) -> int | None:
        """Store a schema, or a channel and return its number."""
        if opcode == Opcode.SCHEMA:
            schema = Schema.read(stream_of(data))
            self._schemas[schema.id] = schema
            return None
        channel = Channel.read(stream_of(data))
        number: int = channel.id
        self._channels[number] = channel
        return number

    def _take_content(self, batch: bytes) -> None:
        for opcode, begin, end in walk(batch):
            if opcode in _DEFINITIONS:
                channel = self._define(opcode, batch[begin:end])
                if channel is not None:
                    self._number(channel)
            elif opcode == Opcode.MESSAGE:
                self._take_message(message_of(batch, begin, end))

    def _take_message(self, message: BagMessage) -> None:
        try:
            number = self._number(message.channel)
        except KeyError:  # its channel was in a damaged chunk
            self._damaged += 1
            return
        self._writer.add_message(number, message.log_ns, message.payload, message.publish_ns, message.sequence)
        self._first_ns = min(self._first_ns, message.log_ns) if self._messages else message.log_ns
        self._last_ns = max(self._last_ns, message.log_ns)
        self._messages += 1

    def _number(self, original: int) -> int:
        """Return the channel number in the copy for one of the original."""
        if original not in self._numbers:
            channel = self._channels[original]
            if channel.schema_id not in self._schema_numbers:
                schema = self._schemas[channel.schema_id]
                self._schema_numbers[schema.id] = self._writer.register_schema(
                    schema.name, schema.encoding, schema.data
                )
            self._numbers[original] = self._writer.register_channel(
                channel.topic, channel.message_encoding, self._schema_numbers[channel.schema_id], channel.metadata
            )
        return self._numbers[original]
