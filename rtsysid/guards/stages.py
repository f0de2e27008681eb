"""Say which stage long work has reached, as log records.

The command line shows them, `told_on_stderr` does, and so does any log handler.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from rtsysid.guards.text import visible

NAME = "rtsysid.stage"
BLOCK = 1000  # rows between two messages
SAID = 10.0  # seconds between two lines about one stage
LEAST_DONE = 0.02  # share of a stage from which the remaining time is worth a word
Item = TypeVar("Item")
_log = logging.getLogger(NAME)


def say_stage(label: str, done: int = 0, total: int = 0, text: str = "") -> None:
    """Log that a stage begins, or that so many of its `total` parts are done; 0: their number is not known.

    `text` describes the last part.
    """
    _log.info(label, extra={"done": done, "total": total, "text": text})


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


def stage_line(label: str, done: int, total: int, text: str, seconds: float) -> str:
    """Describe a stage in one line: how much is done, for how long it runs, and how long it will take."""
    share = f" {done} of {total}" if total else f" {done:,}" if done else ""
    elapsed = f", {duration_text(seconds)}" if seconds >= 1 else ""
    known = total and done >= max(1, LEAST_DONE * total) and seconds >= 1 and done < total
    left = f", about {duration_text(seconds / done * (total - done))} left" if known else ""
    return f"{label}{share}{elapsed}{left}{text and f': {text}'}"


def duration_text(seconds: float) -> str:
    """Write a time: ``8 s``, ``3 min 20 s``, ``2 h 5 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole % 60 else f"{whole // 60} min"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


@contextmanager
def told_on_stderr(told: bool = True) -> Iterator[None]:
    """Print on stderr, while it lasts, what the library logs: a line for each stage, and what it finds.

    Nothing changes where `told` is False, or where a handler of the caller shows stages already.
    """
    log = logging.getLogger("rtsysid")
    if not told or (_log.isEnabledFor(logging.INFO) and _log.hasHandlers()):
        yield
        return
    lines, stages, level = _FoundLines(), _StageLines(), log.level
    log.addHandler(lines)
    _log.addHandler(stages)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.removeHandler(lines)
        _log.removeHandler(stages)
        log.setLevel(level)


class _FoundLines(logging.Handler):
    """Print records on stderr, other than those of stages."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.name != NAME:
            _print_on_stderr(record.getMessage())


class _StageLines(logging.Handler):
    """Print on stderr that a stage begins, and about every `SAID` seconds how far it is."""

    def __init__(self) -> None:
        super().__init__()
        self._stage, self._begun, self._said = "", 0.0, 0.0

    def emit(self, record: logging.LogRecord) -> None:
        values: dict[str, Any] = record.__dict__
        label, now = record.getMessage(), time.monotonic()
        fresh = label != self._stage
        if fresh or now - self._said >= SAID:
            self._stage, self._begun, self._said = label, now if fresh else self._begun, now
            _print_on_stderr(stage_line(label, values["done"], values["total"], values["text"], now - self._begun))


def _print_on_stderr(line: str) -> None:
    with suppress(OSError, ValueError):  # stderr was closed
        print(visible(line), file=sys.stderr, flush=True)
