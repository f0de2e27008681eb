"""LinkHealth: every counter of a link in one place, so that a loss has one name and shows."""

from __future__ import annotations

from typing import Any

import msgspec

from firmware_bridge.messages import Heartbeat
from firmware_bridge.wire import WireCounters

_TROUBLES = ("losses", "reboots", "gaps", "dropped", "replaced", "unsent", "clock_outliers", "clock_resets")
_BOARD = (
    *("tx_drop", "missed_samples", "predictions_ignored", "rx_overrun", "rx_crc", "rx_cobs", "rx_oversize", "rx_runt"),
    *("rx_schema", "rx_unknown", "rx_malformed", "rx_lost", "rx_duplicate", "rx_reordered"),
)


class LinkHealth(msgspec.Struct, frozen=True, kw_only=True):
    """Counts since the link was made, and where it stands.

    ============== =========================================================================================
    opened         how often the port was opened
    losses         how often a board that had answered was lost: cut, silent, restarted
    reboots        how often a board came back with another boot id
    samples        received
    gaps           ticks of the board for which no sample came, wherever it was lost
    dropped        samples that came but gave way to newer ones, since nobody took them
    backlog        most samples ever waiting
    replaced       predictions that gave way to a newer one before the line took them
    unsent         control frames that found no room
    predictions    sent, or at least handed to the line
    wire           what became of every piece between two delimiters (`WireCounters`)
    device         the board's own counters as of its last heartbeat, None before the first
    clock_*        round trips, those refused, new beginnings; sigma in seconds and drift in ppm, None if unknown
    reader_s       processor time of the reading thread
    ============== =========================================================================================
    """

    state: str
    opened: int
    losses: int
    reboots: int
    samples: int
    gaps: int
    dropped: int
    backlog: int
    replaced: int
    unsent: int
    predictions: int
    wire: WireCounters
    device: Heartbeat | None
    clock_converged: bool
    clock_sigma_s: float | None
    clock_drift_ppm: float | None
    clock_trips: int
    clock_outliers: int
    clock_resets: int
    reader_s: float

    @property
    def corrupt(self) -> int:
        """Pieces of the stream that were no frame: changed, cut or grown together."""
        return self.wire.crc + self.wire.cobs + self.wire.oversize + self.wire.runt

    @property
    def clean(self) -> bool:
        """Whether nothing was lost, changed, late or restarted since the link was made, on either side."""
        device = self.device is None or not any(getattr(self.device, name) for name in _BOARD)
        return device and self.wire.clean and not any(getattr(self, name) for name in _TROUBLES)

    def plain(self) -> dict[str, Any]:
        """As JSON takes it, with `corrupt` and `clean`."""
        return {**msgspec.to_builtins(self), "corrupt": self.corrupt, "clean": self.clean}
