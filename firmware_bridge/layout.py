"""Message: a class whose annotated fields are a payload's bytes, packed little-endian without padding.

A message may end in one tail of varying length, counted by the byte before it. Only fixed fields are ever appended to
a message, and only to one without a tail, so that either side reads the other's older or newer payload by its length.
"""

from __future__ import annotations

import re
import struct
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Self, TypeAlias, get_type_hints

import msgspec

from rtsysid.errors import LinkError

U8: TypeAlias = Annotated[int, "B"]
U16: TypeAlias = Annotated[int, "H"]
U32: TypeAlias = Annotated[int, "I"]
U64: TypeAlias = Annotated[int, "Q"]
Bytes: TypeAlias = Annotated[bytes, "tail", "s"]
Text: TypeAlias = Annotated[str, "tail", "u"]
F32s: TypeAlias = Annotated[tuple[float, ...], "tail", "f"]
Direction: TypeAlias = Literal["host>device", "device>host", "both"]

ITEM = {"s": 1, "u": 1, "f": 4}  # bytes of one item of a tail


class Field(NamedTuple):
    """``code``: a struct code; of a tail ``s`` bytes, ``u`` UTF-8 text, ``f`` binary32."""

    name: str
    code: str
    offset: int


class Layout(NamedTuple):
    """``packing``: the fixed fields, with the count of the tail last. ``size``: bytes of these."""

    fields: tuple[Field, ...]
    tail: Field | None
    packing: struct.Struct

    @property
    def size(self) -> int:
        return self.packing.size


class Message(msgspec.Struct, frozen=True):
    """One message. `CODE`: its type byte; `SEEDED`: whether its CRC starts from the schema hash.

    `REQUIRED`: bytes that every payload of it has: what fields appended since are missing reads as zero.
    """

    CODE: ClassVar[int]
    DIRECTION: ClassVar[Direction]
    SEEDED: ClassVar[bool] = False
    LAYOUT: ClassVar[Layout]
    REQUIRED: ClassVar[int]

    @classmethod
    def wire_name(cls) -> str:
        """``HelloAck`` -> ``HELLO_ACK``, its name in C, in documents and in errors."""
        return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", cls.__name__).upper()

    def pack(self) -> bytes:
        """The payload. Raises LinkError where a value does not fit its field."""
        values = list(msgspec.structs.astuple(self))
        tail = b""
        try:
            if self.LAYOUT.tail is not None:
                tail = _tail_bytes(self.LAYOUT.tail.code, values.pop())
                values.append(len(tail) // ITEM[self.LAYOUT.tail.code])
            return self.LAYOUT.packing.pack(*values) + tail
        except (struct.error, OverflowError) as error:
            raise LinkError(self.wire_name(), str(error), "give values that fit their fields") from None

    @classmethod
    def unpack(cls, payload: bytes) -> Self:
        """The inverse of `pack`; bytes beyond what this side knows are ignored. `payload` is one `accepts` accepts."""
        layout = cls.LAYOUT
        values: list[Any] = list(layout.packing.unpack_from(payload.ljust(layout.size, b"\0")))
        if layout.tail is not None:
            end = layout.size + values[-1] * ITEM[layout.tail.code]
            values[-1] = _tail_value(layout.tail.code, payload[layout.size : end])
        return cls(*values)

    @classmethod
    def accepts(cls, payload: bytes) -> bool:
        """Whether `payload` holds every required field and all that its tail counts."""
        if len(payload) < cls.REQUIRED:
            return False
        tail = cls.LAYOUT.tail
        return tail is None or len(payload) >= cls.REQUIRED + payload[tail.offset - 1] * ITEM[tail.code]


def lay_out(cls: type[Message], appended: frozenset[str] = frozenset()) -> None:
    """Set `LAYOUT` and `REQUIRED` of a message from its annotations; `appended` names fields of later minors."""
    hints = get_type_hints(cls, include_extras=True)
    fields: list[Field] = []
    tail, offset, required = None, 0, 0
    for name in cls.__struct_fields__:
        kind, *item = hints[name].__metadata__
        if kind == "tail":
            fields.append(Field(f"{name}_count", "B", offset))
            tail = Field(name, item[0], offset + 1)
            offset += 1
        else:
            fields.append(Field(name, kind, offset))
            offset += struct.calcsize("<" + kind)
        required = required if name in appended else offset
    cls.LAYOUT = Layout(tuple(fields), tail, struct.Struct("<" + "".join(f.code for f in fields)))
    cls.REQUIRED = required


def _tail_bytes(code: str, value: Any) -> bytes:
    if code == "u":
        return str(value).encode()
    return struct.pack(f"<{len(value)}f", *value) if code == "f" else bytes(value)


def _tail_value(code: str, data: bytes) -> Any:
    if code == "u":  # it may end on a terminal, so nothing in it may steer one
        return "".join(c if c.isprintable() else "?" for c in data.decode(errors="replace"))
    return struct.unpack(f"<{len(data) // 4}f", data) if code == "f" else data
