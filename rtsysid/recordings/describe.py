"""Describe recordings as plain values: rows, duration and gaps of an episode, statistics of a channel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rtsysid.spec import Channel, Doubles, Floats


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
        "gaps": int((steps > 1.5 * typical).sum()) if typical else 0,
        "longest_interval_s": float(forward.max()) if len(forward) else None,
        "duplicates": int((steps == 0).sum()),
        "backward": int((steps < 0).sum()),
    }


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
