"""Finding: candidates by code, exact distances of their windows, distinct moments.

A moment found is a row whose window is nearer to the query's than that of every other row within half a span of it:
neighbours of one moment are one answer, and so is the slope that leads to it.

1. The codes nearest to the query's, by Hamming distance: many of them belong to one moment.
2. Of each bin of neighbouring rows the nearest; the exact distance of the best of these, and their moments.
3. Around these every row, so that the nearest row of each is reported.
"""

from __future__ import annotations

from bisect import bisect, insort
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rtsysid.errors import TraceError
from rtsysid.recordings.trace import Trace
from rtsysid.retrieval.descriptors import Rows
from rtsysid.retrieval.index import Index
from rtsysid.spec import Floats

CODES = 20_000  # codes that are looked at
WINDOWS = 1_000  # windows that are plain_spec exactly
BINS = 20  # bins of a span
BLOCK = 4096


@dataclass(frozen=True)
class Query:
    """A moment to look for: its `rows` [span, C], their `vector` [D], and its newest `row` where the archive has it."""

    rows: Floats
    vector: Floats
    row: int | None = None


@dataclass(frozen=True)
class Found:
    """A moment of the archive: `distance` 0 is the same, 1 is that of two random moments; `alike` per part, 1 to 0."""

    rank: int
    recording: str
    time_s: float
    distance: float
    alike: dict[str, float]
    row: int


def query_at(index: Index, trace: Trace, time_s: float) -> Query:
    """The moment of a recording whose centre is at `time_s`. Raises TraceError where the recording has none there."""
    pieces = trace.segments(index.spec.rate_hz, nan="split").episodes
    after = index.span // 2
    for piece in pieces:
        newest = int(np.argmin(np.abs(piece.t - time_s))) + after
        if piece.t[0] <= time_s <= piece.t[-1] and index.span <= newest + 1 <= len(piece):
            row = index.row_of(trace.sources[0][1], piece.t[newest]) if trace.sources else None
            return query_of(index, piece.values[newest + 1 - index.span : newest + 1], row)
    half = index.span / index.spec.rate_hz / 2
    first, last = pieces[0].t[0] + half, pieces[-1].t[-1] - half
    found = f"{time_s:g} s is outside of {first:.6g} to {last:.6g} s, or beside a gap"
    raise TraceError(f"--at in {trace.episodes[0].recording}", found, f"a moment of {2 * half:g} s must fit around it")


def query_of(index: Index, rows: Floats, row: int | None = None) -> Query:
    """The moment that consists of `rows` [span, C]; `row` where it ends in the archive, if it is of there."""
    return Query(rows, index.weighted(rows, np.array([index.span - 1]))[0], row)


def find(index: Index, query: Query, top: int = 10) -> list[Found]:
    """The `top` moments most like the query, nearest first; its own moment is none of them."""
    return _matches(index, query, _ranked_rows(index, query, top))


def find_exactly(index: Index, query: Query, top: int = 10) -> list[Found]:
    """The same by comparing every window: what `find` is measured against."""
    return _matches(index, query, exact_rows(index, [query], top)[0])


def exact_rows(index: Index, queries: Sequence[Query], top: int) -> list[list[int]]:
    """Newest rows of the `top` moments of each query, nearest first, from every window in one pass."""
    targets = np.stack([query.vector for query in queries])
    kept = [(np.empty(0, np.int64), np.empty(0, np.float32)) for _ in queries]
    keep = 2 * (top + 2) * index.span  # room for so many moments of two spans each
    for start in range(0, len(index), BLOCK):
        rows = index.newest(np.arange(start, min(start + BLOCK, len(index))))
        vectors = index.vectors(rows)
        squares = (vectors**2).sum(1)[:, None] - 2 * vectors @ targets.T + (targets**2).sum(1)
        for k, (held, at) in enumerate(kept):
            both = np.concatenate((held, rows)), np.concatenate((at, squares[:, k]))
            best = np.argpartition(both[1], keep)[:keep] if len(both[1]) > keep else slice(None)
            kept[k] = both[0][best], both[1][best]
    # The expanded square is fast and loses digits: distances of what is kept are taken once more, as differences
    found = [
        _distinct_moments(rows, _squares(index, query, rows), index.span // 2)
        for query, (rows, _) in zip(queries, kept, strict=True)
    ]
    return [_without_query(index, query, rows)[:top] for query, rows in zip(queries, found, strict=True)]


def _ranked_rows(index: Index, query: Query, top: int) -> list[int]:
    code = index.hyperplanes.codes(query.vector[None])[0]
    numbers = index.scan(index.codes, code, CODES)
    rows = _thinned(index.newest(numbers), max(1, index.span // BINS))[:WINDOWS]
    begun = _without_query(index, query, _distinct_moments(rows, _squares(index, query, rows), index.span // 2))
    settled = {}
    for row in begun[: 2 * top]:
        settled.update(_refined(index, query, row))
    return sorted(settled, key=settled.__getitem__)[:top]


def _thinned(rows: Rows, width: int) -> Rows:
    """Of the rows of each bin of `width` the first, in the order in which they come."""
    _, first = np.unique(rows // width, return_index=True)
    return np.asarray(rows[np.sort(first)])


def _distinct_moments(rows: Rows, squares: Floats, apart: int) -> list[int]:
    """Rows that no nearer one among `rows` is closer to than `apart`, nearest to the query first."""
    found: list[int] = []
    seen: list[int] = []
    for row in rows[np.argsort(squares, kind="stable")].tolist():
        at = bisect(seen, row)
        if all(abs(row - other) >= apart for other in seen[max(0, at - 1) : at + 1]):
            found.append(row)
        insort(seen, row)
    return found


def _without_query(index: Index, query: Query, rows: list[int]) -> list[int]:
    """Without the query's own moment."""
    return [row for row in rows if query.row is None or abs(row - query.row) >= index.span]


def _refined(index: Index, query: Query, row: int) -> dict[int, float]:
    """The nearest row within half a span, with its squared distance; none where that leads on to another moment."""
    half = index.span // 2
    rows = index.windows(row - half, row + half + 1)
    squares = _squares(index, query, rows)
    best = int(squares.argmin())
    on_a_slope = abs(rows[best] - row) == half
    return {} if on_a_slope else {int(rows[best]): float(squares[best])}


def _squares(index: Index, query: Query, rows: Rows) -> Floats:
    difference = index.vectors(rows) - query.vector
    return np.asarray(np.einsum("ij,ij->i", difference, difference))


def _matches(index: Index, query: Query, rows: list[int]) -> list[Found]:
    if not rows:
        return []
    difference = index.vectors(np.array(rows)) - query.vector
    names = list(dict.fromkeys(part.name for part in index.descriptor.parts))
    found = []
    for rank, (row, apart) in enumerate(zip(rows, difference, strict=True), 1):
        squares = dict.fromkeys(names, 0.0)
        for part in index.descriptor.parts:
            squares[part.name] += len(names) * float((apart[part.columns] ** 2).sum())
        place = index.place(row)
        alike = {name: max(0.0, 1.0 - square**0.5) for name, square in squares.items()}
        distance = float((apart**2).sum() ** 0.5)
        found.append(Found(rank, place.recording, place.time_s, distance, alike, row))
    return found
