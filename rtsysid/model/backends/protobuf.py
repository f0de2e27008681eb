"""Read protobuf messages by a table of fields, and refuse whatever the table does not name.

The plain install has no parser for ONNX, and a parser that accepts everything is not wanted: a field that the exporter
never writes, such as external data or a function, is an error here.

Ref: Protocol Buffers, Encoding: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple, TypeAlias

Kind: TypeAlias = Literal["int", "float", "text", "bytes"]
Message: TypeAlias = dict[str, Any]

DEPTH = 12  # levels of messages; a forecast graph has nine
VALUES = 1 << 16  # fields and packed numbers in a message, all inner ones included: two bytes of a file make one
_WIRE_TYPES = {"int": 0, "float": 5}  # all others have a length: 2


class Field(NamedTuple):
    """One field of a message. ``kind``: that of its value, or the fields of a message inside."""

    name: str
    kind: Kind | Mapping[int, Any]
    repeated: bool = False


def parse_message(content: bytes, fields: Mapping[int, Field]) -> Message:
    """Parse one message: lists for repeated fields, and only the fields that occur.

    Raises ValueError where it is cut off, has a field that `fields` does not name, one twice that is not repeated, or
    more values than `VALUES`.
    """
    return _message(content, fields, DEPTH, iter(range(VALUES)))


def _message(content: bytes, fields: Mapping[int, Field], depth: int, budget: Iterator[int]) -> Message:
    """Parse a message that may have `depth` levels; each value takes one from the budget."""
    found: Message = {field.name: [] for field in fields.values() if field.repeated}
    for number, wire_type, value in _pairs(content):
        field = fields.get(number)
        if field is None or depth == 0:
            raise ValueError(f"an unexpected field {number}")
        _spend(budget)
        values = _values(field, wire_type, value, depth, budget)
        if field.repeated:
            found[field.name] += values
        elif field.name in found or len(values) != 1:
            raise ValueError(f"{field.name} occurs twice")
        else:
            found[field.name] = values[0]
    return found


def _values(field: Field, wire_type: int, value: Any, depth: int, budget: Iterator[int]) -> list[Any]:
    """Return the values that one occurrence of a field holds: one, or several packed numbers."""
    kind = field.kind
    if field.repeated and kind == "int" and wire_type == 2:
        return list(_packed(value, budget))
    if wire_type != (_WIRE_TYPES.get(kind, 2) if isinstance(kind, str) else 2):
        raise ValueError(f"{field.name} is of another type")
    if not isinstance(kind, str):
        return [_message(value, kind, depth - 1, budget)]
    if kind == "text":
        return [value.decode()]  # a UnicodeDecodeError is a ValueError
    return [struct.unpack("<f", value)[0] if kind == "float" else _signed(value) if kind == "int" else value]


def _pairs(content: bytes) -> Iterator[tuple[int, int, Any]]:
    """Yield number, wire type and value of each field; a value is an unsigned integer or bytes."""
    at = 0
    while at < len(content):
        key, at = _varint(content, at)
        number, wire_type = key >> 3, key & 7
        if wire_type == 0:
            value, at = _varint(content, at)
            yield number, wire_type, value
            continue
        if wire_type not in (2, 5):
            raise ValueError(f"field {number} is of another type")
        size, at = _varint(content, at) if wire_type == 2 else (4, at)
        if size > len(content) - at:
            raise ValueError("it is cut off")
        yield number, wire_type, content[at : at + size]
        at += size


def _packed(content: bytes, budget: Iterator[int]) -> Iterator[int]:
    at = 0
    while at < len(content):
        _spend(budget)
        value, at = _varint(content, at)
        yield _signed(value)


def _spend(budget: Iterator[int]) -> None:
    if next(budget, None) is None:
        raise ValueError(f"more than {VALUES} values")


def _varint(content: bytes, at: int) -> tuple[int, int]:
    """Return an unsigned integer of up to 64 bits, and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(content):
            raise ValueError("it is cut off")
        byte = content[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            if value >> 64:
                break
            return value, at
    raise ValueError("an integer of more than 64 bits")


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value
