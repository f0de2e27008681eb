"""Find the type of messages: parse the definition that a file holds, or know those that ROS ships."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import NamedTuple

from rtsysid.guards.limits import checked_size, limit
from rtsysid.rosmsg import CDR, ROS1, RULE, MessageType

_WIRES = {"ros2msg": CDR, "ros2idl": CDR, "ros1msg": ROS1}
_DISTRO = "humble"  # the last release whose databases hold no definitions


class Definition(NamedTuple):
    """Hold the definition of a type as a file states it; ``encoding``: of the text."""

    name: str
    text: str
    encoding: str


def parsed_types(path: Path, definitions: Iterable[Definition]) -> dict[Definition, MessageType | str]:
    """Parse definitions; a type is the reason where it cannot be parsed, and "" where its encoding is not of ROS.

    Raises TraceError where the types have too many values.
    """
    types: dict[Definition, MessageType | str] = {}
    values = 0
    for each in definitions:
        if each not in types:
            kind = types[each] = _message_type(each)
            values += len(kind.names) if isinstance(kind, MessageType) else 0
            checked_size(f"recording {path.name}: values of its message types", values, "columns")
    return types


def _message_type(definition: Definition) -> MessageType | str:
    name, text, encoding = definition
    if encoding not in _WIRES:
        return ""
    if len(text) > limit("definition_bytes"):
        return f"a definition of {len(text)} bytes, above the limit definition_bytes"
    try:
        return MessageType(name, _text_of_idl(name, text) if encoding == "ros2idl" else text, _WIRES[encoding])
    except ValueError as error:
        return str(error)


@cache
def shipped_type(name: str, distro: str = "") -> MessageType | str:
    """Return a type that a release of ROS 2 ships, for files that hold no definition; the reason where it does not.

    Raises ImportError where rosbags is not installed.
    """
    from rosbags.typesys import Stores, get_typestore

    known = {each.value: each for each in Stores}
    store = get_typestore(known.get(f"ros2_{distro}", known[f"ros2_{_DISTRO}"]))
    if name not in store.fielddefs:
        return "its definition is neither in the file nor part of ROS"
    return MessageType(name, store.generate_msgdef(name, ros_version=2)[0])


def _text_of_idl(name: str, definition: str) -> str:
    """Convert definitions in IDL. Raises ValueError where they cannot be read."""
    from rosbags.typesys import Stores, get_types_from_idl, get_typestore

    store = get_typestore(Stores.EMPTY)
    parts = definition.split(RULE)[1:] if definition.startswith(f"{RULE}IDL: ") else [f"\n{definition}"]
    try:
        for part in parts:
            store.register(get_types_from_idl(part.partition("\n")[2]))
        text: str = store.generate_msgdef(name, ros_version=2)[0]
    except Exception as error:  # the parser has errors of its own, and fails in many ways
        raise ValueError(f"its definition in IDL: {' '.join(str(error).split())[:80]}") from None
    return text
