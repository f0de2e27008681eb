"""Numbered frames, their bytes on a line, and what a decoder counted of them."""

from __future__ import annotations

import msgspec

from firmware_bridge import messages as m
from firmware_bridge.wire import Frame, FrameDecoder, encode_frame

SCHEMA = 0xC0FFEE01


def numbered(count: int, start: int = 0) -> list[Frame]:
    return [Frame(m.Sample.CODE, 3, (start + i) & 0xFFFF, i, bytes([i % 255 + 1]) * 30) for i in range(count)]


def wired(frames: list[Frame]) -> bytes:
    return b"".join(encode_frame(f, SCHEMA) for f in frames)


def counted(decoder: FrameDecoder) -> dict[str, int]:
    """The counters that moved."""
    return {name: n for name, n in msgspec.to_builtins(decoder.counters).items() if n}
