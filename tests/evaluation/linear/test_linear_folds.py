"""Test how recordings are left out: by whole recordings, or by blocks with gaps."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtsysid.errors import TraceError
from rtsysid.evaluation.linear.folds import BLOCKS, MOST, Folds, folds_of
from rtsysid.spec import Floats

LENGTHS = st.lists(st.lists(st.integers(1, 400), min_size=1, max_size=3), min_size=1, max_size=8)


def numbered(lengths: list[list[int]]) -> list[list[Floats]]:
    """Pieces [n, 1] of each recording; every row holds a number of its own, and a recording begins at a thousand."""
    made = []
    for recording, pieces in enumerate(lengths):
        starts = np.cumsum([0, *pieces]) + 10_000 * recording
        made.append([np.arange(a, a + n, dtype=np.float32)[:, None] for a, n in zip(starts, pieces, strict=False)])
    return made


def rows_of(folds: Folds, number: int) -> list[int]:
    return [int(row) for piece in folds.held_out(number) for row in piece[:, 0]]


@settings(max_examples=40)
@given(LENGTHS, st.integers(1, 50), st.integers(1, 80))
def test_no_row_is_in_two_folds_and_each_fold_can_be_judged(lengths: list[list[int]], gap: int, settling: int) -> None:
    """Folds share no row, and each has a piece that is long enough; or one line says that there are too few."""
    needed = settling + gap
    try:
        folds = folds_of(numbered(lengths), gap, needed)
    except TraceError:
        assert sum(rows >= needed for pieces in lengths for rows in pieces) < 2
        return
    rows = [row for number in range(folds.number) for row in rows_of(folds, number)]
    assert 2 <= folds.number <= MOST
    assert all(max(map(len, folds.held_out(number))) >= needed for number in range(folds.number))
    assert len(set(rows)) == len(rows)


@settings(max_examples=40)
@given(
    st.lists(st.lists(st.integers(20, 300), min_size=1, max_size=3), min_size=3, max_size=8).filter(
        lambda lengths: max(map(sum, lengths)) <= sum(map(sum, lengths)) / 2
    )
)
def test_three_recordings_or_more_are_left_out_as_wholes(lengths: list[list[int]]) -> None:
    """Every recording is in exactly one fold, with all of its rows."""
    folds = folds_of(numbered(lengths), 10, 20)
    recordings = [{row // 10_000 for row in rows_of(folds, number)} for number in range(folds.number)]
    assert sorted(each for found in recordings for each in found) == list(range(len(lengths)))
    assert sum(map(len, folds.pieces)) == sum(map(sum, lengths))


@pytest.mark.parametrize("count", [1, 2])
def test_one_or_two_recordings_are_cut_into_blocks_with_gaps(count: int) -> None:
    """Blocks of one recording keep `gap` rows between them, and nothing else is lost."""
    gap = 20
    folds = folds_of(numbered([[700]] * count), gap, 2 * gap)
    for recording in range(count):
        blocks = [piece[:, 0] for piece in folds.pieces if int(piece[0, 0]) // 10_000 == recording]
        blocks.sort(key=lambda block: block[0])
        assert len(blocks) == BLOCKS
        assert [after[0] - before[-1] - 1 for before, after in pairwise(blocks)] == [gap] * (BLOCKS - 1)
        assert blocks[0][0] == 10_000 * recording
        assert blocks[-1][-1] == 10_000 * recording + 699


def test_a_recording_that_has_most_of_the_rows_is_cut_into_blocks() -> None:
    """Left out as a whole, it would be judged by models of next to nothing, and decide alone."""
    folds = folds_of(numbered([[120], [130], [6000]]), 20, 40)
    assert max(map(len, folds.pieces)) < 1100
    assert min(sum(map(len, folds.held_out(k))) for k in range(folds.number)) > 500


def test_short_recordings_join_the_folds_of_long_ones() -> None:
    """A recording that is too short for a forecast makes no fold of its own, and is still used."""
    folds = folds_of(numbered([[30], [200], [200], [30], [200]]), 50, 100)
    assert folds.number == 3
    assert [len(piece) for piece in folds.pieces] == [200, 200, 200, 30, 30]


def test_one_block_is_refused() -> None:
    """What cannot be left out in two parts is one line."""
    with pytest.raises(TraceError, match="1 parts of 60 rows"):
        folds_of(numbered([[70]]), 30, 60)
