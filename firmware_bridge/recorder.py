"""Recorder: a live session written down by a thread of its own, so that no call waits for the disk."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from firmware_bridge.mcap_file import McapFile
from firmware_bridge.session_file import Answered, SessionFile
from rtsysid.errors import StorageError
from rtsysid.spec import Arrival, Channel

LIMIT = 65_536  # messages that may wait for the disk: 20 s of 1,000 samples a second and what goes with them
_TURN_S = 0.01  # between turns of the thread: a short turn holds up the other threads for a short time
_log = logging.getLogger(__name__)


class Recorder:
    """A recording under way. What a call is given is written later, and must stay as it is.

    Messages wait in a bounded queue; what finds it full is dropped and counted. Where the disk fails, that is said once
    in the log, ``error`` says it from then on, every message counts as dropped, and what was written stays.
    """

    def __init__(self, file: SessionFile, clock: Callable[[], int], limit: int) -> None:
        self.error: StorageError | None = None
        self._session, self._file, self._clock, self._limit = file, file.file, clock, limit
        self._queue: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self._refused = 0
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
        clock: Callable[[], int] = time.monotonic_ns,
        wall: Callable[[], int] = time.time_ns,
        limit: int = LIMIT,
    ) -> Self:
        """Begin a recording of samples of `channels` and predictions of `outputs`.

        `metadata`, named groups of texts, stands at the start of the file: bundle, channel table, configuration.
        `clock` is the one that host times are of, `wall` says once what time of day that is. Raises StorageError
        where the file cannot be begun, or exists.
        """
        begun = {"format": "1", "monotonic_ns": str(clock()), "unix_ns": str(wall())}
        file = McapFile(path, {"rtsysid.recording": begun, **(metadata or {})}, "rtsysid", clock())
        return cls(SessionFile(file, channels, outputs), clock, limit)

    @property
    def path(self) -> Path:
        return self._file.path

    @property
    def dropped(self) -> int:
        """Messages that are not in the file and never will be."""
        lost = len(self._queue) + self._file.added - self._file.kept if self.error is not None else 0
        return self._refused + lost

    def wire(self, direction: str, host_ns: int, data: bytes) -> None:
        """What a link's tap is given: see `link.Tap`."""
        self._enqueue(self._session.wire, direction, host_ns, data)

    def sample(self, arrival: Arrival) -> None:
        """A sample that the session is fed with."""
        self._enqueue(self._session.sample, arrival)

    def prediction(self, answer: Answered) -> None:
        """What the session said to a sample, and whether it went to the device."""
        self._enqueue(self._session.prediction, answer, self._clock())

    def health(self, figures: Mapping[str, Any]) -> None:
        """Figures and texts by name, nested or not, the same ones or not."""
        self._enqueue(self._session.health, dict(_flat("", figures)), self._clock())

    def close(self) -> None:
        """Write what waits, the index, and close the file."""
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
            self._drain()
            self._file.close()
            self._look()
        except Exception as error:  # whatever it is, a session does not end for it
            self._fail(StorageError(f"recording {self.path}", repr(error), "what was written stays; report this"))

    def _drain(self) -> None:
        for _ in range(len(self._queue)):
            write, what = self._queue.popleft()
            write(*what)

    def _look(self) -> None:
        if self.error is None and self._file.error is not None:
            self._fail(self._file.error)

    def _fail(self, error: StorageError) -> None:
        self.error = error
        _log.error("%s", error)


def _flat(prefix: str, figures: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Nested figures under joined names."""
    for name, value in figures.items():
        if isinstance(value, Mapping):
            yield from _flat(f"{prefix}{name}_", value)
        else:
            yield prefix + name, value
