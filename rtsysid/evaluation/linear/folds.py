"""Folds of recordings for cross-validation: what a fold leaves out is judged by models of all others.

Rows of one recording resemble each other, so whole recordings are left out. Of one or two recordings blocks are left
out, with a gap on both sides.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from rtsysid.spec import Floats

MOST = 5  # folds
BLOCKS = 6  # parts of recordings where there are fewer than three


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


def folds_of(recordings: Sequence[Sequence[Floats]], gap: int) -> Folds:
    """Assign pieces [n, C] to folds. `recordings`: the unbroken pieces of each; `gap`: rows between two blocks."""
    if len(recordings) >= 3:
        count = min(MOST, len(recordings))
        pieces = [(piece, k % count) for k, recording in enumerate(recordings) for piece in recording]
        return Folds([piece for piece, _ in pieces], [number for _, number in pieces])
    blocks = [block for recording in recordings for piece in recording for block in _cut(piece, gap)]
    count = min(MOST, len(blocks))
    return Folds(blocks, [k % count for k in range(len(blocks))])


def _cut(piece: Floats, gap: int) -> list[Floats]:
    """Cut a piece [n, C] into blocks of at least four gaps each, with a gap between them."""
    count = max(1, min(BLOCKS, len(piece) // (5 * gap)))
    edges = np.linspace(0, len(piece), count + 1).astype(int)
    return [piece[a + (gap if k else 0) : b] for k, (a, b) in enumerate(itertools.pairwise(edges))]
