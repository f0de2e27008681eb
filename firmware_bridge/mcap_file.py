"""McapFile: an MCAP file that is complete after every flush.

The `mcap` package builds chunks in memory. About once a second they go to the disk in one write, followed by an ending
that the next write replaces. A process that is killed leaves a file that any reader opens, without at most the last
second. A full disk does not damage what was written before.
"""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from mcap.data_stream import RecordBuilder
from mcap.records import DataEnd, Footer
from mcap.writer import MCAP0_MAGIC, Writer

from rtsysid.errors import StorageError

FLUSH_NS = 800_000_000  # between flushes; with the time of a flush itself, at most one second can be lost
CHUNK = 1 << 16  # bytes before compression; closing a chunk blocks other threads for 1 ms (1 MiB: 4 ms)


class McapFile:
    """Write an MCAP file; for one thread at a time.

    Times are nanoseconds of any monotonic clock. ``error``: why writing has stopped, or None. ``added``: messages given
    to it; ``kept``: messages on the disk. Raises StorageError where the file cannot be created, or exists.
    """

    def __init__(self, path: Path | str, metadata: Mapping[str, Mapping[str, str]], library: str, now_ns: int) -> None:
        self.path = Path(path)
        self.error: StorageError | None = None
        self.added = self.kept = 0
        self._pending = _Pending()
        self._end, self._flushed_ns = 0, now_ns
        self._writer = Writer(self._pending, chunk_size=CHUNK)
        self._writer.start(profile="ros2", library=library)
        for name, fields in metadata.items():
            self._writer.add_metadata(name, dict(fields))
        self._file = _create(self.path)
        self.flush(now_ns)
        if self.error is not None:
            os.close(self._file)
            self.path.unlink()
            raise self.error

    def channel(self, topic: str, name: str, definition: str, metadata: Mapping[str, str]) -> int:
        """Add a channel for messages of the type `name`, and return its number."""
        schema = self._writer.register_schema(name, "ros2msg", definition.encode())
        return self._writer.register_channel(topic, "cdr", schema, dict(metadata))

    def add(self, channel: int, log_ns: int, publish_ns: int, payload: bytes) -> None:
        """Add one message; it is on the disk after the next flush."""
        self.added += 1
        if self.error is None:
            self._writer.add_message(channel, log_ns, payload, publish_ns)

    def flush_due(self, now_ns: int) -> None:
        """Flush if the last one was `FLUSH_NS` ago."""
        if now_ns - self._flushed_ns >= FLUSH_NS:
            self.flush(now_ns)

    def flush(self, now_ns: int) -> None:
        """Write everything to the disk and wait for it (fsync). A failure ends the recording: see `error`."""
        self._flushed_ns = now_ns
        if self.error is None:
            self._writer.flush()
            self._save(_ENDING)

    def close(self) -> None:
        """Write the index and close."""
        if self.error is None:
            self._writer.finish()
            self._save(b"")
        os.close(self._file)

    def _save(self, ending: bytes) -> None:
        data = self._pending.getvalue()
        if not data:
            return
        try:
            _write_at(self._file, data + ending, self._end)
            os.fsync(self._file)
        except OSError as error:
            return self._give_up(error)
        self._end += len(data)
        self.kept = self.added
        self._pending.start(self._end)

    def _give_up(self, error: OSError) -> None:
        """Undo the incomplete write, and write the ending where it was before."""
        self.error = _storage_error(self.path, error, "what was written stays, free space before the next one")
        with suppress(OSError):
            os.ftruncate(self._file, self._end)
            _write_at(self._file, _ENDING, self._end)
            os.fsync(self._file)


class _Pending(io.BytesIO):
    """Bytes since the last flush; `tell` returns their place in the file."""

    _begin = 0

    def start(self, begin: int) -> None:
        """Become empty, at the place `begin`."""
        self._begin = begin
        self.seek(0)
        self.truncate()

    def tell(self) -> int:
        return self._begin + super().tell()


def _ending() -> bytes:
    """Return the end of an MCAP file without an index."""
    builder = RecordBuilder()
    DataEnd(0).write(builder)
    Footer(0, 0, 0).write(builder)
    return bytes(builder.end()) + MCAP0_MAGIC


_ENDING = _ending()


def _create(path: Path) -> int:
    if path.exists():
        raise StorageError(f"recording {path}", "it exists already", "choose another name with -o")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise _storage_error(path, error, "choose another place with -o") from error


def _write_at(file: int, data: bytes, at: int) -> None:
    rest = memoryview(data)
    while rest:
        written = os.pwrite(file, rest, at)
        rest, at = rest[written:], at + written


def _storage_error(path: Path, error: OSError, remedy: str) -> StorageError:
    return StorageError(f"recording {path}", error.strerror or str(error), remedy)
