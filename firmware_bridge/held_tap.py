"""HeldTap: keep what a source reads until its recording begins, so that a session that never begins leaves no file."""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager, ExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from firmware_bridge.recorder import Recorder
    from firmware_bridge.session_file import Noted

_LIMIT = 65_536  # messages that may wait: as many as a recorder lets wait for the disk


class HeldTap:
    """`with HeldTap() as tap`: a tap for a source. `begin` opens the recording; leaving closes it.

    A recording is opened when the source has shown what it is. Until then the bytes wait here, at most as many messages
    as wait for a disk; what is more counts as not recorded. Nothing is created or replaced where the source is refused.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: list[tuple[str, int, bytes]] = []
        self._missed = 0
        self._recorder: Recorder | None = None
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def begin(self, recording: AbstractContextManager[Recorder | None]) -> Recorder | None:
        """Open a recording, and hand over the bytes so far. Raises StorageError where it cannot be opened."""
        recorder = self._stack.enter_context(recording)
        if recorder is not None:
            self._hand_over(recorder)
        return recorder

    def wire(self, direction: str, host_ns: int, data: bytes) -> None:
        """Record raw bytes: see `link.Tap`."""
        if self._recorder is not None:
            return self._recorder.wire(direction, host_ns, data)
        with self._lock:
            if self._recorder is not None:
                self._recorder.wire(direction, host_ns, data)
            elif len(self._held) < _LIMIT:
                self._held.append((direction, host_ns, data))
            else:
                self._missed += 1

    def message(self, message: Any, host_ns: int) -> None:
        """Record a message of a source whose messages are not made samples."""
        if self._recorder is not None:
            self._recorder.message(message, host_ns)

    def update(self, note: Noted) -> None:
        """Record what became of a new bundle."""
        if self._recorder is not None:
            self._recorder.update(note)

    def _hand_over(self, recorder: Recorder) -> None:
        with self._lock:
            for each in self._held:
                recorder.wire(*each)
            recorder.leave_out(self._missed)
            self._held, self._recorder = [], recorder
