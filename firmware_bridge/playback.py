"""Playback: decode recorded bytes by the conversation that decoded them live, so that the samples are the same."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from firmware_bridge.conversation import Conversation
from rtsysid.spec import Arrival


def arrivals(conversation: Conversation, taps: Iterable[tuple[str, int, bytes]]) -> Iterator[Arrival]:
    """Yield the samples in the recorded bytes of a link's tap: direction, host time in ns, and data (`link.Tap`).

    Bytes that the host sent are ignored. Raises LinkError where the live link did.
    """
    for direction, host_ns, data in taps:
        if direction == "open":
            conversation.session = data[0] - 1  # the next session gets the recorded number
            conversation.open(host_ns * 1e-9)
        elif direction == "rx":
            yield from conversation.feed(data, host_ns * 1e-9)
