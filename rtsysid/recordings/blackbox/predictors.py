"""Add to the numbers of frames what the firmware predicted, and so restore the values that it logged."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rtsysid.recordings.blackbox.encodings import Whole
from rtsysid.recordings.blackbox.header import Header

(ZERO, PREVIOUS, LINE, AVERAGE, MIN_THROTTLE, MOTOR, STEP, HOME, CENTRE, BATTERY, TIME, MIN_MOTOR) = range(12)


def fixed_part(header: Header, predictor: int) -> int:
    """Return what a predictor adds to every value of a field, 0 for one that looks at other values.

    Raises ValueError where it is not known.
    """
    if not 0 <= predictor <= MIN_MOTOR:
        raise ValueError(f"its header names the unknown predictor {predictor}")
    if predictor == MIN_THROTTLE:
        return header.integer("minthrottle", 1150)
    if predictor == BATTERY:
        return header.integer("vbatref", 4095)
    if predictor == MIN_MOTOR:
        return header.integer("motorOutput", header.integer("minthrottle", 1150))
    return 1500 if predictor == CENTRE else 0


def wrapped(values: Whole, signed: Whole) -> Whole:
    """Reduce values [n, k] to 32 bits, as the firmware holds them; `signed` [k] is 1 for those that can be negative."""
    half = signed << 31
    return np.asarray((values + half) % (1 << 32) - half)


def follow(values: Whole, first: Whole, predictors: Sequence[int], steps: Sequence[int], signed: Whole) -> None:
    """Add to the values [n, k] of P frames what the frames before them predict, in place; `signed`: see `wrapped`.

    A chain is an I frame, whose row is in `first` [c], and the P frames up to the next one; row 0 is an I frame. All
    chains advance at once, by a frame at a time.
    """
    columns = {each: np.flatnonzero(np.asarray(predictors) == each) for each in (PREVIOUS, LINE, AVERAGE, STEP)}
    ahead = np.asarray(steps)
    length = np.diff(first, append=len(values))
    order = np.argsort(-length, kind="stable")
    first, length = first[order], length[order]
    for k in range(1, int(length.max(initial=0))):
        rows = first[: np.searchsorted(-length, -k)] + k  # of the chains that are longer than k
        last, before = values[rows - 1], values[rows - min(k, 2)]
        now = values[rows]
        now[:, columns[PREVIOUS]] += last[:, columns[PREVIOUS]]
        now[:, columns[LINE]] += (2 * last - before)[:, columns[LINE]]
        total = (last + before)[:, columns[AVERAGE]]
        now[:, columns[AVERAGE]] += (total + (total < 0)) >> 1  # a half is rounded to zero
        counter = last[:, columns[STEP]]
        now[:, columns[STEP]] += counter + ahead[counter % len(ahead)]
        values[rows] = wrapped(now, signed)
