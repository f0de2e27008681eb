"""Source: what streams samples to the live loop and takes predictions. A new source is one file with one class.

The class implements `Source` and returns `Arrival` and `SourceHealth`. It is made as ``Class(url, **options)``:
``spec`` is the model whose channels and rate it must deliver, ``divider`` N keeps every N-th sample, ``baudrate`` and
``tap`` are for raw lines; a source ignores options that it has no use for. It imports the contract only:
`rtsysid.spec`, `errors`, `statuses`, `device_clock` and this module. `rtsysid.device_clock.DeviceClock` converts its
device's time to host time. One line in `SOURCES` of `rtsysid/cli/sources.py` gives it the URLs of a scheme
(``udp://...``). `firmware_bridge/link.py` is the source for serial lines, and the example.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol, Self

import msgspec

from rtsysid.spec import Arrival, Channel, Floats


class SourceHealth(msgspec.Struct, frozen=True, kw_only=True):
    """Counts since the source was made. Every source fills in all of them; a source may append its own.

    ========= ==========================================================================
    state     what the source is doing, in one word: ``streaming`` while samples come
    samples   received
    gaps      ticks (sample periods) of the device for which no sample came: at the start of a stream, in it, at its end
    dropped   received, but removed from a full queue before the loop took them
    corrupt   pieces of the stream that could not be decoded
    losses    how often a device that had answered was lost
    reboots   how often a device came back after a restart
    ========= ==========================================================================

    Of the gaps, ``lost_at_start`` were before the first sample of a stream and ``lost_at_end`` after its last one.
    ``unknown_ends``: streams, of ``streams``, of which nobody knows how many samples followed the last that came: the
    cable was pulled, the device is gone. ``refused``: samples that came with an impossible time or size, in no other
    count. What a device sent is then ``samples + gaps + refused``, and what followed at unknown ends.
    """

    state: str
    samples: int
    gaps: int
    dropped: int
    corrupt: int
    losses: int
    reboots: int
    lost_at_start: int = 0
    lost_at_end: int = 0
    streams: int = 0
    unknown_ends: int = 0
    refused: int = 0

    @property
    def clean(self) -> bool:
        """Whether no sample was lost or changed and no device was lost or restarted."""
        lost = self.gaps or self.dropped or self.corrupt or self.refused or self.unknown_ends
        return not (lost or self.losses or self.reboots)

    def own_losses(self) -> dict[str, int]:
        """Return the counts that a source has of its own of what was lost, as far as they are not 0."""
        return {}

    def ends(self) -> str:
        """Say how many samples were lost after the last one of a stream, and where that is not known."""
        unknown = f", unknown for {self.unknown_ends} of {self.streams} streams" if self.unknown_ends else ""
        return f"{self.lost_at_end}{unknown}"

    def plain(self) -> dict[str, Any]:
        """Return every count as JSON takes it, and `clean`."""
        return {**msgspec.to_builtins(self), "clean": self.clean}


class Source(Protocol):
    """A device as the live loop sees it. `with` opens it and closes it.

    Entering raises LinkError where nothing can be opened. After that no method waits for the device, except `describe`
    and `channels`; a device that is gone is waited for, and counted in `SourceHealth`. `LiveLoop` calls `batches`,
    `predict`, `close` and `health`; the command line calls the others. A sample of unknown host time is not answered.
    """

    def __enter__(self) -> Self: ...
    def __exit__(self, *_: object) -> None: ...

    def describe(self, timeout_s: float = 5.0) -> dict[str, Any]:
        """Describe the device as plain values, as soon as it has answered.

        Raises LinkError where it does not answer for `timeout_s` seconds, or is not the one that was asked for.
        """

    def channels(self, timeout_s: float = 5.0) -> tuple[Channel, ...]:
        """Return the channels of a sample, in order; waits and raises as `describe` does."""

    def batches(self, timeout_s: float) -> Iterator[Sequence[Arrival]]:
        """Yield all samples that came since the last batch; an empty batch where none came for `timeout_s` seconds.

        Raises LinkError where the device turns out to be the wrong one.
        """

    def predict(self, seq: int, status: str, age_s: float, horizon_s: float, y: Floats) -> None:
        """Send the prediction `y` [ny] made from the sample `seq`; of several that wait, only the latest counts.

        `status`: a `rtsysid.statuses.Status`. `age_s`: age of the sample. `horizon_s`: from the sample to the predicted
        instant.
        """

    def close(self) -> None:
        """Stop the stream; `batches` ends with what had come by then. May be called again."""

    def health(self) -> SourceHealth:
        """Return every count so far."""

    def events(self) -> list[str]:
        """Return what happened since the last call, one line each: connected, lost, restarted, device messages."""

    @property
    def thread_ids(self) -> tuple[int, ...]:
        """Native ids of the threads that must run in time, for the scheduler."""
