"""ReadingSource: what the sources with a reading thread of their own share: queue, events, and how the thread ends."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from rtsysid.source.backlog import Backlog
from rtsysid.spec import Arrival

BACK_OFF_S, BACK_OFF_MAX_S = 0.1, 2.0  # between two openings of a line
_BACKLOG = 2048  # samples: two seconds at 1 kHz
_PARTING_S = 1.0
_Opened = TypeVar("_Opened")


class ReadingSource:
    """Half of a `rtsysid.source.Source`: the samples of one thread wait in a bounded queue for the consumer.

    `events`: the newest lines of text about what happened; the thread appends to them.
    """

    def __init__(self, events: deque[str]) -> None:
        self._events = events
        self._backlog: Backlog[Arrival] = Backlog(_BACKLOG)
        self._closing = threading.Event()
        self._error: Exception | None = None
        self._thread: threading.Thread | None = None
        self._spent_s = 0.0

    def __exit__(self, *_: object) -> None:
        self.close()
        if self._thread is not None:
            self._thread.join(_PARTING_S)

    def batches(self, timeout_s: float = 0.1) -> Iterator[list[Arrival]]:
        """Yield all samples that came since the last batch; an empty batch where none came for `timeout_s` seconds.

        Raises LinkError where the source cannot be read, or is the wrong one.
        """
        while not self._backlog.closed:
            yield self._backlog.take(timeout_s)
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """Stop the stream; `batches` ends with what had come by then."""
        self._closing.set()

    def events(self) -> list[str]:
        """Return what happened since the last call, one line each."""
        return [self._events.popleft() for _ in range(len(self._events))]

    @property
    def thread_ids(self) -> tuple[int, ...]:
        """Native id of the reading thread, for the scheduler."""
        found = self._thread and self._thread.native_id
        return (found,) if found else ()

    def _start(self, read: Callable[[_Opened], None], opened: _Opened) -> None:
        """Begin the thread: it calls `read` with the line that is open."""
        self._thread = threading.Thread(target=self._read_to_end, args=(read, opened), name="source", daemon=True)
        self._thread.start()

    def _read_to_end(self, read: Callable[[Any], None], opened: Any) -> None:
        try:
            read(opened)
        except Exception as error:  # the consumer raises it
            self._error = self._as_shown(error)
        finally:
            self._spent_s = time.thread_time()
            self._on_end()
            self._backlog.close()

    def _as_shown(self, error: Exception) -> Exception:
        """Return the error that the consumer gets."""
        return error

    def _on_end(self) -> None:
        """Tell the source that its thread ends, before `batches` does; wake who waits for the first answer."""

    def _reader_s(self) -> float:
        """Processor time of the thread in s."""
        if self._thread is None or self._thread.ident is None or not self._thread.is_alive():
            return self._spent_s
        return time.clock_gettime(time.pthread_getcpuclockid(self._thread.ident))
