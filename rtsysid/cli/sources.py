"""Open the source that an address names, and the options of the live commands that concern sources."""

from __future__ import annotations

import difflib
import stat
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from rtsysid.cli.options import PATH
from rtsysid.errors import LinkError
from rtsysid.sources.kinds import KINDS
from rtsysid.storage.kinds import kind_of

if TYPE_CHECKING:
    from rtsysid.live.loop import Answer, LiveLoop, Sink
    from rtsysid.model.bundle import Bundle
    from rtsysid.model.predictor import Predictor
    from rtsysid.source import Source
    from rtsysid.sources.channel_map import ChannelMap

SERIAL = ("firmware_bridge.link", "Link")
SOURCES: dict[str, tuple[str, str]] = {  # URL scheme -> module and class of a source
    "serial": SERIAL, "socket": SERIAL, "hwgrep": SERIAL, **KINDS,
}  # fmt: skip

map_option = click.option(
    "--map", "map_", type=PATH, metavar="FILE",
    help="Which fields of which topics are the channels: a table [sources], or a configuration with [data.sources].",
)  # fmt: skip


def open_source(port: str, **options: Any) -> Source:
    """Return the source that a port names: by its URL scheme (see `SOURCES`), else the serial link.

    `options`: ``spec``, ``mapping``, ``divider``, ``baudrate`` and ``tap``; see `rtsysid.source`. Raises LinkError for
    an address of an unknown kind, a plain file and a folder.
    """
    if _scheme(port) not in SOURCES:
        _require_device(port)
    module, name = SOURCES.get(_scheme(port), SERIAL)
    source: Source = getattr(import_module(module), name)(port.removeprefix("serial:"), **options)
    return source


def _require_device(port: str) -> None:
    """Raise LinkError where a port without a known scheme is an address with another one, a plain file or a folder."""
    scheme, kind = _scheme(port), kind_of(Path(port))
    if scheme.isalnum() and not kind:
        close = difflib.get_close_matches(scheme, SOURCES, 1)
        known = f"give a path, or one of {', '.join(f'{each}:' for each in SOURCES)}"
        remedy = f"did you mean {close[0]}:?" if close else known
        raise LinkError(f"source {port}", f"unknown kind of address {scheme}:", remedy)
    if kind and (kind != "file" or Path(port).is_file()):
        remedy = (
            f"to play a recording as it happened, give log:{port}" if kind == "file" else "give the path of a device"
        )
        raise LinkError(f"port {port}", f"a {kind}, not a port", remedy)


def _scheme(port: str) -> str:
    """Return the scheme of an address, "" without one."""
    scheme, colon, _ = port.partition(":")
    return scheme.lower() if colon else ""


def is_port(text: str) -> bool:
    """Return whether `text` names a source and not a file: an address with a scheme, or a character device."""
    if "://" in text or _scheme(text) in SOURCES:
        return True
    try:
        return stat.S_ISCHR(Path(text).stat().st_mode)
    except (OSError, ValueError):
        return False


def describe_port(port: str) -> dict[str, Any]:
    """Describe the device at a port as plain values. Raises LinkError where none answers."""
    with open_source(port) as source:
        return {"port": port, **source.describe()}


def map_of_model(bundle: Bundle, map_: Path | None) -> ChannelMap | None:
    """Return how messages become the samples of a bundle; None where they hold its channels by name.

    Raises ConfigError for a map that does not fit, and where the bundle's own does not.
    """
    from rtsysid.sources.channel_map import ChannelMap, MapFile

    aligned = bool(bundle.data().sources)
    if map_ is not None:
        return MapFile.read(map_).for_model(bundle.spec, aligned)
    return ChannelMap.of_data(bundle.data(), bundle.spec.channels, True) if aligned else None


def map_alone(map_: Path | None) -> ChannelMap | None:
    """Return the map of a recording without a model; None without a file. Raises ConfigError as the file's reader."""
    from rtsysid.sources.channel_map import MapFile

    return None if map_ is None else MapFile.read(map_).alone()


def publishing(loop: LiveLoop) -> Sink | None:
    """Return the sink of a loop whose source publishes forecasts and health; None for any other source."""
    from rtsysid.live.sinks import Publishing, PublishingSink
    from rtsysid.view.forecasts import PeriodicForecast

    if not isinstance(loop.source, Publishing):
        return None
    forecasts = PeriodicForecast(cast("Predictor", loop.session.predictor))

    def due(answer: Answer) -> Any:
        forecasts.follow(cast("Predictor", loop.session.predictor))
        return forecasts.due(answer)

    return PublishingSink(loop.source, 1 / loop.session.spec.rate_hz, due)
