"""Encode and decode ROS 2 messages: definitions as text (`ros2msg`), messages as bytes (`cdr`).

A recording carries its own definitions, so that writers and readers share only this module. Numbers of nested messages
and of short arrays get dotted names: ``pose.position.x``, ``covariance.0``.

Ref: https://docs.ros.org/en/rolling/Concepts/Basic/About-Interfaces.html for the text; for the bytes OMG DDSI-RTPS
2.5, 10.2 and DDS-XTYPES 1.3, 7.4.3: XCDR1, each number aligned to its size, counted after a header of four bytes.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from rtsysid.guards.limits import VARIABLE, limit

HEADER = b"\x00\x01\x00\x00"  # XCDR1, little-endian, no options
RULE = "=" * 80 + "\n"  # between a definition and the definitions of its nested messages
TIME = f"{RULE}MSG: builtin_interfaces/Time\nint32 sec\nuint32 nanosec\n"

_STRUCT_CODES = {
    "bool": "?", "byte": "B", "char": "B", "int8": "b", "uint8": "B", "int16": "h", "uint16": "H",
    "int32": "i", "uint32": "I", "int64": "q", "uint64": "Q", "float32": "f", "float64": "d",
}  # fmt: skip
_FIELD = re.compile(
    r"(?P<base>[A-Za-z][\w/]*)(?:<=\d+)?(?P<array>\[(?P<most><=)?(?P<count>\d*)\])?\s+(?P<name>\w+)\s*(?P<constant>=)?"
)
_LONGEST = 255  # characters of a field's name
_FLAT = 64  # a fixed array of at most this many elements gets one name per element

Value: TypeAlias = Any  # a number, str, bytes (of uint8[]), a list of numbers, or a list of tuples of values


class MessageType:
    """Convert between the values of a message type and bytes. `names` are the names of its values, in order."""

    def __init__(self, name: str, definition: str) -> None:
        """Parse the definition of the message `name` and of its nested messages.

        Raises ValueError where a line is not a field, a type is unknown, or the definition exceeds the limits of
        `rtsysid.guards.limits`: too many fields, with those of nested messages, or too many levels.
        """
        definitions = _Definitions(_sections(_short(name), definition))
        self._fields = _fields(definitions, (_short(name),), "", [])
        self.names: tuple[str, ...] = tuple(each for field in self._fields for each in field.names)

    @property
    def numbers(self) -> tuple[str, ...]:
        """List the names of the values that are single numbers."""
        return tuple(name for field in self._fields if isinstance(field, _Numbers) for name in field.names)

    @property
    def head(self) -> dict[str, tuple[str, int]]:
        """Map each number before the first value of variable length to its struct code and byte offset."""
        first = self._fields[0]
        return first.places(len(HEADER)) if isinstance(first, _Numbers) else {}

    def pack(self, *values: Value) -> bytes:
        """Encode a message, from one value for each of `names`. Raises struct.error where a value does not fit."""
        out = bytearray(HEADER)
        _put_values(self._fields, values, out)
        return bytes(out)

    def unpack(self, payload: bytes) -> tuple[Value, ...]:
        """Decode a message into one value for each of `names`. Raises ValueError where the bytes do not fit."""
        if payload[:2] != HEADER[:2]:
            raise ValueError(f"encoding {payload[:2].hex()} is not little-endian XCDR1")
        values: list[Value] = []
        try:
            _take_values(self._fields, _Payload(payload), len(HEADER), values)
        except struct.error:
            raise ValueError("a message ends early") from None
        return tuple(values)


class _Payload:
    """Hold the bytes of a message while it is decoded, and count the values of its arrays."""

    def __init__(self, data: bytes) -> None:
        self.data, self._claimed = data, 0

    def claim(self, values: int) -> None:
        """Count values before they are decoded. Raises ValueError where the message exceeds the limit."""
        self._claimed += values
        _check("a message claims", self._claimed, "values in arrays", "message_values")


class _Definitions:
    """Hold the lines of each message type, and count the fields while nested types are expanded."""

    def __init__(self, sections: Mapping[str, list[str]]) -> None:
        self.sections, self._expanded = sections, 0

    def expand(self, path: Sequence[str], fields: int) -> list[str]:
        """Return the lines of the message `path[-1]`. Raises ValueError where a limit is exceeded."""
        lines = self.sections[path[-1]]
        self.count(path, fields)
        _check(f"{path[0]} nests", len(path), "levels", "depth")
        return lines

    def count(self, path: Sequence[str], fields: int) -> None:
        """Count fields of the message `path[-1]`. Raises ValueError where there are too many in all."""
        self._expanded += fields
        _check(f"{path[0]} has", self._expanded, "fields or more", "message_fields")


def _check(what: str, claimed: int, things: str, name: str) -> None:
    if claimed > limit(name):
        raise ValueError(f"{what} {claimed} {things}, above the limit {name} = {limit(name)} ({VARIABLE} raises it)")


class _Numbers:
    """Encode successive numbers. The padding between them depends on the first offset modulo 8: eight layouts."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.codes = ""
        self._forms: dict[int, struct.Struct] = {}

    def add(self, name: str, code: str) -> None:
        self.names.append(name)
        self.codes += code

    def put(self, values: Sequence[Value], out: bytearray) -> None:
        out += self._form(len(out)).pack(*values)

    def take(self, payload: _Payload, at: int, values: list[Value]) -> int:
        form = self._form(at)
        values += form.unpack_from(payload.data, at)
        return at + form.size

    def places(self, at: int) -> dict[str, tuple[str, int]]:
        """Map each number to its struct code and byte offset, for a first offset `at`."""
        places = {}
        for name, code in zip(self.names, self.codes, strict=True):
            at += _padding(at, code)
            places[name] = code, at
            at += struct.calcsize(code)
        return places

    def _form(self, at: int) -> struct.Struct:
        form = self._forms.get(at % 8)
        if form is None:
            layout, end = "<", at
            for code, place in self.places(at).values():
                layout += f"{place - end}x{code}"
                end = place + struct.calcsize(code)
            form = self._forms[at % 8] = struct.Struct(layout)
        return form


class _Text:
    """Encode a string: its length with the final zero byte, UTF-8 text, the zero byte."""

    def __init__(self, name: str) -> None:
        self.names = [name]

    def put(self, values: Sequence[Value], out: bytearray) -> None:
        text = values[0].encode() + b"\0"
        _put_count(len(text), out)
        out += text

    def take(self, payload: _Payload, at: int, values: list[Value]) -> int:
        length, at = _take_count(payload, at)
        values.append(_slice_payload(payload, at, length).rstrip(b"\0").decode())
        return at + length


class _Bytes:
    """Encode an array of uint8. `count` is None for an array of variable length."""

    def __init__(self, name: str, count: int | None) -> None:
        self.names, self._count = [name], count

    def put(self, values: Sequence[Value], out: bytearray) -> None:
        data = values[0]
        if self._count is None:
            _put_count(len(data), out)
        out += data

    def take(self, payload: _Payload, at: int, values: list[Value]) -> int:
        count, at = _take_count(payload, at) if self._count is None else (self._count, at)
        values.append(bytes(_slice_payload(payload, at, count)))
        return at + count


class _Many:
    """Encode an array of messages, of strings, or of more than 64 numbers."""

    def __init__(self, name: str, element: Sequence[_Field], count: int | None) -> None:
        self.names, self._element, self._count = [name], element, count
        self._width = sum(len(each.names) for each in element)
        self._bare = len(element) == 1 and len(element[0].names) == 1  # elements are single values, not tuples

    def put(self, values: Sequence[Value], out: bytearray) -> None:
        items = values[0]
        if self._count is None:
            _put_count(len(items), out)
        for item in items:
            _put_values(self._element, (item,) if self._bare else item, out)

    def take(self, payload: _Payload, at: int, values: list[Value]) -> int:
        count, at = _take_count(payload, at) if self._count is None else (self._count, at)
        payload.claim(count * self._width)
        items: list[Value] = []
        for _ in range(count):
            item: list[Value] = []
            at = _take_values(self._element, payload, at, item)
            items.append(item[0] if self._bare else tuple(item))
        values.append(items)
        return at


_Field: TypeAlias = _Numbers | _Text | _Bytes | _Many


def _put_values(fields: Sequence[_Field], values: Sequence[Value], out: bytearray) -> None:
    at = 0
    for field in fields:
        begin, at = at, at + len(field.names)
        field.put(values[begin:at], out)
    if at != len(values):
        raise struct.error(f"{len(values)} values for {at} names")


def _take_values(fields: Sequence[_Field], payload: _Payload, at: int, values: list[Value]) -> int:
    for field in fields:
        at = field.take(payload, at, values)
    return at


def _padding(at: int, code: str) -> int:
    return (len(HEADER) - at) % struct.calcsize(code)


def _put_count(count: int, out: bytearray) -> None:
    out += bytes(_padding(len(out), "I")) + struct.pack("<I", count)


def _take_count(payload: _Payload, at: int) -> tuple[int, int]:
    at += _padding(at, "I")
    return struct.unpack_from("<I", payload.data, at)[0], at + 4


def _slice_payload(payload: _Payload, at: int, length: int) -> bytes:
    if at + length > len(payload.data):
        raise ValueError("a message ends early")
    return payload.data[at : at + length]


def _short(name: str) -> str:
    return name.replace("/msg/", "/")


def _sections(name: str, definition: str) -> dict[str, list[str]]:
    """Split a text into the lines of each definition. The first definition is that of `name`."""
    sections: dict[str, list[str]] = {name: []}
    for raw in definition.splitlines():
        line = raw.partition("#")[0].strip()
        if line.startswith("MSG:"):
            name = _short(line.removeprefix("MSG:").strip())
            sections.setdefault(name, [])
        elif line and not line.startswith(("=", "@")):
            sections[name].append(line)
    return sections


def _fields(definitions: _Definitions, path: tuple[str, ...], prefix: str, fields: list[_Field]) -> list[_Field]:
    """Append the fields of the message `path[-1]`. `path` lists the enclosing message types, outermost first."""
    begun = len(fields), len(fields[-1].names) if fields else 0
    for line in definitions.expand(path, 1):
        match = _FIELD.match(line)
        if match is None or len(match["name"]) > _LONGEST:
            raise ValueError(f"{path[-1]}: {line[:80]!r} is not a field")
        if not match["constant"]:
            _add(definitions, path, match, prefix, fields)
    if begun == (len(fields), len(fields[-1].names) if fields else 0):  # ROS 2 gives a message without fields one byte
        _number_run(fields).add(f"{prefix}structure_needs_at_least_one_member", "B")
    return fields


def _add(
    definitions: _Definitions, path: tuple[str, ...], match: re.Match[str], prefix: str, fields: list[_Field]
) -> None:
    name = prefix + match["name"]
    if match["array"] is None:
        return _add_one(definitions, path, match["base"], name, fields)
    count = int(match["count"][:20]) if match["count"] and not match["most"] else None
    if count is not None and count <= _FLAT:
        for i in range(count):
            _add_one(definitions, path, match["base"], f"{name}.{i}", fields)
    elif _STRUCT_CODES.get(match["base"]) == "B":
        fields.append(_Bytes(name, count))
    else:
        element: list[_Field] = []
        _add_one(definitions, path, match["base"], "", element)
        fields.append(_Many(name, element, count))


def _add_one(definitions: _Definitions, path: tuple[str, ...], base: str, name: str, fields: list[_Field]) -> None:
    definitions.count(path, 1)
    if base in _STRUCT_CODES:
        return _number_run(fields).add(name, _STRUCT_CODES[base])
    if base == "string":
        return fields.append(_Text(name))
    package = path[-1].rpartition("/")[0]
    for known in (_short(base), f"{package}/{base}"):
        if known in definitions.sections and known not in path:
            _fields(definitions, (*path, known), f"{name}." if name else "", fields)
            return
    raise ValueError(f"type {base[:80]} of {name[:80]} is not known")


def _number_run(fields: list[_Field]) -> _Numbers:
    """Return the run of numbers at the end of `fields`, a new one where there is none."""
    if not fields or not isinstance(fields[-1], _Numbers):
        fields.append(_Numbers())
    last = fields[-1]
    assert isinstance(last, _Numbers)
    return last
