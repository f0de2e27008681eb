"""Find the frames of a Blackbox log.

Where a frame ends does not depend on the frames before it. So the end of every frame that may begin at a byte is
computed at once, for all bytes that are the letter of a kind of frame; then the frames are followed one by one.
A frame is whole where the letter of another frame comes after it, or the log ends.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from rtsysid.recordings.blackbox.encodings import FRAME_BYTES, Bytes, Steps, Whole

_LETTERS = np.zeros(256, bool)
_LETTERS[list(b"IPSGHE")] = True
_EVENT = ord("E")
_WINDOW = 1 << 19  # bytes whose frames are computed at once
LOG_END = b"E\xffEnd of log\0"
_NUMBERS = {0: 1, 14: 2, 15: 1, 30: 2, 40: 1}  # events of so many variable numbers, by their type
_ADJUSTMENT = 13  # an event of a byte and, by its top bit, a variable number or a float


class Frames(NamedTuple):
    """Hold the places of frames by kind, sorted. ``breaks``: where bytes are damaged; ``lost``: how many."""

    at: Mapping[str, Whole]
    breaks: Whole
    lost: int


def find_frames(data: Bytes, start: int, stop: int, kinds: Mapping[str, Steps]) -> Frames:
    """Find the frames from `start` to before `stop`. The data must go on for the longest frame."""
    starts = array("q")
    breaks: list[int] = []
    at, lost = start, 0
    while at < stop:
        limit = min(at + _WINDOW, stop)
        ends = _ends(data, at, limit, stop, kinds)
        places = np.fromiter(ends, np.int64, len(ends))
        while at < limit:
            end = ends.get(at) or _event_end(data, at, stop)
            if end:
                starts.append(at)
                at = end
                continue
            after = _next_frame(ends, places, at, limit)
            if not breaks or (starts and breaks[-1] < starts[-1]):
                breaks.append(at)
            lost += after - at
            at = after
    every = np.frombuffer(starts, np.int64) if starts else np.empty(0, np.int64)
    letters = data[every]
    return Frames({kind: every[letters == ord(kind)] for kind in kinds}, np.array(breaks, np.int64), lost)


def _ends(data: Bytes, start: int, limit: int, stop: int, kinds: Mapping[str, Steps]) -> dict[int, int]:
    """Return the end of each whole frame by its place, in order of the places."""
    every: list[Whole] = [np.empty((2, 0), np.int64)]
    for kind, steps in kinds.items():
        at = np.flatnonzero(data[start:limit] == ord(kind)) + start
        end = steps.ends(data, at + 1)
        whole = (end - at <= FRAME_BYTES) & ((end == stop) | (_LETTERS[data[end]] & (end < stop)))
        every.append(np.stack((at[whole], end[whole])))
    found = np.concatenate(every, axis=1)
    found = found[:, np.argsort(found[0])]
    return dict(zip(*found.tolist(), strict=True))


def _next_frame(ends: Mapping[int, int], places: Whole, at: int, limit: int) -> int:
    """Return the next place of a frame that another frame follows: a single one may be chance."""
    for place in places[np.searchsorted(places, at, "right") :].tolist():
        if ends[place] in ends or ends[place] >= limit:
            return int(place)
    return limit


def _event_end(data: Bytes, at: int, stop: int) -> int:
    """Return the end of an event, 0 where there is none or it is of an unknown type."""
    if data[at] != _EVENT or at + 1 >= stop:
        return 0
    kind, end = int(data[at + 1]), at + 2
    if bytes(data[at : at + len(LOG_END)]) == LOG_END:
        return min(at + len(LOG_END), stop)
    if kind == _ADJUSTMENT:
        end = _variable_end(data, end + 1) if data[end] < 128 else end + 5
    elif kind in _NUMBERS:
        for _ in range(_NUMBERS[kind]):
            end = _variable_end(data, end)
    else:
        return 0
    return end if end == stop or (end < stop and _LETTERS[data[end]]) else 0


def _variable_end(data: Bytes, at: int) -> int:
    return next((at + k + 1 for k in range(5) if data[at + k] < 128), at + 5)
