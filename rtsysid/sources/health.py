"""Counts of a source of messages."""

from __future__ import annotations

from typing import Any

import msgspec

from rtsysid.source import SourceHealth


class StreamHealth(SourceHealth, frozen=True, kw_only=True):
    """Counts since the source was made: those of every source, and those of messages.

    ============== =========================================================================================
    received       messages that could be read, of all topics
    duplicates     messages that came twice; the second one is not used
    late           samples that came after a newer one
    lost           messages that never came, by the numbers of the sender: MAVLink and ROS 2 have them
    jumps          how often the clock of the device jumped; the state of the model is then reset
    unused         messages that hold no channel of a sample, where each message is one
    overflowed     datagrams that the system dropped, since nobody fetched them in time
    predictions    answers that were sent
    unsent         answers that a newer one replaced, or that nobody could be sent
    backlog        most samples ever waiting
    reader_s       processor time of the reading thread
    topics         of each topic: messages, and of its values in the rows: late, held (an older value is used), missing
    ============== =========================================================================================
    """

    received: int = 0
    duplicates: int = 0
    late: int = 0
    lost: int = 0
    jumps: int = 0
    unused: int = 0
    overflowed: int = 0
    predictions: int = 0
    unsent: int = 0
    backlog: int = 0
    reader_s: float = 0.0
    topics: dict[str, dict[str, int]] = msgspec.field(default_factory=dict)

    @property
    def clean(self) -> bool:
        """Whether nothing was lost, repeated, late or restarted since the source was made."""
        return not self.own_losses() and not _troubles(self)

    def own_losses(self) -> dict[str, int]:
        """Return the counts of messages that are not 0, of what was lost, repeated or late."""
        counts = {name: getattr(self, name) for name in _OWN_LOSSES}
        return {name: count for name, count in counts.items() if count}

    def plain(self) -> dict[str, Any]:
        """Return every count as JSON takes it, and `clean`."""
        return {**msgspec.to_builtins(self), "clean": self.clean}


_OWN_LOSSES = ("duplicates", "late", "lost", "jumps", "overflowed")


def _troubles(counts: SourceHealth) -> int:
    names = ("gaps", "dropped", "corrupt", "refused", "unknown_ends", "losses", "reboots")
    return sum(getattr(counts, name) for name in names)
