"""Show on stderr what a long command does: one line that is rewritten on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Self

from rtsysid.guards.stages import SAID, stage_line
from rtsysid.guards.text import visible

REDRAWN = 0.5  # seconds between two drawings on a terminal
UNNAMED, PATIENCE = "working", 0.9  # what work outside a stage is called, from this many seconds on


class Display:
    """One line about the stage that a command has reached, drawn by a thread of its own until `rest` or `close`.

    Work before the first stage and after a finished one is shown, too: no command is silent for more than a second. A
    copy of it in a forked process does nothing. ``timed``: print how long each stage took.
    """

    timed = False

    def __init__(self) -> None:
        self._lock, self._resting = threading.Lock(), threading.Event()
        self._thread: threading.Thread | None = None
        self._owner, self._live = os.getpid(), sys.stderr.isatty()
        self._label, self._text = UNNAMED, ""
        self._done = self._total = 0
        self._begun = self._shown = time.monotonic()
        self._drawn = self._closed = False

    def stage(self, label: str, done: int = 0, total: int = 0, text: str = "") -> None:
        """Begin a stage, or say how much of it is done; `text` describes the last part."""
        if self._closed or os.getpid() != self._owner:
            return
        with self._lock:
            fresh = label != self._label
            if fresh:
                self._begin(label)
            self._done, self._total, self._text = done, total, text
            if fresh:
                self._show()
        self.watch()

    def watch(self) -> None:
        """Begin to draw."""
        if self._thread is None:
            self._resting.clear()
            self._thread = threading.Thread(target=self._draw, name="progress", daemon=True)
            self._thread.start()

    def rest(self) -> None:
        """Show nothing until the next stage: from here on a session or a person uses the terminal."""
        if os.getpid() != self._owner:
            return
        self._resting.set()
        if self._thread is not None:
            self._thread.join(1.0)
            self._thread = None
        with self._lock:
            self._begin(UNNAMED)
        self.clear()

    def clear(self) -> None:
        """Remove the line from the terminal, before something else is printed."""
        if self._drawn and os.getpid() == self._owner:
            with self._lock:
                self._erase()

    def close(self) -> None:
        """Remove the line and end the thread, for good."""
        self._closed = True
        self.rest()

    def _draw(self) -> None:
        while not self._resting.wait(REDRAWN):
            with self._lock:
                if self._total and self._done >= self._total:
                    self._begin(UNNAMED)
                self._redraw(time.monotonic())

    def _redraw(self, now: float) -> None:
        if self._label == UNNAMED and now - self._begun < PATIENCE:
            self._erase()
        elif self._live or now - self._shown > SAID:
            self._show()

    def _begin(self, label: str) -> None:
        self._print_time()
        self._label, self._begun = label, time.monotonic()
        self._done = self._total = 0
        self._text = ""

    def _show(self) -> None:
        self._shown = time.monotonic()
        line = visible(stage_line(self._label, self._done, self._total, self._text, self._shown - self._begun))
        self._write(f"\r{line[: _width() - 1]}\x1b[K" if self._live else f"{line}\n")
        self._drawn = self._live

    def _print_time(self) -> None:
        if self.timed and self._label != UNNAMED:
            self._erase()
            self._write(f"{self._label}: {time.monotonic() - self._begun:.1f} s\n")

    def _write(self, text: str) -> None:
        with suppress(OSError, ValueError):  # stderr was closed
            sys.stderr.write(text)
            sys.stderr.flush()

    def _erase(self) -> None:
        if self._drawn:
            self._write("\r\x1b[K")
        self._drawn = False


class StageLog(logging.Handler):
    """Show the stages that the library logs."""

    def __init__(self, show: Callable[[str, int, int, str], None]) -> None:
        super().__init__()
        self._show = show

    def emit(self, record: logging.LogRecord) -> None:
        """Show a record of `rtsysid.guards.stages`."""
        values: dict[str, Any] = record.__dict__
        done, total, text = (values[name] for name in ("done", "total", "text"))
        self._show(record.getMessage(), done, total, text)


class StageBar:
    """Count the parts of one stage: `with StageBar(display, 10, "writing") as bar`, then `bar.update(1)`.

    ``length``: their number, which may be set later; ``pos``: how many are done.
    """

    def __init__(self, display: Display | None, length: int, label: str) -> None:
        self._display, self.length, self.pos, self._label = display, length, 0, label

    def __enter__(self) -> Self:
        self.update(0)
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def update(self, count: int, text: str = "") -> None:
        """Say that `count` more parts are done; `text` describes the last one."""
        self.pos += count
        if self._display is not None:
            self._display.stage(self._label, self.pos, self.length, text)


def _width() -> int:
    with suppress(OSError, ValueError):
        return os.get_terminal_size(sys.stderr.fileno()).columns or 80
    return 80
