"""LinkHealth: every counter of a serial link. Each kind of loss has one name."""

from __future__ import annotations

from firmware_bridge.messages import Heartbeat
from firmware_bridge.wire import WireCounters
from rtsysid.source import SourceHealth

_TROUBLES = (
    *("losses", "reboots", "gaps", "unknown_ends", "refused", "unasked", "dropped", "replaced", "unsent"),
    *("clock_outliers", "clock_resets", "clock_jumps"),
)
_BOARD = (
    *("tx_drop", "missed_samples", "predictions_ignored", "rx_overrun", "rx_crc", "rx_cobs", "rx_oversize", "rx_runt"),
    *("rx_schema", "rx_unknown", "rx_malformed", "rx_lost", "rx_duplicate", "rx_reordered"),
)


class LinkHealth(SourceHealth, frozen=True, kw_only=True):
    """Counts since the link was made: those of every source, and those of a serial line.

    ============== =========================================================================================
    gaps           ticks of the board for which no sample came, wherever it was lost
    corrupt        pieces of the stream that were no frame: changed, cut, or joined
    losses         how often a board that had answered was lost: cut, silent, restarted
    paused         ticks of the gaps at which the board did not stream: between two streams of one boot
    unasked        messages that were not asked for, or whose answer is not possible
    opened         how often the port was opened
    backlog        most samples ever waiting
    replaced       predictions that a newer one replaced before the line took them
    unsent         control frames that found no room
    predictions    sent, or at least handed to the line
    wire           counts of what became of each piece between two delimiters (`WireCounters`)
    device         the board's own counters as of its last heartbeat, None before the first
    clock_*        round trips, those refused, new starts, jumps of the board's clock within one boot; sigma in seconds
                   and drift in ppm, None if unknown
    reader_s       processor time of the reading thread
    ============== =========================================================================================
    """

    paused: int
    unasked: int
    opened: int
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
    clock_jumps: int
    reader_s: float

    @property
    def clean(self) -> bool:
        """Whether nothing was lost, changed, late or restarted since the link was made, on either side."""
        device = self.device is None or not any(getattr(self.device, name) for name in _BOARD)
        return device and self.wire.clean and not any(getattr(self, name) for name in _TROUBLES)
