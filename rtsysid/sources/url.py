"""Parse what names a source: ``SCHEME:REST?option=value``.

The scheme chooses the class (`rtsysid.sources.kinds`). A text without a known scheme is the path of a serial port.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeVar
from urllib.parse import parse_qsl, urlsplit

import msgspec

from rtsysid.errors import LinkError

LONGEST = 4096  # characters of an address
T = TypeVar("T", bound=msgspec.Struct)


class SourceUrl(NamedTuple):
    """Hold the parts of an address. ``rest``: what follows the scheme, without the options; ``text``: all of it."""

    text: str
    scheme: str
    rest: str
    options: dict[str, str]

    def choose(self, kind: type[T]) -> T:
        """Return the options as `kind`, which names them and their defaults.

        Raises LinkError where an option is unknown, or its value is not one of its type.
        """
        try:
            return msgspec.convert(self.options, kind, strict=False)
        except msgspec.ValidationError as error:
            names = ", ".join(kind.__struct_fields__) or "none"
            raise LinkError(f"source {self.text}", f"option: {error}", f"options of this source: {names}") from None

    def address(self, port: int | None = None) -> tuple[str, int]:
        """Return host and port of ``//HOST:PORT``; an empty host is "". `port`: the default.

        Raises LinkError where there is no port between 0 and 65535.
        """
        try:
            parts = urlsplit(self.rest if self.rest.startswith("//") else f"//{self.rest}")
            found = parts.port if parts.port is not None else port
        except ValueError:
            found = None
        if found is None:
            remedy = f"write {self.scheme}://HOST:PORT, with a port up to 65535"
            raise LinkError(f"source {self.text}", "no HOST:PORT", remedy)
        return parts.hostname or "", found


def parse(text: str) -> SourceUrl:
    """Split an address into its parts. Raises LinkError where it is too long or its options are no pairs."""
    if len(text) > LONGEST:
        raise LinkError("source", f"an address of {len(text)} characters", f"give at most {LONGEST}")
    scheme, _, rest = text.partition(":")
    rest, _, query = rest.partition("?")
    try:
        options = dict(parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query), max_num_fields=100))
    except ValueError:
        raise LinkError(f"source {text}", f"{query!r} is not option=value", "join options with &") from None
    return SourceUrl(text, scheme.lower(), rest, options)


def as_plain(kind: Any) -> dict[str, Any]:
    """Return a structure as plain values, as JSON takes them."""
    built: dict[str, Any] = msgspec.to_builtins(kind)
    return built
