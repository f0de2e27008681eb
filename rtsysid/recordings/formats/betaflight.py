"""Read Blackbox logs of Betaflight, INAV and Cleanflight (`.bbl`, `.bfl`): topics `main`, `slow` and `gps`.

A file may hold several logs, one for each time that the robot was armed. They follow each other on one time line: a
log keeps its own times, from the start of the board, unless it would begin less than ten seconds after the log before
it; then it is moved to ten seconds after it. So a gap separates them, as it separates the episodes of any recording.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np

from rtsysid.guards.limits import checked_growth
from rtsysid.recordings.blackbox.encodings import FRAME_BYTES
from rtsysid.recordings.blackbox.flight import Flight
from rtsysid.recordings.blackbox.frames import LOG_END
from rtsysid.recordings.blackbox.header import MARKER, Header
from rtsysid.recordings.blackbox.units import ONE, QUATERNION, unit_of
from rtsysid.recordings.formats import damaged, reading
from rtsysid.recordings.topics import Series, Topic, TopicField, topic_of
from rtsysid.spec import Doubles

_KINDS = {"gps": "G", "main": "I", "slow": "S"}
_BEHIND = 64 * FRAME_BYTES  # bytes behind the file that a damaged frame may seem to reach
_APART = 10.0  # s between two logs, at least
_W = f"{QUATERNION}[3]"  # computed: the firmware logs x, y and z of a unit quaternion whose w is not negative


class Reader:
    """Open a file of Blackbox logs. ``starts`` [l] s: when each log begins on the common time line.

    Raises TraceError where no log in the file can be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with reading(path):
            size = path.stat().st_size
            raw = bytearray(size + _BEHIND)
            with path.open("rb") as stream:
                stream.readinto(memoryview(raw)[:size])
        self._size = size
        self._flights: list[Flight] = []
        lost = [self._add(raw, start, stop) for start, stop in _logs(raw, size)]
        if not self._flights:
            found = lost[0] if lost else "no log in it"
            raise damaged(path, ValueError(found))
        named = [f"log {k}: {each}" if len(lost) > 1 else each for k, each in enumerate(lost, 1) if each]
        self.missing = "; ".join(named)
        self._shifts = _moves([flight.t for flight in self._flights])
        self.starts = tuple(float(f.t[0]) + shift for f, shift in zip(self._flights, self._shifts, strict=True))

    @cached_property
    def topics(self) -> tuple[Topic, ...]:
        """List the kinds of frames that the logs define."""
        return tuple(self._topic(name, kind) for name, kind in _KINDS.items() if self._defined(kind))

    def read(self, topic: str, fields: Sequence[str], stamp: str = "") -> Series:
        """Read fields of all logs, in the units of the firmware. A field that a log does not have is NaN.

        Raises TraceError where the topic, a field or the stamp does not exist, and where the values exceed the limits.
        """
        known = topic_of(self, topic, fields, stamp)
        claimed = 8 * (known.messages or 0) * (len(fields) + 2)
        checked_growth(f"recording {self.path.name}", claimed, self._size, "text_growth")
        parts = [_log_fields(flight, _KINDS[topic], fields) for flight in self._flights]
        t = np.concatenate([each[0] + shift for each, shift in zip(parts, self._shifts, strict=True)])
        return Series(t, np.maximum.accumulate(t), np.concatenate([each[1] for each in parts]))

    def _add(self, raw: bytearray, start: int, stop: int) -> str:
        """Open a log, and say what it lost."""
        end = raw.find(LOG_END, start, stop)
        try:
            flight = Flight(np.frombuffer(raw, np.uint8), Header(raw, start, stop), stop if end < 0 else end)
        except ValueError as error:
            return str(error)
        if not len(flight.t):
            return "no frame in it"
        self._flights.append(flight)
        return _lost(flight, ended=end >= 0)

    def _defined(self, kind: str) -> bool:
        return any(kind in flight.header.layouts for flight in self._flights)

    def _topic(self, name: str, kind: str) -> Topic:
        units: dict[str, set[str]] = {}
        for flight in self._flights:
            for field in _names(flight.header, kind):
                units.setdefault(field, set()).add(unit_of(flight.header, field))
        fields = tuple(TopicField(field, each.pop() if len(each) == 1 else "") for field, each in units.items())
        note = f"{len(self._flights)} logs, one after the other" if len(self._flights) > 1 else ""
        return Topic(name, "Blackbox", fields, (), sum(flight.count(kind) for flight in self._flights), note)


def _logs(raw: bytearray, size: int) -> list[tuple[int, int]]:
    """List where each log of a file begins and ends. Flash memory behind the last frame is full of ones."""
    ends, at = [size], raw.rfind(MARKER, 0, size)
    while at >= 0:
        ends.append(at)
        at = raw.rfind(MARKER, 0, at)
    ends.reverse()
    return [(start, start + len(raw[start:stop].rstrip(b"\xff"))) for start, stop in pairwise(ends)]


def _moves(times: Sequence[Doubles]) -> list[float]:
    """Return by how many seconds each log is moved, so that it follows the one before."""
    shifts: list[float] = []
    end = -np.inf
    for t in times:
        shifts.append(float(max(0.0, end + _APART - t[0])))
        end = t[-1] + shifts[-1]
    return shifts


def _names(header: Header, kind: str) -> list[str]:
    names = [name for name in header.layouts[kind].names if name != "time"] if kind in header.layouts else []
    return [*names, _W] if _computed(names) else names


def _computed(names: Sequence[str]) -> bool:
    return _W not in names and all(f"{QUATERNION}[{k}]" in names for k in range(3))


def _log_fields(flight: Flight, kind: str, fields: Sequence[str]) -> tuple[Doubles, Doubles]:
    """Return times [n] and fields [n, k] of one log."""
    own = flight.header.layouts[kind].names if kind in flight.header.layouts else ()
    vector = [f"{QUATERNION}[{k}]" for k in range(3)] if _W in fields and _computed(own) else []
    stored = [name for name in dict.fromkeys((*fields, *vector)) if name in own]
    t, values = (flight.t, flight.main(stored)) if kind == "I" else flight.side(kind, stored)
    columns = dict(zip(stored, values.T, strict=True))
    if vector:
        columns[_W] = np.sqrt(np.maximum(ONE**2 - sum(columns[name] ** 2 for name in vector), 0))
    missing = np.full(len(t), np.nan)
    return t, np.column_stack([columns.get(name, missing) for name in fields]) if fields else np.empty((len(t), 0))


def _lost(flight: Flight, ended: bool) -> str:
    """Say what a log lost, "" where it is complete."""
    said = []
    if flight.lost:
        said.append(f"{_some(flight.lost, 'damaged byte')} in {_some(flight.breaks, 'place')}")
    if flight.left_out:
        said.append(f"{flight.left_out} of {flight.left_out + len(flight.t)} frames left out next to damage")
    if len(gaps := flight.gaps):
        said.append(f"{_some(len(gaps), 'gap')}, {gaps.sum():.3g} s in all")
    if not ended:
        said.append(f"no end mark after {flight.t[-1] - flight.t[0]:.3g} s: it may be cut off")
    return ", ".join(said)


def _some(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
