"""Say which stage long work has reached, as log records: the command line shows them, and so does any log handler."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

NAME = "rtsysid.stage"
BLOCK = 1000  # rows between two messages
Item = TypeVar("Item")
_log = logging.getLogger(NAME)


def say_stage(label: str, done: int = 0, total: int = 0) -> None:
    """Log that a stage begins, or that so many of its `total` parts are done; 0: their number is not known."""
    _log.info(label, extra={"done": done, "total": total})


def with_progress(items: Iterable[Item], label: str, total: int = 0, every: int = 1) -> Iterator[Item]:
    """Yield items, and say how many are done before each, or before each `every`-th, and that all are in the end."""
    for done, item in enumerate(items):
        if done % every == 0:
            say_stage(label, done, total)
        yield item
    say_stage(label, total, total)


class RowCount:
    """Say how many rows of recordings a stage has done, of `total`: a recording of an hour is one recording."""

    def __init__(self, label: str, total: int) -> None:
        self._label, self._total, self._done, self._begun = label, total, 0, 0
        say_stage(label, 0, total)

    def add(self, rows: int) -> None:
        """Count rows that are done."""
        self._done += rows
        say_stage(self._label, self._done, self._total)

    def over(self, rows: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
        """Yield each row [C] of `rows` [n, C]. A block counts when the next one begins, the last one with `end`."""
        for start in range(0, len(rows), BLOCK):
            self.end()
            block = rows[start : start + BLOCK]
            self._begun = len(block)
            yield from block

    def end(self) -> None:
        """Count the block that is under way: all that follows from its rows is done."""
        self.add(self._begun)
        self._begun = 0
