"""Faults of sensors, put into recordings.

Sizes are in standard deviations of the channel over the training recordings: of a bias, of a drift per second; of a
scale it is the factor less one. A frozen sensor repeats its last value, one that drops out reads zero, and swapped ones
are the channel and its neighbour. ``none`` is none: what is alarmed anyway.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from rtsysid.spec import Floats


class SensorFault(NamedTuple):
    """``size`` is 0 where the kind has none."""

    kind: str
    size: float = 0.0

    def __str__(self) -> str:
        return f"{self.kind} {self.size:g}" if self.size else self.kind


FAULTS = (
    SensorFault("none"),
    *(SensorFault("bias", size) for size in (0.01, 0.1, 1.0)),
    *(SensorFault("drift", size) for size in (0.01, 0.1, 1.0)),
    *(SensorFault("scale", size) for size in (0.02, 0.1, 0.5)),
    SensorFault("freeze"),
    SensorFault("dropout"),
    SensorFault("swap"),
)


def broken(
    values: Floats, fault: SensorFault, column: int, neighbour: int, start: int, unit: float, rate_hz: float
) -> Floats:
    """A copy of `values` [n, C] whose `column` has the fault from row `start` on; `unit`: its standard deviation."""
    copy = values.copy()
    after = copy[start:, column]
    seconds = np.arange(len(after)) / rate_hz
    match fault.kind:
        case "bias":
            after += fault.size * unit
        case "drift":
            after += (fault.size * unit * seconds).astype(np.float32)
        case "scale":
            after *= 1 + fault.size
        case "freeze":
            after[:] = values[start - 1, column]
        case "dropout":
            after[:] = 0.0
        case "swap":
            copy[start:, [column, neighbour]] = values[start:, [neighbour, column]]
    return copy
