"""TappedDelayLine: keep the last L samples as one contiguous array in time order, at O(channels) per sample."""

from __future__ import annotations

import numpy as np

from rtsysid.errors import SpecError
from rtsysid.spec import Floats


class TappedDelayLine:
    """A mirrored ring buffer of shape [2 * taps, width].

    Every sample is written twice, `taps` rows apart. So the last `taps` samples are contiguous at every write position,
    and `window` is a view: nothing is shifted or copied, and a backend reads it in place. Raises SpecError for taps or
    width below 1.
    """

    __slots__ = ("_mirror", "_next", "_twins", "count", "taps", "width")

    def __init__(self, taps: int, width: int) -> None:
        if taps < 1 or width < 1:
            raise SpecError("delay line", f"{taps} taps of {width} values", "both must be at least 1")
        self.taps, self.width = taps, width
        self._mirror: Floats = np.zeros((2 * taps, width), np.float32)
        twins = self._mirror.reshape(2, taps, width)
        self._twins = [twins[:, row] for row in range(taps)]  # views made once: one assignment writes both copies
        self._next = 0
        self.count = 0

    @property
    def full(self) -> bool:
        """Tell whether `taps` samples have come since the start or the last reset."""
        return self.count >= self.taps

    @property
    def window(self) -> Floats:
        """Return the last `taps` samples, oldest first, [taps, width]; a view that the next push changes.

        Before the line is full, the missing rows are zero.
        """
        return self._mirror[self._next : self._next + self.taps]

    def push(self, values: Floats) -> None:
        """Append one sample [width] in engineering units; drop the oldest."""
        self._twins[self._next][...] = values
        self._next = self._next + 1 if self._next + 1 < self.taps else 0
        self.count += 1

    def reset(self) -> None:
        """Forget every sample."""
        self._mirror.fill(0.0)
        self._next = self.count = 0
