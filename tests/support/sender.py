"""One end of a source under test: the base of all senders, free ports, and maps of topics."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from support.streams import RATE_HZ, SPEC, Row

from rtsysid.alignment.source import ChannelSource
from rtsysid.sources.channel_map import ChannelMap

NAMES = ("u", "x", "v")


def free_port(kind: socket.SocketKind = socket.SOCK_DGRAM) -> int:
    """A port of this machine that nobody holds."""
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        found: int = probe.getsockname()[1]
        return found


def as_json(sent: Row) -> dict[str, float]:
    """A row as an object of JSON lines."""
    return {"t": sent.t, **dict(zip(NAMES, sent.values, strict=True))}


def mapped(topic: str, fields: Sequence[str], stamp: str = "") -> ChannelMap:
    """The map of one topic."""
    sources = {
        name: ChannelSource(topic=topic, field=field, stamp=stamp) for name, field in zip(NAMES, fields, strict=True)
    }
    return ChannelMap(channels=SPEC.channels, rate_hz=RATE_HZ, sources=sources)


class Sender:
    """A sender; `prepare` gets all rows before the source is opened, `begin` the open source."""

    url = ""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.options: dict[str, Any] = {}

    def prepare(self, rows: Sequence[Row]) -> None:
        """Make ready."""

    def begin(self, source: Any) -> None:
        """Connect to the open source."""

    def send(self, sent: Row) -> None:
        """Send a row."""

    def predictions(self) -> int:
        """How many predictions came back so far."""
        return 0

    def close(self) -> None:
        """End it."""
