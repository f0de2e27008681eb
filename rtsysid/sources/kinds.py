"""The classes of sources by scheme, and of formats by name. Each is imported where it is used."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from rtsysid.sources.format import StreamFormat

KINDS: Mapping[str, tuple[str, str]] = {  # scheme: module and class of a source
    "udp": ("rtsysid.sources.udp", "UdpSource"),
    "ws": ("rtsysid.sources.websocket", "WebSocketSource"),
    "wss": ("rtsysid.sources.websocket", "WebSocketSource"),
    "mavlink": ("rtsysid.sources.mavlink", "MavlinkSource"),
    "can": ("rtsysid.sources.can", "CanSource"),
    "ros2": ("rtsysid.sources.ros2.source", "Ros2Source"),
    "mcap": ("rtsysid.sources.logs", "LogSource"),
    "log": ("rtsysid.sources.logs", "LogSource"),
    "python": ("rtsysid.sources.function", "open_function"),
}
_FORMATS: Mapping[str, tuple[str, str]] = {  # name: module and class of a format
    "json": ("rtsysid.sources.json_lines", "JsonLines"),
    "mavlink": ("rtsysid.sources.mavlink", "MavlinkFormat"),
    "can": ("rtsysid.sources.can", "CanFormat"),
    "ros2": ("rtsysid.sources.ros2.decoding", "Ros2Format"),
}


def stream_format(about: Mapping[str, Any]) -> StreamFormat:
    """Make a format by what `StreamFormat.about` said. Raises ValueError where there is none of the name."""
    settings = dict(about)
    name = settings.pop("format", None)
    if name not in _FORMATS:
        raise ValueError(f"format {name!r} is not known")
    module, kind = _FORMATS[name]
    try:
        made: StreamFormat = getattr(import_module(module), kind)(**settings)
    except TypeError as error:
        raise ValueError(f"format {name!r}: {error}") from None
    return made
