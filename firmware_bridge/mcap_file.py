"""McapFile: an MCAP file that is whole after every flush, whatever happens next.

The `mcap` package builds chunks in memory. About once a second they go to the disk in one write, with an ending behind
them that the next write replaces. So a process that is killed leaves a file that any reader opens, short of at most
the last second, and a disk that is full takes nothing from what was written before.
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

FLUSH_NS = 800_000_000  # between flushes: with the time that one takes, no more than a second is ever at stake
CHUNK = 1 << 16  # bytes before compression; closing one holds up the other threads: 1 ms, where 1 MiB takes 4 ms


class McapFile:
    """A recording on its way to the disk, for one thread at a time.

    Time is an argument: nanoseconds of any monotonic clock. ``error`` says why nothing is written any more; ``added``
    messages were given to it, ``kept`` of them are on the disk. Raises StorageError where the file cannot be begun;
    one that exists is never written over.
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
        """A new channel of messages of the type `name`; its number."""
        schema = self._writer.register_schema(name, "ros2msg", definition.encode())
        return self._writer.register_channel(topic, "cdr", schema, dict(metadata))

    def add(self, channel: int, log_ns: int, publish_ns: int, payload: bytes) -> None:
        """One message. It is on the disk after the next flush."""
        self.added += 1
        if self.error is None:
            self._writer.add_message(channel, log_ns, payload, publish_ns)

    def flush_due(self, now_ns: int) -> None:
        """Flush if the last one was `FLUSH_NS` ago."""
        if now_ns - self._flushed_ns >= FLUSH_NS:
            self.flush(now_ns)

    def flush(self, now_ns: int) -> None:
        """Bring everything to the disk, and the disk to say so. A failure ends the recording: see `error`."""
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
        """Take back the torn write; the ending fits where it was before."""
        self.error = _storage_error(self.path, error, "what was written stays, free space before the next one")
        with suppress(OSError):
            os.ftruncate(self._file, self._end)
            _write_at(self._file, _ENDING, self._end)
            os.fsync(self._file)


class _Pending(io.BytesIO):
    """What was written since the last flush, at its places in the file."""

    _begin = 0

    def start(self, begin: int) -> None:
        """Be empty, at `begin`."""
        self._begin = begin
        self.seek(0)
        self.truncate()

    def tell(self) -> int:
        return self._begin + super().tell()


def _ending() -> bytes:
    """The end of an MCAP file without an index."""
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
