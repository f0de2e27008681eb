"""Decode one Blackbox log: its frames in order, their times, and the values of the fields that are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from rtsysid.recordings.blackbox import predictors
from rtsysid.recordings.blackbox.encodings import Bytes, Steps, Whole
from rtsysid.recordings.blackbox.frames import find_frames
from rtsysid.recordings.blackbox.header import FrameLayout, Header
from rtsysid.recordings.blackbox.predictors import fixed_part, follow, wrapped
from rtsysid.spec import Doubles

_JUMP = 10_000_000  # us between frames; a longer one is damage, unless the frames after it agree
_ROWS = 1 << 16  # frames whose values are computed at once
_MOTOR, _ITERATION = "motor[0]", "loopIteration"


class Flight:
    """Open one log of a file, from byte `start` to before `stop`; `data` goes on behind it, see `Steps.longest`.

    ``t`` [n] s: times of the main frames, counted from the start of the board. ``left_out``: main frames that no value
    can be given for, since they are damaged, or their predecessors are. ``lost``: damaged bytes.
    Raises ValueError where the header is damaged, TraceError where it has too many fields.
    """

    def __init__(self, data: Bytes, header: Header, stop: int) -> None:
        self.header, self._data = header, data
        self._steps = {kind: Steps(layout) for kind, layout in header.layouts.items()}
        for layout in header.layouts.values():
            for each in layout.predictors:
                fixed_part(header, each)
            if predictors.MOTOR in layout.predictors and _MOTOR not in header.layouts["I"].names:
                raise ValueError(f"its header predicts from the field {_MOTOR}, which it does not list")
        frames = find_frames(data, header.end, stop, self._steps)
        self._sides = {kind: at for kind, at in frames.at.items() if kind not in "IP"}
        self.lost, self.breaks = frames.lost, len(frames.breaks)
        at = np.sort(np.concatenate((frames.at["I"], frames.at["P"])))
        self._use(at[_reachable(at, data[at] == ord("I"), frames.breaks, sum(header.logged))])
        ticks = self.main(["time"])[:, 0].astype(np.int64)
        kept = _credible(ticks, self._intra)
        self._use(self._at[kept])
        self.left_out = len(at) - len(self._at)
        self.t: Doubles = _unwrapped(ticks[kept]).astype(np.float64) * 1e-6

    @property
    def gaps(self) -> Doubles:
        """Return the lengths [g] in s of the gaps: where loop iterations are missing that should be logged."""
        if _ITERATION not in self.header.layouts["I"].names or len(self.t) < 2:
            return np.empty(0)
        count, ahead = self.main([_ITERATION])[:, 0].astype(np.int64), np.array(self.header.steps)
        steps = np.diff(self.t)
        found: Doubles = steps[np.diff(count) > ahead[count[:-1] % len(ahead)]] - np.median(steps)
        return found

    def count(self, kind: str) -> int:
        """Return the number of frames "S", "G", or "I" for the main frames, which P frames are, too."""
        return len(self._at if kind == "I" else self._sides.get(kind, ())) if len(self._at) else 0

    def main(self, names: Sequence[str]) -> Doubles:
        """Return fields of the main frames [n, k], as the firmware logged them."""
        out = np.empty((len(self._at), len(names)))
        layout = self.header.layouts["I"]
        fields = [layout.names.index(name) for name in names]
        # The value of the first motor predicts those of the others.
        wanted = list(dict.fromkeys((*fields, *([layout.names.index(_MOTOR)] if _MOTOR in layout.names else ()))))
        for start, stop in self._blocks():
            values = self._values(start, stop, wanted)
            out[start:stop] = values[:, [wanted.index(field) for field in fields]]
        return out

    def side(self, kind: str, names: Sequence[str]) -> tuple[Doubles, Doubles]:
        """Return the times [m] s of the slow frames "S" or the GPS frames "G", and their fields [m, k].

        A frame without a time has that of the main frame before it. Coordinates without a home are NaN.
        """
        if kind not in self._sides or not len(self._at):
            return np.empty(0), np.empty((0, len(names)))
        at, layout = self._sides[kind], self.header.layouts[kind]
        wanted = [layout.names.index(name) for name in names]
        values = self._steps[kind].read(self._data, at + 1, wanted)
        values += np.array([fixed_part(self.header, layout.predictors[field]) for field in wanted], np.int64)
        fields = wrapped(values, _signed_of(layout, wanted)).astype(np.float64)
        last = self.t[np.maximum(np.searchsorted(self._at, at) - 1, 0)]
        for column, field in enumerate(wanted):
            if layout.predictors[field] == predictors.HOME:
                fields[:, column] += self._home(layout, field, at)
        if layout.predictors[0] == predictors.TIME:
            last = last + self._steps[kind].read(self._data, at + 1, [0])[:, 0] * 1e-6
        return last, fields

    def _home(self, layout: FrameLayout, field: int, at: Whole) -> Doubles:
        """Return the home [m] that frames add to a coordinate: the latest before each of them, NaN before the first."""
        homes = self._sides.get("H", np.empty(0, np.int64))
        second = field > 0 and layout.predictors[field - 1] == predictors.HOME
        known = np.append(self._steps["H"].read(self._data, homes + 1, [int(second)]) if len(homes) else [], np.nan)
        found: Doubles = known[np.searchsorted(homes, at) - 1]
        return found

    def _use(self, at: Whole) -> None:
        """Take main frames at these places, of which the first is an I frame."""
        self._at = at
        self._intra: NDArray[np.bool_] = self._data[at] == ord("I")

    def _blocks(self) -> Iterator[tuple[int, int]]:
        """Yield ranges of rows that begin with an I frame."""
        first = np.flatnonzero(self._intra)
        start = 0
        while start < len(self._at):
            last = int(np.searchsorted(first, start + _ROWS))
            stop = int(first[last]) if last < len(first) else len(self._at)
            yield start, stop
            start = stop

    def _values(self, start: int, stop: int, wanted: Sequence[int]) -> Whole:
        at, intra = self._at[start:stop], self._intra[start:stop]
        values = np.empty((len(at), len(wanted)), np.int64)
        signed = _signed_of(self.header.layouts["I"], wanted)
        for kind, rows in (("I", intra), ("P", ~intra)):
            layout = self.header.layouts[kind]
            own = [layout.predictors[field] for field in wanted]
            values[rows] = self._steps[kind].read(self._data, at[rows] + 1, wanted)
            values[rows] += np.array([fixed_part(self.header, each) for each in own], np.int64)
            if kind == "P":
                follow(values, np.flatnonzero(intra), own, self.header.steps, signed)
            if predictors.MOTOR in own:
                motor = values[rows, wanted.index(layout.names.index(_MOTOR))]
                values[rows] += np.where(np.array(own) == predictors.MOTOR, motor[:, np.newaxis], 0)
            values[rows] = wrapped(values[rows], signed)
        return values


def _reachable(at: Whole, intra: NDArray[np.bool_], breaks: Whole, most: int) -> NDArray[np.bool_]:
    """Mark the main frames that follow an I frame without damage in between; so can at most `most` of them."""
    chain = np.cumsum(intra) - 1
    parts = np.searchsorted(breaks, at)
    begun = np.append(parts[intra], -1)  # the last one is for frames before the first I frame
    first = np.append(np.flatnonzero(intra), 0)
    return np.asarray((parts == begun[chain]) & (np.arange(len(at)) - first[chain] < most))


def _credible(ticks: Whole, intra: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Mark the main frames whose time [n] us fits the frames around them; those after a wrong one are wrong, too."""
    if not len(ticks):
        return np.empty(0, bool)
    chain = np.cumsum(intra) - 1
    first = ticks[intra]
    fits, single = _close(np.diff(first)), len(first) == 1
    kept = np.append(fits, single) | np.append(single, fits)
    ahead = _unwrapped(first[kept])
    kept[kept] = ahead >= np.maximum.accumulate(ahead)
    wrong = np.cumsum(np.append(False, ~_close(np.diff(ticks)))[: len(ticks)] & ~intra)
    return np.asarray(kept[chain] & (wrong == wrong[intra][chain]))


def _close(steps: Whole) -> NDArray[np.bool_]:
    ahead = steps % (1 << 32)
    return np.asarray(ahead <= _JUMP)


def _unwrapped(ticks: Whole) -> Whole:
    """Continue a counter of 32 bits where it starts again; it goes back where that is the shorter way."""
    half = 1 << 31
    steps = (np.diff(ticks, prepend=ticks[:1]) + half) % (1 << 32) - half
    return np.asarray(ticks[:1] + np.cumsum(steps) if len(ticks) else ticks)


def _signed_of(layout: FrameLayout, wanted: Sequence[int]) -> Whole:
    return np.array([int(layout.signed[field] != 0) for field in wanted], np.int64)
