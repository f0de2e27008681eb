"""Recorder: write a live session by a separate thread, so that no call waits for the disk."""

from __future__ import annotations

import logging
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from firmware_bridge.mcap_file import McapFile
from firmware_bridge.rotation import Rotation, next_part
from firmware_bridge.session_file import Answered, Named, Noted, SessionFile
from rtsysid.device_clock import host_ns
from rtsysid.errors import StorageError
from rtsysid.spec import Arrival, Channel

LIMIT = 65_536  # messages that may wait for the disk: 20 s at 1,000 samples a second
_TURN_S = 0.01  # between runs of the thread; short runs block the other threads for a short time only
_log = logging.getLogger(__name__)


class Recorder:
    """Record a live session. Arguments are written later and must not be changed after the call.

    Messages wait in a bounded queue; a full queue drops new ones and counts them, and so is a message that cannot be
    written. If the disk fails, or somebody removes the file, one line of log says so, ``error`` keeps the reason, all
    later messages count as dropped, and what was written stays. A file that is renamed is written on, and reported.

    ``parts``: number of files so far.
    """

    def __init__(
        self, make: Callable[[Path, int], SessionFile], path: Path, clock: Callable[[], int], limit: int,
        rotation: Rotation | None = None,
    ) -> None:  # fmt: skip
        self.error: StorageError | None = None
        self._moved: StorageError | None = None
        self.parts = 1
        self._make, self._rotation, self._clock, self._limit = make, rotation, clock, limit
        self._session = make(path, self.parts)
        self._begun_ns = clock()
        self._queue: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self._refused = 0
        self._warned = self._said = False
        self._counting = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._write_for_ever, name="recorder", daemon=True)
        self._thread.start()

    @classmethod
    def open(
        cls,
        path: Path | str,
        *,
        channels: Sequence[Channel],
        outputs: Sequence[Channel] = (),
        metadata: Mapping[str, Mapping[str, str]] | None = None,
        clock: Callable[[], int] = host_ns,
        wall: Callable[[], int] = time.time_ns,
        limit: int = LIMIT,
        overwrite: bool = False,
        rotation: Rotation | None = None,
    ) -> Self:
        """Start a recording of samples of `channels` and predictions of `outputs`.

        `metadata`: named groups of texts for the start of the file: bundle, channel table, configuration. `clock`: the
        host's clock in ns; `wall`: time of day in ns, read for each file. `rotation`: when `path`, which is then the
        name of a first part, ends and the next file begins. Raises StorageError where the file cannot be created, or
        exists and `overwrite` is not given.
        """

        def make(path: Path, number: int) -> SessionFile:
            begun = {"format": "1", "monotonic_ns": str(clock()), "unix_ns": str(wall())}
            part = {} if rotation is None else {"rtsysid.part": {"number": str(number)}}
            about = {"rtsysid.recording": begun, **part, **(metadata or {})}
            file = McapFile(path, about, "rtsysid", clock(), overwrite=overwrite and number == 1)
            return SessionFile(file, channels, outputs)

        return cls(make, Path(path), clock, limit, rotation)

    @property
    def _file(self) -> McapFile:
        return self._session.file

    @property
    def path(self) -> Path:
        """The file that is written now."""
        return self._file.path

    @property
    def fault(self) -> StorageError | None:
        """Why the recording is not where it was asked for, or not whole; None where all is well."""
        return self.error or self._moved or self._file.moved

    @property
    def dropped(self) -> int:
        """Number of messages that will not be in the file."""
        lost = len(self._queue) + self._file.added - self._file.kept if self.error is not None else 0
        return self._refused + lost

    def wire(self, direction: str, host_ns: int, data: bytes) -> None:
        """Record raw bytes: see `link.Tap`."""
        self._enqueue(SessionFile.wire, direction, host_ns, data)

    def sample(self, arrival: Arrival) -> None:
        """Record a sample that was fed to the session."""
        self._enqueue(SessionFile.sample, arrival)

    def prediction(self, answer: Answered) -> None:
        """Record the answer to a sample, and whether it was sent to the device."""
        self._enqueue(SessionFile.prediction, answer, self._clock())

    def update(self, note: Noted) -> None:
        """Record what became of a new bundle."""
        self._enqueue(SessionFile.update, note, self._clock())

    def message(self, message: Named, host_ns: int) -> None:
        """Record a message of a source whose messages are not made samples."""
        self._enqueue(SessionFile.message, message, host_ns)

    def health(self, figures: Mapping[str, Any]) -> None:
        """Record figures and texts by name; they may be nested, and may differ from call to call."""
        self._enqueue(SessionFile.health, dict(_flat("", figures)), self._clock())

    def leave_out(self, count: int) -> None:
        """Count messages that nobody could hand over: they are not recorded."""
        with self._counting:
            self._refused += count

    def close(self) -> None:
        """Write all waiting messages and the index, and close the file."""
        self._stop.set()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _enqueue(self, write: Callable[..., None], *what: Any) -> None:
        if self.error is None and len(self._queue) < self._limit:
            self._queue.append((write, what))
        else:
            with self._counting:
                self._refused += 1

    def _write_for_ever(self) -> None:
        try:
            while not self._stop.wait(_TURN_S):
                self._drain()
                self._file.flush_due(self._clock())
                self._look()
                self._rotate()
            self._drain()
            self._file.close()
            self._look()
        except Exception as error:  # no error of the recorder ends the session
            self._fail(StorageError(f"recording {self.path}", repr(error), "what was written stays; report this"))

    def _rotate(self) -> None:
        """Close the file and begin the next one, where it is due; the samples go on without a gap between them."""
        seconds = (self._clock() - self._begun_ns) * 1e-9
        if self._rotation is None or self.error is not None or not self._rotation.due(self._file.nbytes, seconds):
            return
        self._file.close()
        self._look()
        if self.error is not None:
            return
        try:
            self._session = self._make(next_part(self.path), self.parts + 1)
        except StorageError as error:
            return self._fail(error)
        self.parts += 1
        self._begun_ns = self._clock()

    def _drain(self) -> None:
        for _ in range(len(self._queue)):
            write, what = self._queue.popleft()
            try:
                write(self._session, *what)
            except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, struct.error) as error:
                self._refuse(error)  # one message that cannot be written does not end the recording

    def _refuse(self, error: Exception) -> None:
        with self._counting:
            self._refused += 1
        if not self._warned:
            self._warned = True
            _log.warning("recording %s: a message was left out: %r; the recording goes on", self.path, error)

    def _look(self) -> None:
        if self.error is None and self._file.error is not None:
            self._fail(self._file.error)
        elif self._file.moved is not None and not self._said:
            self._said, self._moved = True, self._file.moved
            _log.error("%s", self._file.moved)

    def _fail(self, error: StorageError) -> None:
        self.error = error
        _log.error("%s", error)


def _flat(prefix: str, figures: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield nested figures under joined names."""
    for name, value in figures.items():
        if isinstance(value, Mapping):
            yield from _flat(f"{prefix}{name}_", value)
        else:
            yield prefix + name, value
