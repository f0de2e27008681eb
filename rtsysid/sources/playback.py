"""Playback: recorded bytes become the same samples again, by the format and the map that they were read with."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from rtsysid.errors import RtsysidError, TraceError
from rtsysid.sources.channel_map import ChannelMap
from rtsysid.sources.format import StreamFormat
from rtsysid.sources.intake import MessageIntake
from rtsysid.sources.kinds import stream_format
from rtsysid.spec import Arrival


class Stream(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a recording says about its source: see `about_stream`. ``ahead_s``: None is any."""

    format: dict[str, Any]
    map: ChannelMap
    ahead_s: float | None
    divider: int


def about_stream(format_: StreamFormat, intake: MessageIntake) -> dict[str, Any]:
    """Return all that makes the same samples of the same bytes, as JSON takes it."""
    ahead_s = None if math.isinf(intake.ahead_s) else intake.ahead_s
    found: dict[str, Any] = msgspec.to_builtins(Stream(format_.about(), intake.mapping, ahead_s, intake.divider))
    return found


def is_stream(opening: bytes) -> bool:
    """Tell whether the first bytes of a recording are those of a stream, and not of the serial link."""
    return opening.startswith(b"{")


def stream_arrivals(taps: Iterable[tuple[str, int, bytes]], name: str) -> Iterator[Arrival]:
    """Yield the samples in recorded bytes: direction, host time in ns, and data. Bytes that were sent are ignored.

    `name`: of the recording. Raises TraceError where it does not say how to read its bytes.
    """
    format_: StreamFormat | None = None
    intake: MessageIntake | None = None
    for direction, host_ns, data in taps:
        if direction == "open":
            if format_ is None:
                format_, intake = _reader(data, name)
            format_.reset()
        elif direction == "rx" and format_ is not None and intake is not None:
            for message in format_.decode(data, host_ns * 1e-9):
                yield from intake.take(message, host_ns * 1e-9)


def _reader(opening: bytes, name: str) -> tuple[StreamFormat, MessageIntake]:
    try:
        stream = msgspec.convert(json.loads(opening), Stream)
        intake = MessageIntake(stream.map, math.inf if stream.ahead_s is None else stream.ahead_s, stream.divider)
        return stream_format(stream.format), intake
    except (ValueError, RecursionError, msgspec.ValidationError, RtsysidError) as error:
        raise TraceError(
            f"recording {name}", f"its source: {error}", "replay it with the release that wrote it"
        ) from None
