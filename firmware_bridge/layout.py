"""Message: a class whose annotated fields define the bytes of a payload, little-endian without padding.

A message may end in one tail of variable length; the byte before it is the count of its items. Later versions append
fixed fields only, and only to a message without a tail, so that both sides can read older and newer payloads by their
length.
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
    """One field. ``code``: a struct code; for a tail ``s`` bytes, ``u`` UTF-8 text, ``f`` binary32."""

    name: str
    code: str
    offset: int


class Layout(NamedTuple):
    """Layout of a payload. ``packing``: the fixed fields, then the count of the tail. ``size``: their bytes."""

    fields: tuple[Field, ...]
    tail: Field | None
    packing: struct.Struct

    @property
    def size(self) -> int:
        """Bytes of the fixed fields and of the count of the tail."""
        return self.packing.size


class Message(msgspec.Struct, frozen=True):
    """One message. `CODE`: its type byte; `SEEDED`: whether its CRC starts from the schema hash.

    `REQUIRED`: the least number of bytes of a payload; fields appended by a later version read as zero if missing.
    """

    CODE: ClassVar[int]
    DIRECTION: ClassVar[Direction]
    SEEDED: ClassVar[bool] = False
    LAYOUT: ClassVar[Layout]
    REQUIRED: ClassVar[int]

    @classmethod
    def wire_name(cls) -> str:
        """Return the name in C, in documents and in errors: ``HelloAck`` -> ``HELLO_ACK``."""
        return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", cls.__name__).upper()

    def pack(self) -> bytes:
        """Pack the payload. Raises LinkError where a value does not fit its field."""
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
        """Unpack a payload that `accepts` accepts; bytes after the known fields are ignored."""
        layout = cls.LAYOUT
        values: list[Any] = list(layout.packing.unpack_from(payload.ljust(layout.size, b"\0")))
        if layout.tail is not None:
            end = layout.size + values[-1] * ITEM[layout.tail.code]
            values[-1] = _tail_value(layout.tail.code, payload[layout.size : end])
        return cls(*values)

    @classmethod
    def accepts(cls, payload: bytes) -> bool:
        """Return whether `payload` holds every required field and every item of its tail."""
        if len(payload) < cls.REQUIRED:
            return False
        tail = cls.LAYOUT.tail
        return tail is None or len(payload) >= cls.REQUIRED + payload[tail.offset - 1] * ITEM[tail.code]


def lay_out(cls: type[Message], appended: frozenset[str] = frozenset()) -> None:
    """Set `LAYOUT` and `REQUIRED` of a message from its annotations; `appended`: fields of later minor versions."""
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
    if code == "u":  # no control characters, since it may be printed on a terminal
        return "".join(c if c.isprintable() else "?" for c in data.decode(errors="replace"))
    return struct.unpack(f"<{len(data) // 4}f", data) if code == "f" else data
