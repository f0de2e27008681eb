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
from rtsysid.storage import replacing
from rtsysid.storage.claim import try_lock
from rtsysid.storage.products import LIVE_RECORDING

FLUSH_NS = 800_000_000  # between flushes; with the time of a flush itself, at most one second can be lost
_TIMES = 1 << 64  # nanoseconds: MCAP has 64 bits
CHUNK = 1 << 16  # bytes before compression; closing a chunk blocks other threads for 1 ms (1 MiB: 4 ms)


class McapFile:
    """Write an MCAP file; for one thread at a time.

    Times are nanoseconds of any monotonic clock. ``error``: why writing has stopped, or None. ``moved``: where the file
    is now, if somebody renamed it; it is written on there. ``added``: messages given to it; ``kept``: messages on the
    disk. Raises StorageError where the file cannot be created, or exists and `overwrite` is not given.
    """

    def __init__(
        self,
        path: Path | str,
        metadata: Mapping[str, Mapping[str, str]],
        library: str,
        now_ns: int,
        *,
        overwrite: bool = False,
    ) -> None:
        self.path = Path(path)
        self.error: StorageError | None = None
        self.moved: StorageError | None = None
        self.added = self.kept = 0
        self._closed = False
        self._pending = _Pending()
        self._end, self._flushed_ns = 0, now_ns
        self._writer = Writer(self._pending, chunk_size=CHUNK)
        self._writer.start(profile="ros2", library=library)
        for name, fields in metadata.items():
            self._writer.add_metadata(name, dict(fields))
        with replacing(self.path, LIVE_RECORDING, overwrite=overwrite) as new:
            self._file = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
            try_lock(self._file)  # so that nobody replaces it while it is written
            self.flush(now_ns)
            if self.error is not None:
                os.close(self._file)
                raise self.error
        self.moved = None  # the file got its name just now

    @property
    def nbytes(self) -> int:
        """Bytes on the disk."""
        return self._end

    def channel(self, topic: str, name: str, definition: str, metadata: Mapping[str, str]) -> int:
        """Add a channel for messages of the type `name`, and return its number."""
        schema = self._writer.register_schema(name, "ros2msg", definition.encode())
        return self._writer.register_channel(topic, "cdr", schema, dict(metadata))

    def add(self, channel: int, log_ns: int, publish_ns: int, payload: bytes) -> None:
        """Add one message; it is on the disk after the next flush. Raises ValueError for a time outside the format."""
        if not (0 <= log_ns < _TIMES and 0 <= publish_ns < _TIMES):
            raise ValueError(f"times {log_ns} and {publish_ns} ns")  # the writer would stop in the middle of a record
        self.added += 1
        if self.error is None and not self._closed:
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
        """Write the index and close; what is added after that is not kept."""
        if self._closed:
            return
        self._closed = True
        if self.error is None:
            self._writer.finish()
            self._save(b"")
            self._check()
        os.close(self._file)

    def _save(self, ending: bytes) -> None:
        self._check()
        data = self._pending.getvalue()
        if not data or self.error is not None:
            return
        try:
            _write_at(self._file, data + ending, self._end)
            os.fsync(self._file)
        except OSError as error:
            return self._give_up(error)
        self._end += len(data)
        self.kept = self.added
        self._pending.start(self._end)

    def _check(self) -> None:
        """Find out whether somebody removed, replaced, renamed or cut off the file while it was open."""
        opened = os.fstat(self._file)
        if opened.st_size < self._end:
            found = f"cut off to {opened.st_size} bytes by another program, of {self._end} that were written"
            self._lost(found, "what it held is gone")
        elif opened.st_nlink == 0:
            self._lost("deleted by another program while it was written", "what it held is gone")
        elif not _is_at(opened, self.path):
            found = f"renamed by another program while it was written: it is {_name(self._file)}"
            self.moved = StorageError(f"recording {self.path}", found, "what was recorded is there")

    def _lost(self, found: str, remedy: str) -> None:
        self.kept = 0
        self.error = StorageError(f"recording {self.path}", found, f"{remedy}; record to a place of its own")

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


def _is_at(opened: os.stat_result, path: Path) -> bool:
    try:
        there = path.stat()
    except OSError:
        return False
    return (there.st_dev, there.st_ino) == (opened.st_dev, opened.st_ino)


def _name(file: int) -> str:
    """Return the present path of an open file, as far as the system tells it."""
    try:
        return os.readlink(f"/proc/self/fd/{file}")
    except OSError:
        return "somewhere else"


def _ending() -> bytes:
    """Return the end of an MCAP file without an index."""
    builder = RecordBuilder()
    DataEnd(0).write(builder)
    Footer(0, 0, 0).write(builder)
    return bytes(builder.end()) + MCAP0_MAGIC


_ENDING = _ending()


def _write_at(file: int, data: bytes, at: int) -> None:
    rest = memoryview(data)
    while rest:
        written = os.pwrite(file, rest, at)
        rest, at = rest[written:], at + written


def _storage_error(path: Path, error: OSError, remedy: str) -> StorageError:
    return StorageError(f"recording {path}", error.strerror or str(error), remedy)
