"""Backlog: the bounded queue between the thread that reads a source and the loop; a full one drops the oldest."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from typing import Generic, TypeVar

T = TypeVar("T")


class Backlog(Generic[T]):
    """Queue of the newest `limit` items; ``dropped`` counts those removed, ``most`` is the longest backlog so far."""

    def __init__(self, limit: int) -> None:
        self._items: deque[T] = deque(maxlen=limit)
        self._limit = limit
        self._changed = threading.Condition()
        self._closed = False
        self.dropped = self.most = 0

    def put(self, items: Sequence[T]) -> None:
        """Append items, and wake the thread that waits in `take`."""
        with self._changed:
            self.dropped += max(0, len(self._items) + len(items) - self._limit)
            self._items.extend(items)
            self.most = max(self.most, len(self._items))
            self._changed.notify()

    def take(self, timeout_s: float) -> list[T]:
        """Remove and return all items, waiting up to `timeout_s` seconds for the first; none after `close`."""
        with self._changed:
            if not self._items and not self._closed:
                self._changed.wait(timeout_s)
            items = list(self._items)
            self._items.clear()
            return items

    def close(self) -> None:
        """End the queue: no more items will come."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    @property
    def closed(self) -> bool:
        """Whether `close` was called and everything was taken."""
        with self._changed:
            return self._closed and not self._items

    @property
    def waiting(self) -> int:
        """Number of items that nobody has taken yet."""
        return len(self._items)
