"""Outbox: the queue of messages for a line that may take them later. It is bounded and never waits.

A stall must not delay everything after it: only the latest prediction is kept.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from firmware_bridge.layout import Message
from firmware_bridge.wire import DELIMITER, FrameEncoder

_ROOM = 4096  # bytes of control frames that may wait for the line


class Outbox:
    """Send control frames in order, and the latest prediction, to a line that may take them later.

    `attach` starts to send through `write`, which takes bytes and returns at once how many it took. Frames get their
    numbers when they leave. ``replaced``: predictions replaced by a newer one; ``unsent``: control frames without room.
    """

    def __init__(self, encoder: FrameEncoder) -> None:
        self._encoder = encoder
        self._lock = threading.Lock()
        self._write: Callable[[bytes], int] | None = None
        self._bytes = b""
        self._latest: Message | None = None
        self.replaced = self.unsent = 0

    def attach(self, write: Callable[[bytes], int]) -> None:
        """Start on another line or session; drop what waits, and end a frame that was half sent with a delimiter."""
        with self._lock:
            self._write, self._bytes, self._latest = write, DELIMITER, None

    def detach(self) -> None:
        """Stop sending; `write` is not called again."""
        with self._lock:
            self._write = None

    def post(self, messages: Sequence[Message], now_us: int) -> None:
        """Queue control messages, and send as much as the line takes."""
        with self._lock:
            for message in messages:
                if len(self._bytes) < _ROOM:
                    self._bytes += self._encoder.encode(message, now_us)
                else:
                    self.unsent += 1
            self._flush(now_us)

    def predict(self, message: Message, now_us: int) -> None:
        """Send a prediction now, or when the line takes it, unless a newer one comes before."""
        with self._lock:
            self.replaced += self._latest is not None
            self._latest = message
            self._flush(now_us)

    @property
    def waiting(self) -> bool:
        """Whether there are bytes or predictions that the line has not taken yet."""
        return bool(self._bytes) or self._latest is not None

    def _flush(self, now_us: int) -> None:
        while self._write is not None and (self._bytes or self._latest is not None):
            if not self._bytes and self._latest is not None:
                self._bytes, self._latest = self._encoder.encode(self._latest, now_us), None
            taken = self._write(self._bytes)
            self._bytes = self._bytes[taken:]
            if self._bytes:
                return  # the line is full
