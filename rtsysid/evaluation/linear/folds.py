"""Folds of recordings for cross-validation: what a fold leaves out is judged by models of all others.

Rows of one recording resemble each other, so whole recordings are left out. Of one or two recordings, or where one has
most of the rows, blocks are left out, with a gap between them.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from rtsysid.errors import TraceError
from rtsysid.spec import Floats

MOST = 5  # folds
BLOCKS = 6  # parts of recordings where there are fewer than three, or one is larger than all others


class Folds(NamedTuple):
    """Hold pieces of recordings [n, C], and the fold to which each belongs, 0 .. count - 1."""

    pieces: list[Floats]
    numbers: list[int]

    @property
    def number(self) -> int:
        """Return the number of folds."""
        return max(self.numbers) + 1

    def held_out(self, number: int) -> list[Floats]:
        """Return the pieces [n, C] that a fold leaves out."""
        return [piece for piece, own in zip(self.pieces, self.numbers, strict=True) if own == number]


def folds_of(recordings: Sequence[Sequence[Floats]], gap: int, needed: int) -> Folds:
    """Assign pieces [n, C] to folds, of which each has a piece of `needed` rows or more.

    `recordings`: the unbroken pieces of each; `gap`: rows between two blocks. Raises TraceError where there are not two
    such folds.
    """
    long = sum(_longest_piece(pieces) >= needed for pieces in recordings)
    rows = [sum(map(len, pieces)) for pieces in recordings]
    whole = long >= 3 and max(rows) <= sum(rows) / 2
    parts = recordings if whole else [[b] for pieces in recordings for p in pieces for b in _cut(p, gap, needed)]
    parts = sorted(
        parts, key=lambda part: _longest_piece(part) < needed
    )  # keeps the order of those that are long enough
    count = min(MOST, sum(_longest_piece(part) >= needed for part in parts))
    if count < 2:
        raise TraceError(
            "linear model", f"{count} parts of {needed} rows without a gap", "record longer: two are needed"
        )
    numbered = [(piece, k % count) for k, part in enumerate(parts) for piece in part]
    return Folds([piece for piece, _ in numbered], [number for _, number in numbered])


def _longest_piece(pieces: Sequence[Floats]) -> int:
    return max(map(len, pieces), default=0)


def _cut(piece: Floats, gap: int, needed: int) -> list[Floats]:
    """Cut a piece [n, C] into blocks of at least four gaps and `needed` rows each, with a gap between them."""
    count = max(1, min(BLOCKS, len(piece) // max(5 * gap, needed + gap)))
    edges = np.linspace(0, len(piece), count + 1).astype(int)
    return [piece[a + (gap if k else 0) : b] for k, (a, b) in enumerate(itertools.pairwise(edges))]
