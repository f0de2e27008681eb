"""ROS 2 messages: the text that defines one (`ros2msg`) and the bytes that carry one (`cdr`).

A recording carries its own definitions, so that its writer and its readers have this module in common and nothing
else; it is a part of the contract. The numbers of nested messages and of short arrays lie flat under dotted names:
``pose.position.x``, ``covariance.0``.

Ref: https://docs.ros.org/en/rolling/Concepts/Basic/About-Interfaces.html for the text; for the bytes OMG DDSI-RTPS
2.5, 10.2 and DDS-XTYPES 1.3, 7.4.3: XCDR1, each number aligned to its size, counted after a header of four bytes.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

HEADER = b"\x00\x01\x00\x00"  # XCDR1, little-endian, no options
RULE = "=" * 80 + "\n"  # between a definition and those of the messages in it
TIME = f"{RULE}MSG: builtin_interfaces/Time\nint32 sec\nuint32 nanosec\n"

_CODES = {
    "bool": "?", "byte": "B", "char": "B", "int8": "b", "uint8": "B", "int16": "h", "uint16": "H",
    "int32": "i", "uint32": "I", "int64": "q", "uint64": "Q", "float32": "f", "float64": "d",
}  # fmt: skip
_FIELD = re.compile(
    r"(?P<base>[A-Za-z][\w/]*)(?:<=\d+)?(?P<array>\[(?P<most><=)?(?P<count>\d*)\])?\s+(?P<name>\w+)\s*(?P<constant>=)?"
)
_FLAT = 64  # elements up to which a fixed array lies flat
_LARGEST = 4096  # names in one message: a definition from outside must not fill the memory

Value: TypeAlias = Any  # a number, str, bytes (of uint8[]), a list of numbers, or a list of tuples of values


class MessageType:
    """How one kind of message lies in bytes; `names` are those of its values, in order."""

    def __init__(self, name: str, definition: str) -> None:
        """Read the definition of the message `name` and of those that it holds. Raises ValueError."""
        sections = _sections(_short(name), definition)
        self._parts = _parts(sections, (_short(name),), "", [])
        self.names: tuple[str, ...] = tuple(each for part in self._parts for each in part.names)

    @property
    def numbers(self) -> tuple[str, ...]:
        """Names of the values that are one number each."""
        return tuple(name for part in self._parts if isinstance(part, _Numbers) for name in part.names)

    @property
    def head(self) -> dict[str, tuple[str, int]]:
        """struct code and place in the payload of each number before the first value of varying length."""
        first = self._parts[0]
        return first.places(len(HEADER)) if isinstance(first, _Numbers) else {}

    def pack(self, *values: Value) -> bytes:
        """The message as bytes, from one value for each of `names`. Raises struct.error."""
        out = bytearray(HEADER)
        _put(self._parts, values, out)
        return bytes(out)

    def unpack(self, payload: bytes) -> tuple[Value, ...]:
        """One value for each of `names`. Raises ValueError where the bytes are not such a message."""
        if payload[:2] != HEADER[:2]:
            raise ValueError(f"encoding {payload[:2].hex()} is not little-endian XCDR1")
        values: list[Value] = []
        try:
            _take(self._parts, payload, len(HEADER), values)
        except struct.error:
            raise ValueError("a message ends early") from None
        return tuple(values)


class _Numbers:
    """Successive numbers. The padding among them depends on where the first one lies, so there are eight forms."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.codes = ""
        self._forms: dict[int, struct.Struct] = {}

    def add(self, name: str, code: str) -> None:
        self.names.append(name)
        self.codes += code

    def put(self, values: Sequence[Value], out: bytearray) -> None:
        out += self._form(len(out)).pack(*values)

    def take(self, payload: bytes, at: int, values: list[Value]) -> int:
        form = self._form(at)
        values += form.unpack_from(payload, at)
        return at + form.size

    def places(self, at: int) -> dict[str, tuple[str, int]]:
        """Code and place of each number, where the run begins at `at`."""
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
    """A string: its length with the closing zero, UTF-8, and that zero."""

    def __init__(self, name: str) -> None:
        self.names = [name]

    def put(self, values: Sequence[Value], out: bytearray) -> None:
        text = values[0].encode() + b"\0"
        _put_count(len(text), out)
        out += text

    def take(self, payload: bytes, at: int, values: list[Value]) -> int:
        length, at = _take_count(payload, at)
        values.append(_cut(payload, at, length).rstrip(b"\0").decode())
        return at + length


class _Bytes:
    """An array of uint8; `count` is None where each message states its own."""

    def __init__(self, name: str, count: int | None) -> None:
        self.names, self._count = [name], count

    def put(self, values: Sequence[Value], out: bytearray) -> None:
        data = values[0]
        if self._count is None:
            _put_count(len(data), out)
        out += data

    def take(self, payload: bytes, at: int, values: list[Value]) -> int:
        count, at = _take_count(payload, at) if self._count is None else (self._count, at)
        values.append(bytes(_cut(payload, at, count)))
        return at + count


class _Many:
    """An array of messages, of strings, or of so many numbers that they do not lie flat."""

    def __init__(self, name: str, element: Sequence[_Part], count: int | None) -> None:
        self.names, self._element, self._count = [name], element, count
        self._bare = len(element) == 1 and len(element[0].names) == 1  # elements are values, not tuples of them

    def put(self, values: Sequence[Value], out: bytearray) -> None:
        items = values[0]
        if self._count is None:
            _put_count(len(items), out)
        for item in items:
            _put(self._element, (item,) if self._bare else item, out)

    def take(self, payload: bytes, at: int, values: list[Value]) -> int:
        count, at = _take_count(payload, at) if self._count is None else (self._count, at)
        items: list[Value] = []
        for _ in range(count):
            item: list[Value] = []
            at = _take(self._element, payload, at, item)
            items.append(item[0] if self._bare else tuple(item))
        values.append(items)
        return at


_Part: TypeAlias = _Numbers | _Text | _Bytes | _Many


def _put(parts: Sequence[_Part], values: Sequence[Value], out: bytearray) -> None:
    at = 0
    for part in parts:
        begin, at = at, at + len(part.names)
        part.put(values[begin:at], out)
    if at != len(values):
        raise struct.error(f"{len(values)} values for {at} names")


def _take(parts: Sequence[_Part], payload: bytes, at: int, values: list[Value]) -> int:
    for part in parts:
        at = part.take(payload, at, values)
    return at


def _padding(at: int, code: str) -> int:
    return (len(HEADER) - at) % struct.calcsize(code)


def _put_count(count: int, out: bytearray) -> None:
    out += bytes(_padding(len(out), "I")) + struct.pack("<I", count)


def _take_count(payload: bytes, at: int) -> tuple[int, int]:
    at += _padding(at, "I")
    return struct.unpack_from("<I", payload, at)[0], at + 4


def _cut(payload: bytes, at: int, length: int) -> bytes:
    if at + length > len(payload):
        raise ValueError("a message ends early")
    return payload[at : at + length]


def _short(name: str) -> str:
    return name.replace("/msg/", "/")


def _sections(name: str, definition: str) -> dict[str, list[str]]:
    """Lines of each definition in a text, the first one under `name`."""
    sections: dict[str, list[str]] = {name: []}
    for raw in definition.splitlines():
        line = raw.partition("#")[0].strip()
        if line.startswith("MSG:"):
            name = _short(line.removeprefix("MSG:").strip())
            sections.setdefault(name, [])
        elif line and not line.startswith(("=", "@")):
            sections[name].append(line)
    return sections


def _parts(sections: Mapping[str, list[str]], path: tuple[str, ...], prefix: str, parts: list[_Part]) -> list[_Part]:
    """Append the parts of the message at the end of `path`, which is the way of definitions that leads to it."""
    begun = len(parts), len(parts[-1].names) if parts else 0
    for line in sections[path[-1]]:
        field = _FIELD.match(line)
        if field is None:
            raise ValueError(f"{path[-1]}: {line!r} is not a field")
        if not field["constant"]:
            _add(sections, path, field, prefix, parts)
    if begun == (len(parts), len(parts[-1].names) if parts else 0):  # ROS 2 gives a message without fields one byte
        _run(parts).add(f"{prefix}structure_needs_at_least_one_member", "B")
    if sum(len(part.names) for part in parts) > _LARGEST:
        raise ValueError(f"{path[0]} holds more than {_LARGEST} values")
    return parts


def _add(
    sections: Mapping[str, list[str]], path: tuple[str, ...], field: re.Match[str], prefix: str, parts: list[_Part]
) -> None:
    name = prefix + field["name"]
    if field["array"] is None:
        return _add_one(sections, path, field["base"], name, parts)
    count = int(field["count"]) if field["count"] and not field["most"] else None
    if count is not None and count <= _FLAT:
        for i in range(count):
            _add_one(sections, path, field["base"], f"{name}.{i}", parts)
    elif _CODES.get(field["base"]) == "B":
        parts.append(_Bytes(name, count))
    else:
        element: list[_Part] = []
        _add_one(sections, path, field["base"], "", element)
        parts.append(_Many(name, element, count))


def _add_one(
    sections: Mapping[str, list[str]], path: tuple[str, ...], base: str, name: str, parts: list[_Part]
) -> None:
    if base in _CODES:
        return _run(parts).add(name, _CODES[base])
    if base == "string":
        return parts.append(_Text(name))
    package = path[-1].rpartition("/")[0]
    for known in (_short(base), f"{package}/{base}"):
        if known in sections and known not in path:
            _parts(sections, (*path, known), f"{name}." if name else "", parts)
            return
    raise ValueError(f"type {base} of {name} is not known")


def _run(parts: list[_Part]) -> _Numbers:
    """The run of numbers at the end of `parts`."""
    if not parts or not isinstance(parts[-1], _Numbers):
        parts.append(_Numbers())
    last = parts[-1]
    assert isinstance(last, _Numbers)
    return last
