"""Encode and decode ROS messages: definitions as text (`ros2msg`, `ros1msg`), messages as bytes (`cdr`, `ros1`).

A recording carries its own definitions, so that writers and readers share only this package. Numbers of nested messages
get dotted names, those of short arrays an index: ``pose.position.x``, ``covariance[0]``.

Ref: https://docs.ros.org/en/rolling/Concepts/Basic/About-Interfaces.html and http://wiki.ros.org/msg for the text.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from rtsysid.rosmsg.fields import (
    CDR,
    ROS1,
    Bytes,
    Many,
    MessageField,
    Numbers,
    Payload,
    Text,
    Value,
    Wire,
    check_claim,
    put_values,
    take_values,
)

__all__ = ["CDR", "ROS1", "RULE", "TIME", "MessageType", "Value", "Wire"]

RULE = "=" * 80 + "\n"  # between a definition and the definitions of its nested messages
TIME = f"{RULE}MSG: builtin_interfaces/Time\nint32 sec\nuint32 nanosec\n"
SHORT = 64  # a fixed array of at most this many elements gets one name per element

_FIELD = re.compile(
    r"(?P<base>[A-Za-z][\w/]*)(?:<=\d+)?(?P<array>\[(?P<most><=)?(?P<count>\d*)\])?\s+(?P<name>\w+)\s*(?P<constant>=)?"
)
_LONGEST = 255  # characters of a field's name
_DUMMY = "structure_needs_at_least_one_member"


class Instant(NamedTuple):
    """Describe a time or a duration of two numbers, ``NAME.sec`` and ``NAME.nanosec``."""

    kind: Literal["time", "duration"]
    codes: str


_INSTANTS = {
    "builtin_interfaces/Time": Instant("time", "iI"),
    "builtin_interfaces/Duration": Instant("duration", "iI"),
    "time": Instant("time", "II"),
    "duration": Instant("duration", "ii"),
}
# Values that measure nothing: the counter of a publisher, the layout of an array.
_UNMEASURED = {"std_msgs/Header": ("seq",), "std_msgs/MultiArrayLayout": ("dim", "data_offset")}


class MessageType:
    """Convert between the values of a message type and bytes. `names` are the names of its values, in order.

    ``instants``: the times and durations by name. ``unmeasured``: names of values that are no measurement. The names
    inside an array of messages begin with ``ARRAY[].``.
    """

    def __init__(self, name: str, definition: str, wire: Wire = CDR) -> None:
        """Parse the definition of the message `name` and of its nested messages.

        Raises ValueError where a line is not a field, a type is unknown, or the definition exceeds the limits of
        `rtsysid.guards.limits`: too many fields, with those of nested messages, or too many levels.
        """
        definitions = _Definitions(_sections(_short_name(name), definition), wire)
        self.wire = wire
        self.fields: Sequence[MessageField] = _fields(definitions, (_short_name(name),), "", [])
        self.names: tuple[str, ...] = tuple(each for field in self.fields for each in field.names)
        self.instants: Mapping[str, Instant] = definitions.instants
        self.unmeasured = frozenset(definitions.unmeasured)

    @property
    def numbers(self) -> tuple[str, ...]:
        """List the names of the values that are single numbers."""
        return tuple(name for field in self.fields if isinstance(field, Numbers) for name in field.names)

    def pack(self, *values: Value) -> bytes:
        """Encode a message, from one value for each of `names`. Raises struct.error where a value does not fit."""
        out = bytearray(self.wire.header)
        put_values(self.fields, values, out)
        return bytes(out)

    def unpack(self, payload: bytes) -> tuple[Value, ...]:
        """Decode a message into one value for each of `names`. Raises ValueError where the bytes do not fit."""
        header = self.wire.header
        if not payload.startswith(header[:2]):
            raise ValueError(f"encoding {payload[:2].hex()} is not little-endian XCDR1")
        values: list[Value] = []
        try:
            take_values(self.fields, Payload(payload), len(header), values)
        except struct.error:
            raise ValueError("a message ends early") from None
        return tuple(values)


class _Definitions:
    """Hold the lines of each message type, and count the fields while nested types are expanded."""

    def __init__(self, sections: Mapping[str, list[str]], wire: Wire) -> None:
        self.sections, self.wire, self._expanded = sections, wire, 0
        self.instants: dict[str, Instant] = {}
        self.unmeasured: set[str] = set()

    def expand(self, path: Sequence[str], fields: int) -> list[str]:
        """Return the lines of the message `path[-1]`. Raises ValueError where a limit is exceeded."""
        lines = self.sections[path[-1]]
        self.count(path, fields)
        check_claim(f"{path[0]} nests", len(path), "levels", "depth")
        return lines

    def count(self, path: Sequence[str], fields: int) -> None:
        """Count fields of the message `path[-1]`. Raises ValueError where there are too many in all."""
        self._expanded += fields
        check_claim(f"{path[0]} has", self._expanded, "fields or more", "message_fields")

    def resolve(self, path: Sequence[str], base: str) -> str | None:
        """Return the full name of a type that the message `path[-1]` uses; None where it is not known."""
        package = path[-1].rpartition("/")[0]
        names = (_short_name(base), f"{package}/{base}", "std_msgs/Header" if base == "Header" else "")
        return next((name for name in names if name in self.sections and name not in path), None)


def _short_name(name: str) -> str:
    return name.replace("/msg/", "/")


def _sections(name: str, definition: str) -> dict[str, list[str]]:
    """Split a text into the lines of each definition. The first definition is that of `name`."""
    sections: dict[str, list[str]] = {name: []}
    for raw in definition.splitlines():
        line = raw.partition("#")[0].strip()
        if line.startswith("MSG:"):
            name = _short_name(line.removeprefix("MSG:").strip())
            sections.setdefault(name, [])
        elif line and not line.startswith(("=", "@")):
            sections[name].append(line)
    return sections


def _fields(
    definitions: _Definitions, path: tuple[str, ...], prefix: str, fields: list[MessageField]
) -> list[MessageField]:
    """Append the fields of the message `path[-1]`. `path` lists the enclosing message types, outermost first."""
    begun = len(fields), len(fields[-1].names) if fields else 0
    definitions.unmeasured.update(f"{prefix}{name}" for name in _UNMEASURED.get(path[-1], ()))
    for line in definitions.expand(path, 1):
        match = _FIELD.match(line)
        if match is None or len(match["name"]) > _LONGEST:
            raise ValueError(f"{path[-1]}: {line[:80]!r} is not a field")
        if not match["constant"]:
            _add(definitions, path, match, prefix, fields)
    empty = begun == (len(fields), len(fields[-1].names) if fields else 0)
    if empty and definitions.wire is CDR:  # ROS 2 gives a message without fields one byte
        definitions.unmeasured.add(f"{prefix}{_DUMMY}")
        _number_run(definitions, fields).add(f"{prefix}{_DUMMY}", "B")
    return fields


def _add(
    definitions: _Definitions, path: tuple[str, ...], match: re.Match[str], prefix: str, fields: list[MessageField]
) -> None:
    name, wire = prefix + match["name"], definitions.wire
    if match["array"] is None:
        return _add_one(definitions, path, match["base"], name, fields)
    count = int(match["count"][:20]) if match["count"] and not match["most"] else None
    if count is not None and count <= SHORT:
        for i in range(count):
            _add_one(definitions, path, match["base"], f"{name}[{i}]", fields)
    elif wire.codes.get(match["base"]) == "B":
        fields.append(Bytes(name, count, wire))
    else:
        element: list[MessageField] = []
        _add_one(definitions, path, match["base"], f"{name}[]", element)
        fields.append(Many(name, element, count, wire))


def _add_one(
    definitions: _Definitions, path: tuple[str, ...], base: str, name: str, fields: list[MessageField]
) -> None:
    definitions.count(path, 1)
    if base in definitions.wire.codes:
        return _number_run(definitions, fields).add(name, definitions.wire.codes[base])
    if base == "string":
        return fields.append(Text(name, definitions.wire))
    instant = _INSTANTS.get(_short_name(base))
    if instant is not None and (definitions.wire is ROS1 or "/" in base):
        return _add_instant(definitions, instant, name, fields)
    known = definitions.resolve(path, base)
    if known is None:
        raise ValueError(f"type {base[:80]} of {name[:80]} is not known")
    _fields(definitions, (*path, known), f"{name}.", fields)
    return None


def _add_instant(definitions: _Definitions, instant: Instant, name: str, fields: list[MessageField]) -> None:
    definitions.instants[name] = instant
    run = _number_run(definitions, fields)
    for part, code in zip(("sec", "nanosec"), instant.codes, strict=True):
        run.add(f"{name}.{part}", code)


def _number_run(definitions: _Definitions, fields: list[MessageField]) -> Numbers:
    """Return the run of numbers at the end of `fields`, a new one where there is none."""
    if not fields or not isinstance(fields[-1], Numbers):
        fields.append(Numbers(definitions.wire))
    last = fields[-1]
    assert isinstance(last, Numbers)
    return last
