"""Encode and decode the fields of a message: runs of numbers, texts, bytes, and arrays of anything else.

A message of ROS 2 is `CDR`, a message of ROS 1 is `ROS1`. They differ in a header, in the alignment of numbers and in
the end of a text.

Ref: OMG DDSI-RTPS 2.5, 10.2 and DDS-XTYPES 1.3, 7.4.3: XCDR1, each number aligned to its size, counted after a header
of four bytes. http://wiki.ros.org/msg for ROS 1: little-endian, nothing aligned.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from rtsysid.guards.limits import VARIABLE, limit

_CODES = {
    "bool": "?", "byte": "B", "char": "B", "int8": "b", "uint8": "B", "int16": "h", "uint16": "H",
    "int32": "i", "uint32": "I", "int64": "q", "uint64": "Q", "float32": "f", "float64": "d",
}  # fmt: skip

Value: TypeAlias = Any  # a number, str, bytes (of uint8[]), a list of numbers, or a list of tuples of values


@dataclass(frozen=True, eq=False)
class Wire:
    """Describe how values become bytes: header of a message, alignment, end of a text, struct codes of the numbers."""

    header: bytes
    aligned: bool
    text_end: bytes
    codes: Mapping[str, str]

    def padding(self, at: int, code: str) -> int:
        """Return the bytes before a number at offset `at`."""
        return (len(self.header) - at) % struct.calcsize(code) if self.aligned else 0


CDR = Wire(b"\x00\x01\x00\x00", True, b"\0", _CODES)  # XCDR1, little-endian, no options
ROS1 = Wire(b"", False, b"", {**_CODES, "byte": "b"})


class Payload:
    """Hold the bytes of a message while it is decoded, and count the values of its arrays."""

    def __init__(self, data: bytes) -> None:
        self.data, self._claimed = data, 0

    def claim(self, values: int) -> None:
        """Count values before they are decoded. Raises ValueError where the message exceeds the limit."""
        self._claimed += values
        check_claim("a message claims", self._claimed, "values in arrays", "message_values")


def check_claim(what: str, claimed: int, things: str, name: str) -> None:
    """Compare a number that a message or a definition claims with the limit `name`. Raises ValueError above it."""
    if claimed > limit(name):
        raise ValueError(f"{what} {claimed} {things}, above the limit {name} = {limit(name)} ({VARIABLE} raises it)")


class Numbers:
    """Encode successive numbers. The padding between them depends on the first offset modulo 8: eight layouts."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.names: list[str] = []
        self.codes = ""
        self._forms: dict[int, struct.Struct] = {}

    @property
    def least(self) -> int:
        """Return the fewest bytes that these numbers take."""
        return struct.calcsize("<" + self.codes)

    def add(self, name: str, code: str) -> None:
        """Append a number."""
        self.names.append(name)
        self.codes += code

    def put(self, values: Sequence[Value], out: bytearray) -> None:
        """Append the values to a message. Raises struct.error where one does not fit."""
        out += self._form(len(out)).pack(*values)

    def take(self, payload: Payload, at: int, values: list[Value]) -> int:
        """Append the values at offset `at`, and return the offset after them."""
        form = self._form(at)
        values += form.unpack_from(payload.data, at)
        return at + form.size

    def places(self, at: int) -> tuple[list[int], int]:
        """Return the byte offset of each number, and the offset after the last, for a first offset `at`."""
        places = []
        for code in self.codes:
            at += self.wire.padding(at, code)
            places.append(at)
            at += struct.calcsize(code)
        return places, at

    def _form(self, at: int) -> struct.Struct:
        form = self._forms.get(at % 8)
        if form is None:
            layout, end = "<", at
            for code, place in zip(self.codes, self.places(at)[0], strict=True):
                layout += f"{place - end}x{code}"
                end = place + struct.calcsize(code)
            form = self._forms[at % 8] = struct.Struct(layout)
        return form


class Text:
    """Encode a string: its length, with the zero byte that ends it in ROS 2, and UTF-8 text."""

    least = 4

    def __init__(self, name: str, wire: Wire) -> None:
        self.names, self.wire = [name], wire

    def put(self, values: Sequence[Value], out: bytearray) -> None:
        """Append the text to a message."""
        text = values[0].encode() + self.wire.text_end
        put_count(self.wire, len(text), out)
        out += text

    def take(self, payload: Payload, at: int, values: list[Value]) -> int:
        """Append the text at offset `at`, and return the offset after it."""
        length, at = take_count(self.wire, payload, at)
        values.append(_slice_payload(payload, at, length).rstrip(b"\0").decode())
        return at + length


class Bytes:
    """Encode an array of uint8. `count` is None for an array of variable length."""

    def __init__(self, name: str, count: int | None, wire: Wire) -> None:
        self.names, self.count, self.wire = [name], count, wire

    @property
    def least(self) -> int:
        """Return the fewest bytes that the array takes."""
        return 4 if self.count is None else self.count

    def put(self, values: Sequence[Value], out: bytearray) -> None:
        """Append the bytes to a message."""
        data = values[0]
        if self.count is None:
            put_count(self.wire, len(data), out)
        out += data

    def take(self, payload: Payload, at: int, values: list[Value]) -> int:
        """Append the bytes at offset `at`, and return the offset after them."""
        count, at = take_count(self.wire, payload, at) if self.count is None else (self.count, at)
        values.append(bytes(_slice_payload(payload, at, count)))
        return at + count


class Many:
    """Encode an array of messages, of strings, or of more than 64 numbers. `element`: the fields of one of them."""

    def __init__(self, name: str, element: Sequence[MessageField], count: int | None, wire: Wire) -> None:
        self.names, self.element, self.count, self.wire = [name], element, count, wire
        self.width = sum(len(each.names) for each in element)
        self._bare = len(element) == 1 and len(element[0].names) == 1  # elements are single values, not tuples

    @property
    def least(self) -> int:
        """Return the fewest bytes that the array takes."""
        return 4 if self.count is None else self.count * sum(each.least for each in self.element)

    def put(self, values: Sequence[Value], out: bytearray) -> None:
        """Append the elements to a message."""
        items = values[0]
        if self.count is None:
            put_count(self.wire, len(items), out)
        for item in items:
            put_values(self.element, (item,) if self._bare else item, out)

    def take(self, payload: Payload, at: int, values: list[Value]) -> int:
        """Append a list of the elements at offset `at`, and return the offset after them."""
        count, at = take_count(self.wire, payload, at) if self.count is None else (self.count, at)
        payload.claim(count * self.width)
        items: list[Value] = []
        for _ in range(count):
            item: list[Value] = []
            at = take_values(self.element, payload, at, item)
            items.append(item[0] if self._bare else tuple(item))
        values.append(items)
        return at


MessageField: TypeAlias = Numbers | Text | Bytes | Many


def put_values(fields: Sequence[MessageField], values: Sequence[Value], out: bytearray) -> None:
    """Append one value for each name of the fields. Raises struct.error where there are more or fewer."""
    at = 0
    for field in fields:
        begin, at = at, at + len(field.names)
        field.put(values[begin:at], out)
    if at != len(values):
        raise struct.error(f"{len(values)} values for {at} names")


def take_values(fields: Sequence[MessageField], payload: Payload, at: int, values: list[Value]) -> int:
    """Append the values of the fields at offset `at`, and return the offset after them."""
    for field in fields:
        at = field.take(payload, at, values)
    return at


def put_count(wire: Wire, count: int, out: bytearray) -> None:
    """Append a length or a number of elements."""
    out += bytes(wire.padding(len(out), "I")) + struct.pack("<I", count)


def take_count(wire: Wire, payload: Payload, at: int) -> tuple[int, int]:
    """Return the length or number of elements at offset `at`, and the offset after it."""
    at += wire.padding(at, "I")
    return struct.unpack_from("<I", payload.data, at)[0], at + 4


def _slice_payload(payload: Payload, at: int, length: int) -> bytes:
    if at + length > len(payload.data):
        raise ValueError("a message ends early")
    return payload.data[at : at + length]
