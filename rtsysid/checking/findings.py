"""Define what a check finds: each fault in its own word, with its channel, its time, the evidence and the remedy."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, TypeAlias, get_args

import msgspec

Fault: TypeAlias = Literal[
    # of the recording: its times
    "time backward", "clock step", "dropout", "burst of stamps", "duplicated rows", "wrong time unit", "other rate",
    "uneven rate", "topic silent", "too short",
    # of the recording: its values
    "constant", "frozen", "saturated", "quantised", "spikes", "missing values", "roll-over", "wrapped angle",
    "float32 resolution",
    # of conventions
    "unit norm", "sign flip", "quaternion order", "inverse quaternion", "exchanged axes", "mirrored axis", "other axes",
    "degrees", "gravity",
    # of the experiment
    "input delay", "held inputs", "input never moves", "little excitation", "unmoved direction",
    "correlated inputs", "closed loop", "little data", "unseen range",
]  # fmt: skip
FAULTS: tuple[str, ...] = get_args(Fault)
_LISTED = 4  # recordings in the evidence of a finding


class Finding(msgspec.Struct, frozen=True):
    """State one fault.

    ``channels``: those that have it, none where the rows as a whole have it. ``recording``: its name, empty where it
    concerns all of them; ``time_s``: when it begins, in s of that recording's time. ``remedy`` names the key of the
    configuration where there is one. ``grave``: a model of such recordings is wrong, or none can be trained.
    """

    fault: Fault
    channels: tuple[str, ...]
    evidence: str
    remedy: str
    recording: str = ""
    time_s: float | None = None
    grave: bool = False

    @property
    def where(self) -> str:
        """Say in words which channels, of which recording, at what time."""
        time = "" if self.time_s is None else f"{time_text(self.time_s)} s"
        return ", ".join(filter(None, (_some_names(self.channels, 6), self.recording, time)))

    @property
    def title(self) -> str:
        """Name the fault and what has it: ``too short``, ``constant (y, run1)``."""
        return f"{self.fault} ({self.where})" if self.where else self.fault

    @property
    def line(self) -> str:
        """Describe it in one line."""
        return f"{self.title}: {self.evidence}; {self.remedy}"


def time_text(t: float) -> str:
    """Write a time in s: six digits, or milliseconds of a time since 1970."""
    return f"{t:.6g}" if abs(t) < 1e5 else f"{t:.3f}"


def source_key(channel: str) -> str:
    """Name the table of a channel's source in a configuration."""
    bare = channel.replace("_", "").replace("-", "").isalnum() and channel.isascii()
    return f"data.sources.{channel}" if bare else f'data.sources."{channel}"'


def joined_findings(findings: Iterable[Finding]) -> list[Finding]:
    """Join what is one fault: of channels at the same time, and of a channel in several recordings. Grave ones first.

    A joined finding keeps the time and the evidence of the first.
    """
    joined = _joined_recordings(_joined_channels(findings))
    return sorted(joined, key=lambda each: (not each.grave, FAULTS.index(each.fault)))


def _joined_channels(findings: Iterable[Finding]) -> list[Finding]:
    found: dict[tuple[object, ...], list[Finding]] = {}
    for each in findings:
        own = () if each.channels else (each.evidence,)
        found.setdefault((each.fault, each.recording, each.time_s, each.grave, each.remedy, *own), []).append(each)
    return [
        msgspec.structs.replace(group[0], channels=tuple(dict.fromkeys(c for each in group for c in each.channels)))
        for group in found.values()
    ]


def _joined_recordings(findings: Iterable[Finding]) -> list[Finding]:
    found: dict[tuple[object, ...], list[Finding]] = {}
    for each in findings:
        found.setdefault((each.fault, each.channels, each.grave), []).append(each)
    return [_of_several(group) for group in found.values()]


def _of_several(group: Sequence[Finding]) -> Finding:
    names = list(dict.fromkeys(each.recording for each in group[1:] if each.recording != group[0].recording))
    if not names:
        return group[0]
    return msgspec.structs.replace(group[0], evidence=f"{group[0].evidence}; also in {_some_names(names, _LISTED)}")


def _some_names(names: Sequence[str], most: int) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
