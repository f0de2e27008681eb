"""What tests of the live path share: a recording to play, and waiting for something real with a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from firmware_bridge.link import Link
from firmware_bridge.schema import Schema, WireChannel
from rtsysid.spec import Floats

PATIENCE_S = 20.0  # for what takes milliseconds on an idle machine


def board_schema(rate_hz: float = 500.0) -> Schema:
    """One input and two outputs as f32, the channels of `robots.plant`."""
    return Schema((WireChannel("u", "V", "input"), WireChannel("y", "m"), WireChannel("v", "m/s")), rate_hz)


def numbered(rows: int) -> Floats:
    """Rows [n, 3] whose first value is their number."""
    values = np.zeros((rows, 3), np.float32)
    values[:, 0] = np.arange(rows)
    return values


def until(condition: Callable[[], bool], what: str, patience_s: float = PATIENCE_S) -> None:
    """Wait for a real process to get there; fail by name where it does not."""
    deadline_s = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline_s, f"waited {patience_s:g} s for: {what}"
        time.sleep(0.002)


def streaming(link: Link) -> None:
    """Wait until samples flow."""
    seen = link.health().samples
    until(lambda: link.health().state == "streaming" and link.health().samples > seen, "samples")


def take(link: Link, count: int) -> list[float]:
    """The first values of the next `count` samples or more, each answered: a busy host gets several at once."""
    found: list[float] = []
    deadline_s = time.monotonic() + PATIENCE_S
    for batch in link.batches():
        found += [float(arrival.sample.values[0]) for arrival in batch]
        assert time.monotonic() < deadline_s, f"waited for {count} samples, got {len(found)}"
        if len(found) >= count:
            break
    return found
