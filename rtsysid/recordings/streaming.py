"""Stream the samples of one recording, a block in memory at a time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from rtsysid.recordings import formats
from rtsysid.recordings.formats import Selection
from rtsysid.recordings.rollover import Unroller
from rtsysid.spec import Sample


def stream_samples(selection: Selection) -> Iterator[Sample]:
    """Yield the selected columns row by row, with times in s; a counter that rolls over is continued.

    Raises TraceError where the file is damaged or has no row.
    """
    row, newest, unroller = 0, 0.0, Unroller(selection.time.seconds)
    for block in formats.blocks_of(selection):
        t = formats.times(selection, block.exact, row)
        row += len(t)
        number = np.nan_to_num(block.exact[:, -1]) if selection.episodes else np.zeros(len(t))
        for i, j in zip(*runs_between(np.diff(number) != 0), strict=True) if len(t) else ():
            if number[i] != newest:  # an episode has a clock of its own
                newest, unroller = number[i], Unroller(selection.time.seconds)
            yield from map(Sample, unroller.unrolled(t[i:j]).tolist(), block.values[i:j])


def runs_between(breaks: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the first rows [m] and end rows [m] of the runs between breaks; `breaks` [n - 1] lie between n rows."""
    inner = np.flatnonzero(breaks) + 1
    return np.concatenate(([0], inner)), np.concatenate((inner, [len(breaks) + 1]))
