"""A log as a live source: ``mcap:flight.mcap``, or ``log:flight.csv`` for any other format that rtsysid reads.

It plays at the recorded pace; ``speed=2`` is twice as fast, ``speed=max`` as fast as possible. ``time=COLUMN`` names
the time column of a table.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from rtsysid.config import Data
from rtsysid.errors import LinkError
from rtsysid.sources.format import StreamFormat, Transport
from rtsysid.sources.json_lines import JsonLines, line_of
from rtsysid.sources.stream import StreamSource
from rtsysid.spec import Channel, Sample

_AT_ONCE = 64  # rows


class LogOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Options of the address."""

    speed: str = "1"
    time: str = "t"


class LogSource(StreamSource):
    """The source that plays a log: see the module. Rows are aligned when they are read, where topics need it."""

    AHEAD_S = math.inf
    SILENCE_S = math.inf
    GREEDY = False

    def make_format(self) -> StreamFormat:
        """Make the format of the rows, and let messages hold the channels by name."""
        self._data, self._wanted = self._settings()
        self.mapping = msgspec.structs.replace(self.mapping, sources={}, aligned=False)
        return JsonLines()

    def connect(self) -> Transport:
        """Open the log. Raises TraceError where it cannot be read."""
        options = self.url.choose(LogOptions)
        samples, channels = self._samples()
        return _Played(samples, channels, _speed(options.speed, self.url.text))

    def _settings(self) -> tuple[Data | None, tuple[Channel, ...]]:
        """Return how the log is read; no settings for a table whose columns are all taken as they are."""
        mapping = self.mapping
        if not mapping.channels or not mapping.rate_hz:
            return None, mapping.channels
        names = {
            role: tuple(str(each) for each in mapping.channels if each.role == role) for role in ("input", "output")
        }
        time_ = self.url.choose(LogOptions).time
        data = Data(
            rate_hz=mapping.rate_hz, inputs=names["input"], outputs=names["output"], time=time_,
            sources=mapping.sources, lateness=mapping.lateness, max_age=mapping.max_age,
        )  # fmt: skip
        return data, mapping.channels

    def _samples(self) -> tuple[Iterator[Sample], Sequence[Channel]]:
        path = Path(self.url.rest)
        if self._data is None:
            from rtsysid.recordings.trace import Trace

            trace = Trace.read(path, self._wanted or None)
            rows = (Sample(t, row) for e in trace.episodes for t, row in zip(e.t.tolist(), e.values, strict=True))
            return rows, trace.channels
        from rtsysid.recordings.reading import stream_recording

        return stream_recording(path, self._data, self._wanted), self._wanted


class _Played:
    """Rows of a log as lines of JSON, each at its time."""

    def __init__(self, samples: Iterator[Sample], channels: Sequence[Channel], speed: float) -> None:
        self._samples, self._speed = samples, speed
        self._names = [each.name for each in channels]
        self._next = next(samples, None)
        self._begun_s = time.monotonic()
        self._first_t = math.nan if self._next is None else self._next.t

    def receive(self, timeout_s: float) -> Sequence[bytes]:
        """Return the rows that are due. Raises EOFError after the last one."""
        if self._next is None:
            raise EOFError
        early_s = self._due_s() - time.monotonic()
        if early_s > 0:
            time.sleep(min(early_s, timeout_s))
        found: list[bytes] = []
        while self._next is not None and len(found) < _AT_ONCE and self._due_s() <= time.monotonic():
            found.append(line_of("", self._next.t, dict(zip(self._names, self._next.values.tolist(), strict=True))))
            self._next = next(self._samples, None)
        return found

    def send(self, data: bytes) -> bool:
        """Take nothing: a log hears no predictions."""
        return False

    def close(self) -> None:
        """Do nothing: the reader closes its file."""

    def _due_s(self) -> float:
        return -math.inf if self._next is None else self._begun_s + (self._next.t - self._first_t) / self._speed


def _speed(text: str, url: str) -> float:
    """Return a speed above 0. Raises LinkError for anything else."""
    try:
        speed = math.inf if text == "max" else float(text)
    except ValueError:
        speed = math.nan
    if not speed > 0:
        raise LinkError(f"source {url}", f"speed={text}", "give a factor above 0, or max")
    return speed
