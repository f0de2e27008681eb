"""Playback: recorded bytes through the conversation that took them live, so that the same samples come out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from firmware_bridge.conversation import Conversation
from rtsysid.spec import Arrival


def arrivals(conversation: Conversation, taps: Iterable[tuple[str, int, bytes]]) -> Iterator[Arrival]:
    """Samples from what a link's tap was given: direction, host time in ns, and data (`link.Tap`).

    Nothing is sent, so what the host said then is passed over. Raises LinkError where the link did.
    """
    for direction, host_ns, data in taps:
        if direction == "open":
            conversation.session = data[0] - 1  # the next one is that of the recording
            conversation.open(host_ns * 1e-9)
        elif direction == "rx":
            yield from conversation.feed(data, host_ns * 1e-9)
