"""LatestSender: send by a thread of its own, for lines that may wait. Of several that wait only the latest is sent."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress


class LatestSender:
    """Send through `send`, which may wait, and may raise OSError. ``put`` never waits."""

    def __init__(self, send: Callable[[bytes], None]) -> None:
        self._send, self._latest = send, b""
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="source sender", daemon=True)
        self._thread.start()

    def put(self, data: bytes) -> bool:
        """Replace what waits by `data`; return whether nothing was replaced."""
        with self._changed:
            replaced, self._latest = bool(self._latest), data
            self._changed.notify()
        return not replaced

    def close(self) -> None:
        """End the thread; what waits is not sent."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._latest and not self._closed:
                    self._changed.wait()
                if self._closed:
                    return
                data, self._latest = self._latest, b""
            with suppress(OSError):  # the reader notices it, too
                self._send(data)
