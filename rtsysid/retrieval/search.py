"""Finding: candidates by code, exact distances of their windows, distinct moments.

1. The codes nearest to the query's, by Hamming distance: many of them belong to one moment.
2. Of each bin of neighbouring rows the nearest; the exact distance of the best of these.
3. Around the best moments every row, so that what is reported is the nearest row of each.

Two rows less than a span apart are one moment.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtsysid.errors import TraceError
from rtsysid.retrieval.hashing import nearest
from rtsysid.retrieval.index import Index
from rtsysid.retrieval.views import Rows
from rtsysid.spec import Floats
from rtsysid.trace import Trace

CODES = 20_000  # codes that are looked at
WINDOWS = 1_500  # windows that are compared exactly
BINS = 20  # bins of a span
BLOCK = 4096


@dataclass(frozen=True)
class Query:
    """A moment to look for: its weighted vector [D], and its newest row where the archive holds it."""

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
            vector = index.weighted(piece.values, np.array([newest]))[0]
            row = index.row_of(trace.sources[0][1], piece.t[newest]) if trace.sources else None
            return Query(vector, row)
    half = index.span / index.spec.rate_hz / 2
    first, last = pieces[0].t[0] + half, pieces[-1].t[-1] - half
    found = f"{time_s:g} s is outside of {first:.6g} to {last:.6g} s, or beside a gap"
    raise TraceError(f"--at in {trace.episodes[0].recording}", found, f"a moment of {2 * half:g} s must fit around it")


def find(index: Index, query: Query, top: int = 10) -> list[Found]:
    """The `top` moments most like the query, nearest first; its own moment is none of them."""
    return _reported(index, query, _search(index, query, top))


def find_exactly(index: Index, query: Query, top: int = 10) -> list[Found]:
    """The same by comparing every window: what `find` is measured against."""
    return _reported(index, query, exact_rows(index, [query], top)[0])


def exact_rows(index: Index, queries: list[Query], top: int) -> list[list[int]]:
    """Newest rows of the `top` moments of each query, over every window in one pass."""
    targets = np.stack([query.vector for query in queries])
    kept: list[tuple[Rows, Floats]] = [(np.empty(0, np.int64), np.empty(0, np.float32))] * len(queries)
    keep = top * 2 * index.span
    for rows in _every(index):
        vectors = index.vectors(rows)
        squares = (vectors**2).sum(1)[:, None] - 2 * vectors @ targets.T + (targets**2).sum(1)
        for k, query in enumerate(queries):
            other = np.ones(len(rows), bool) if query.row is None else np.abs(rows - query.row) >= index.span
            merged = np.concatenate((kept[k][0], rows[other])), np.concatenate((kept[k][1], squares[other, k]))
            best = np.argpartition(merged[1], keep)[:keep] if len(merged[1]) > keep else slice(None)
            kept[k] = merged[0][best], merged[1][best]
    return [_distinct(rows, squares, index.span, top) for rows, squares in kept]


def _search(index: Index, query: Query, top: int) -> list[int]:
    code = index.cuts.codes(query.vector[None])[0]
    numbers, hamming = nearest(index.codes, code, CODES)
    rows = _thinned(index.newest(numbers), hamming, max(1, index.span // BINS))
    if query.row is not None:
        rows = rows[np.abs(rows - query.row) >= index.span]
    rows = rows[:WINDOWS]
    begun = _distinct(rows, _squares(index, query, rows), index.span, 2 * top)
    around = np.unique(np.concatenate([rows[:0], *(_around(index, row, query) for row in begun)]))
    return _distinct(around, _squares(index, query, around), index.span, top)


def _thinned(rows: Rows, hamming: NDArray[np.int64], width: int) -> Rows:
    """Of the rows of each bin of `width` the one with the nearest code; nearest first, as they came."""
    _, first = np.unique(rows // width, return_index=True)
    return np.asarray(rows[np.sort(first)])


def _around(index: Index, row: int, query: Query) -> Rows:
    reach = max(1, index.span // 10)
    rows = index.moments(row - reach, row + reach + 1)
    return rows if query.row is None else rows[np.abs(rows - query.row) >= index.span]


def _squares(index: Index, query: Query, rows: Rows) -> Floats:
    difference = index.vectors(rows) - query.vector
    return np.asarray(np.einsum("ij,ij->i", difference, difference))


def _distinct(rows: Rows, squares: Floats, span: int, top: int) -> list[int]:
    """Rows of the nearest moments, nearest first, no two of them less than a span apart."""
    chosen: list[int] = []
    for row in rows[np.argsort(squares, kind="stable")].tolist():
        if all(abs(row - other) >= span for other in chosen):
            chosen.append(row)
            if len(chosen) == top:
                break
    return chosen


def _reported(index: Index, query: Query, rows: list[int]) -> list[Found]:
    if not rows:
        return []
    difference = index.vectors(np.array(rows)) - query.vector
    names = list(dict.fromkeys(part.name for part in index.view.parts))
    found = []
    for rank, (row, apart) in enumerate(zip(rows, difference, strict=True), 1):
        squares = dict.fromkeys(names, 0.0)
        for part in index.view.parts:
            squares[part.name] += len(names) * float((apart[part.columns] ** 2).sum())
        place = index.place(row)
        alike = {name: max(0.0, 1.0 - square**0.5) for name, square in squares.items()}
        distance = float((apart**2).sum() ** 0.5)
        found.append(Found(rank, place.recording, place.time_s, distance, alike, row))
    return found


def _every(index: Index) -> Iterator[Any]:
    for start in range(0, len(index), BLOCK):
        yield index.newest(np.arange(start, min(start + BLOCK, len(index))))
