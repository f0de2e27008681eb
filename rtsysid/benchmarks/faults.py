"""Inject sensor faults into recordings.

The size of a bias, and of a drift per second, is in standard deviations of the channel over the training recordings.
The size of a scale fault is its factor minus one. A frozen sensor repeats its last value. A dropout reads zero. A swap
exchanges the channel and its neighbour. ``none`` injects no fault and so measures the false alarms.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from rtsysid.spec import Floats


class SensorFault(NamedTuple):
    """Name a fault by its kind and size. The size is 0 for kinds without one."""

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
    """Return a copy of `values` [n, C] with the fault in `column` from row `start`.

    `unit` is the standard deviation of the column. `neighbour` is the column that a swap exchanges with it.
    """
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
