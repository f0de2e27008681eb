"""Search an index: candidates by code, exact distances of their windows, distinct matches.

A match is a local minimum of the distance: no other row within half a span of it is nearer to the query. Overlapping
windows therefore give one match.

1. Take the codes nearest to the query's code by Hamming distance. Many of them are neighbours.
2. Keep the nearest of each bin of neighbouring rows, and compute the exact distances of the best of these.
3. Compute the distance of every row around each candidate, and move to the nearest row.
"""

from __future__ import annotations

from bisect import bisect, insort
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rtsysid.errors import TraceError
from rtsysid.recordings.trace import Episode, Trace
from rtsysid.retrieval.descriptors import Rows
from rtsysid.retrieval.index import Index
from rtsysid.spec import Floats, rotation_columns

CANDIDATES = 20_000  # nearest codes that become candidates
WINDOWS = 1_000  # windows whose exact distance is computed
BINS = 20  # bins per span
BLOCK = 4096  # moments per block of the exact search


@dataclass(frozen=True)
class Query:
    """Hold the query: its `rows` [span, C], its `vector` [D], and its newest `row` if the archive contains it."""

    rows: Floats
    vector: Floats
    row: int | None = None


@dataclass(frozen=True)
class Match:
    """Hold a matching moment. `distance`: 0 is equal, 1 is random. `alike`: similarity per group, 1 is equal."""

    rank: int
    recording: str
    time_s: float
    distance: float
    alike: dict[str, float]
    row: int


def query_at(index: Index, trace: Trace, time_s: float) -> Query:
    """Return the moment of a recording with its centre at `time_s`. Raises TraceError where it does not fit there."""
    pieces = trace.segments(index.spec.rate_hz, nan="split").with_continuous(rotation_columns(trace.channels)).episodes
    after = index.span // 2
    for piece in pieces:
        newest = int(np.argmin(np.abs(piece.t - time_s))) + after
        if piece.t[0] <= time_s <= piece.t[-1] and index.span <= newest + 1 <= len(piece):
            row = index.row_of(trace.sources[0][1], piece.t[newest]) if trace.sources else None
            return query_of(index, piece.values[newest + 1 - index.span : newest + 1], row)
    raise _no_moment(index, trace.episodes[0].recording, pieces, time_s)


def _no_moment(index: Index, recording: str, pieces: Sequence[Episode], time_s: float) -> TraceError:
    """Return the error for a time at which no moment fits: what there is, and what a moment takes."""
    half = index.span / index.spec.rate_hz / 2
    fitting = [piece for piece in pieces if len(piece) >= index.span]
    if not fitting:
        longest = max(map(len, pieces))
        found = f"the longest of {len(pieces)} pieces without a gap has {longest} rows, a moment has {index.span}"
        return TraceError(f"--at in {recording}", found, "give a longer recording, or index shorter moments")
    first, last = fitting[0].t[0] + half, fitting[-1].t[-1] - half
    outside = f"{time_s:g} s is outside {first:.6g} to {last:.6g} s, or next to a gap"
    return TraceError(f"--at in {recording}", outside, f"a moment of {2 * half:g} s must fit around it")


def query_of(index: Index, rows: Floats, row: int | None = None) -> Query:
    """Make a query from `rows` [span, C]. `row` is its newest row in the archive, if it is there."""
    return Query(rows, index.weighted(rows, np.array([index.span - 1]))[0], row)


def find(index: Index, query: Query, top: int = 10) -> list[Match]:
    """Find the `top` moments most similar to the query, nearest first. The query itself is excluded."""
    return _matches(index, query, _ranked_rows(index, query, top))


def find_exactly(index: Index, query: Query, top: int = 10) -> list[Match]:
    """Find the same moments by comparing every window. This is the reference for `find`."""
    return _matches(index, query, exact_rows(index, [query], top)[0])


def exact_rows(index: Index, queries: Sequence[Query], top: int) -> list[list[int]]:
    """Compare every window with every query, in one pass. Return the rows of the `top` moments, nearest first."""
    targets = np.stack([query.vector for query in queries])
    kept = [(np.empty(0, np.int64), np.empty(0, np.float32)) for _ in queries]
    keep = 2 * (top + 2) * index.span  # each moment may occupy the rows of two spans
    for start in range(0, len(index), BLOCK):
        rows = index.newest(np.arange(start, min(start + BLOCK, len(index))))
        vectors = index.vectors(rows)
        squares = (vectors**2).sum(1)[:, None] - 2 * vectors @ targets.T + (targets**2).sum(1)
        for k, (held, at) in enumerate(kept):
            both = np.concatenate((held, rows)), np.concatenate((at, squares[:, k]))
            best = np.argpartition(both[1], keep)[:keep] if len(both[1]) > keep else slice(None)
            kept[k] = both[0][best], both[1][best]
    # The expanded square is fast but loses digits: compute the distances of the kept rows again, as differences
    ranked = [
        _distinct_moments(rows, _squares(index, query, rows), index.span // 2)
        for query, (rows, _) in zip(queries, kept, strict=True)
    ]
    return [_without_query(index, query, rows)[:top] for query, rows in zip(queries, ranked, strict=True)]


def _ranked_rows(index: Index, query: Query, top: int) -> list[int]:
    code = index.hyperplanes.codes(query.vector[None])[0]
    numbers = index.scan(index.codes, code, CANDIDATES)
    rows = _thinned(index.newest(numbers), max(1, index.span // BINS))[:WINDOWS]
    candidates = _without_query(index, query, _distinct_moments(rows, _squares(index, query, rows), index.span // 2))
    refined = {}
    for row in candidates[: 2 * top]:
        refined.update(_refined(index, query, row))
    return sorted(refined, key=refined.__getitem__)[:top]


def _thinned(rows: Rows, width: int) -> Rows:
    """Keep the first row of each bin of `width` rows, in the given order."""
    _, first = np.unique(rows // width, return_index=True)
    return np.asarray(rows[np.sort(first)])


def _distinct_moments(rows: Rows, squares: Floats, apart: int) -> list[int]:
    """Keep rows that have no nearer row within `apart` rows, nearest to the query first."""
    distinct: list[int] = []
    seen: list[int] = []
    for row in rows[np.argsort(squares, kind="stable")].tolist():
        at = bisect(seen, row)
        if all(abs(row - other) >= apart for other in seen[max(0, at - 1) : at + 1]):
            distinct.append(row)
        insort(seen, row)
    return distinct


def _without_query(index: Index, query: Query, rows: list[int]) -> list[int]:
    """Remove the rows that overlap the query itself."""
    return [row for row in rows if query.row is None or abs(row - query.row) >= index.span]


def _refined(index: Index, query: Query, row: int) -> dict[int, float]:
    """Return the nearest row within half a span and its squared distance; none where a minimum lies beyond."""
    half = index.span // 2
    rows = index.windows(row - half, row + half + 1)
    squares = _squares(index, query, rows)
    best = int(squares.argmin())
    on_a_slope = abs(rows[best] - row) == half
    return {} if on_a_slope else {int(rows[best]): float(squares[best])}


def _squares(index: Index, query: Query, rows: Rows) -> Floats:
    difference = index.vectors(rows) - query.vector
    return np.asarray(np.einsum("ij,ij->i", difference, difference))


def _matches(index: Index, query: Query, rows: list[int]) -> list[Match]:
    if not rows:
        return []
    difference = index.vectors(np.array(rows)).astype(np.float64) - query.vector
    matches = []
    for rank, (row, apart) in enumerate(zip(rows, difference, strict=True), 1):
        place = index.place(row)
        distance = float((apart**2).sum() ** 0.5)
        matches.append(Match(rank, place.recording, place.time_s, distance, _similarity(index, apart), row))
    return matches


def _similarity(index: Index, difference: Floats) -> dict[str, float]:
    """Return the similarity per feature group, from the difference [D] of two weighted vectors."""
    groups = index.descriptor.groups
    squares = dict.fromkeys((group.name for group in groups), 0.0)
    for group in groups:
        squares[group.name] += len(squares) * float((difference[group.columns] ** 2).sum())
    return {name: max(0.0, 1.0 - square**0.5) for name, square in squares.items()}
