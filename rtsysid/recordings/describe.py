"""Describe recordings as plain values: rows, duration and gaps of an episode, statistics of a channel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rtsysid.spec import Channel, Doubles, Floats

GAP = 1.5  # median intervals: a longer one is a gap


def describe_episode(name: str, t: Doubles) -> dict[str, Any]:
    """Summarise the times [n] in s of an episode."""
    steps = np.diff(t)
    forward = steps[steps > 0]
    typical = float(np.median(forward)) if len(forward) else None
    return {
        "name": name,
        "rows": len(t),
        "duration_s": float(t[-1] - t[0]),
        "rate_hz": 1 / typical if typical else None,
        "jitter_percent": jitter_percent(steps),
        "gaps": int((steps > GAP * typical).sum()) if typical else 0,
        "longest_interval_s": float(forward.max()) if len(forward) else None,
        "duplicates": int((steps == 0).sum()),
        "backward": int((steps < 0).sum()),
    }


def jitter_percent(steps: Doubles) -> float | None:
    """Return the standard deviation of intervals [n] in percent of their median, to four decimals.

    Gaps and steps back do not count. None where time never goes on.
    """
    forward = steps[(steps > 0) & np.isfinite(steps)]
    typical = float(np.median(forward)) if len(forward) else 0.0
    regular = forward[forward <= GAP * typical]
    return round(float((regular / typical).std() * 100), 4) if len(regular) else None


def describe_channel(channel: Channel, columns: Sequence[Floats]) -> dict[str, Any]:
    """Summarise the values of a channel, one array [n] per episode."""
    column = np.concatenate(columns) if columns else np.empty(0, np.float32)
    finite = column[np.isfinite(column)]
    some = len(finite) > 0
    return {
        "name": channel.name,
        "unit": channel.unit,
        "role": channel.role,
        "min": float(finite.min()) if some else None,
        "max": float(finite.max()) if some else None,
        "mean": float(finite.mean(dtype=np.float64)) if some else None,
        "std": float(finite.std(dtype=np.float64)) if some else None,
        "nan": len(column) - len(finite),
    }


class Ranges:
    """Gather minimum, maximum, mean and standard deviation of columns, block by block, without their NaN."""

    def __init__(self, width: int) -> None:
        """`width`: number of columns."""
        self.count, self.rows = np.zeros(width), 0
        self.low, self.high = np.full(width, np.inf), np.full(width, -np.inf)
        self.mean, self._squares = np.zeros(width), np.zeros(width)

    def add(self, values: Doubles) -> None:
        """Add rows [n, width]."""
        finite = np.isfinite(values)
        count = finite.sum(axis=0)
        self.rows += len(values)
        self.low = np.minimum(self.low, np.where(finite, values, np.inf).min(axis=0, initial=np.inf))
        self.high = np.maximum(self.high, np.where(finite, values, -np.inf).max(axis=0, initial=-np.inf))
        with np.errstate(all="ignore"):  # sums of numbers at the end of float64 are infinite
            mean = np.where(finite, values, 0.0).sum(axis=0) / np.maximum(count, 1)
            squares = (np.where(finite, values - mean, 0.0) ** 2).sum(axis=0)
            # Ref: Chan, Golub, LeVeque (1979), sums of squares of two parts
            total, shift = np.maximum(self.count + count, 1), mean - self.mean
            self._squares += squares + shift**2 * self.count * count / total
            self.mean += shift * count / total
        self.count += count

    def describe(self, column: int) -> dict[str, Any]:
        """Return the statistics of a column, None where it has no finite value."""
        count = int(self.count[column])
        found = (self.low, self.high, self.mean, np.sqrt(self._squares / np.maximum(self.count, 1)))
        names = ("min", "max", "mean", "std")
        plain = {name: float(each[column]) if count else None for name, each in zip(names, found, strict=True)}
        return {**plain, "nan": self.rows - count}
