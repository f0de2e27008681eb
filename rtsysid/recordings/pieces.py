"""Decide which pieces of recordings are long enough for a use, and count what is left out.

Whatever cuts recordings (training, forecasts, calibration, search) asks here: a piece that is too short gives nothing,
is counted, and is said; nothing else happens. A `Trace` carries the notes about its way, commands print them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, TypeVar

import msgspec

from rtsysid.errors import TraceError

Piece = TypeVar("Piece")


LEAST_JUDGED, MOST_JUDGED = 0.1, 2 / 3  # share of the rows that recordings for validation have


def judging(episodes: Sequence[Any]) -> set[str]:
    """Choose the recordings that validate: the last fifth of them, or more where these have few rows.

    Empty where that leaves too little to train on: then the last rows of all have to do.
    """
    rows: dict[str, int] = {}
    for episode in episodes:
        rows[episode.recording] = rows.get(episode.recording, 0) + len(episode)
    names, every = list(rows), sum(rows.values())
    count = max(1, round(len(names) / 5))
    while sum(rows[name] for name in names[-count:]) < LEAST_JUDGED * every:
        count += 1
    chosen = names[-count:]
    return set(chosen) if sum(rows[name] for name in chosen) <= MOST_JUDGED * every else set()


class LeftOut(msgspec.Struct, frozen=True, tag="left out", tag_field="note"):
    """Count the rows that a use leaves out. ``pieces``: runs of rows without a gap that they form; 0: single rows."""

    use: str
    reason: str
    pieces: int
    rows: int

    @property
    def line(self) -> str:
        """Describe it in one line."""
        pieces = "" if not self.pieces else f"{self.pieces} piece{'s' * (self.pieces > 1)}, "
        return f"{self.use}: {pieces}{self.rows} row{'s' * (self.rows > 1)} left out: {self.reason}"


class SourceCounts(msgspec.Struct, frozen=True):
    """Count what alignment did with the messages of one source.

    ``late``: messages that came after their tick was answered. ``averaged``: messages of outputs that became part of a
    mean. ``held``: values that repeat an older message. ``missing``: values that have none, or one that is too old.
    """

    name: str
    feed: str
    rate_hz: float
    messages: int
    late: int
    averaged: int
    held: int
    missing: int

    @property
    def text(self) -> str:
        """Describe what is remarkable; empty where nothing is."""
        names = ("late", "averaged", "held", "missing")
        counts = [f"{count} {name}" for name in names if (count := getattr(self, name))]
        return f"{self.rate_hz:.4g} Hz, {', '.join(counts)}" if counts else ""


class Aligned(msgspec.Struct, frozen=True, tag="aligned", tag_field="note"):
    """Say what alignment did. ``cut``: ticks before every source had spoken. ``remarks``: what else to know."""

    rate_hz: float
    rows: int
    cut: int
    sources: tuple[SourceCounts, ...]
    remarks: tuple[str, ...] = ()

    @property
    def line(self) -> str:
        """Describe it in one line; sources to which the same happened share a part of it."""
        names: dict[str, list[str]] = {}
        for source in self.sources:
            names.setdefault(source.text, []).append(source.name)
        parts = [f"{_listed(each)}: {text}" for text, each in names.items() if text]
        cut = [f"{self.cut} ticks cut before all sources had spoken"] if self.cut else []
        return "; ".join((f"aligned to {self.rate_hz:g} Hz: {self.rows} rows", *parts, *cut, *self.remarks))


class RolledOver(msgspec.Struct, frozen=True, tag="rolled over", tag_field="note"):
    """Count how often the time of a recording began again after ``period_s`` and was continued."""

    recording: str
    times: int
    period_s: float

    @property
    def line(self) -> str:
        """Describe it in one line."""
        often = "once" if self.times == 1 else f"{self.times} times"
        return f"{self.recording}: the clock rolled over {often}, after {self.period_s:.10g} s; its time is continued"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= 3 else f"{names[0]}, {names[1]} and {len(names) - 2} more"


Note: TypeAlias = LeftOut | Aligned | RolledOver


def long_enough(
    pieces: Sequence[Piece], needed: int, use: str, length: Callable[[Any], int] = len
) -> tuple[list[Piece], tuple[LeftOut, ...]]:
    """Return the pieces of `needed` rows or more, and a note about the others where there are any."""
    kept = [piece for piece in pieces if length(piece) >= needed]
    short = [length(piece) for piece in pieces if length(piece) < needed]
    return kept, left_out(use, needed, len(short), sum(short))


def left_out(use: str, needed: int, pieces: int, rows: int) -> tuple[LeftOut, ...]:
    """Return the note about so many pieces of less than `needed` rows; none for no piece."""
    reason = f"shorter than {needed} row{'s' * (needed > 1)} without a gap"
    return (LeftOut(use, reason, pieces, rows),) if pieces else ()


def too_short(
    use: str, pieces: Sequence[Any], needed: int, remedy: str, length: Callable[[Any], int] = len
) -> TraceError:
    """Return the error for a use to which no piece is left: what there was, what it needs, and the remedy."""
    longest = max(map(length, pieces), default=0)
    found = f"the longest of {len(pieces)} pieces without a gap has {longest} rows, {needed} are needed"
    return TraceError(use, found, remedy)


def merged(notes: Sequence[LeftOut]) -> tuple[LeftOut, ...]:
    """Return one note for all of the same use and reason."""
    sums: dict[tuple[str, str], LeftOut] = {}
    for note in notes:
        known = sums.get((note.use, note.reason), LeftOut(note.use, note.reason, 0, 0))
        sums[note.use, note.reason] = LeftOut(note.use, note.reason, known.pieces + note.pieces, known.rows + note.rows)
    return tuple(sums.values())


def texts(notes: Sequence[Note]) -> list[dict[str, Any]]:
    """Return notes as plain values, for JSON."""
    plain: list[dict[str, Any]] = msgspec.to_builtins(list(notes))
    return plain
