"""Messages of ROS 2 as bytes become numbers by name. A piece that begins with an empty key tells a definition.

The time of a message is that of its publication. ``header.stamp`` is one of its other stamps. An element of an array
is ``position[0]``, and also ``position[left]`` where a list of as many texts names it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from rtsysid.guards.limits import limit
from rtsysid.rosmsg import SHORT, MessageType
from rtsysid.sources.format import Outgoing
from rtsysid.sources.messages import LARGEST, TopicMessage, as_number
from rtsysid.sources.order import SequenceNumbers
from rtsysid.sources.ros2.keys import TopicKey, piece_of, read_attachment, split_piece

_MOST_TYPES, _MOST_SENDERS = 256, 256


class Ros2Format:
    """Decode pieces (`keys.piece_of`). `encode` returns nothing: predictions are published by the source."""

    wants = "publish types that ROS ships, or give msg=FOLDER with the definitions"

    def __init__(self) -> None:
        self.corrupt = 0
        self._types: dict[str, MessageType] = {}
        self._numbers: dict[tuple[str, bytes], SequenceNumbers] = {}

    @property
    def lost(self) -> int:
        """Messages that never came, by the numbers of their publishers."""
        return sum(each.lost for each in self._numbers.values())

    def about(self) -> dict[str, Any]:
        """Return what makes the same format again; definitions are among the pieces."""
        return {"format": "ros2"}

    def reset(self) -> None:
        """Do nothing: each piece is whole."""

    def decode(self, data: bytes, now_s: float) -> Iterator[TopicMessage]:
        """Yield the message of a piece; one that does not fit its type counts as corrupt."""
        try:
            key, attached, payload = split_piece(data)
            if not key:
                self._define(payload)
                return
            found = self._message(key, attached, payload, now_s)
        except (ValueError, KeyError, TypeError, RecursionError):
            self.corrupt += 1
            return
        if found is not None:
            yield found

    def encode(self, outgoing: Outgoing) -> Sequence[bytes]:
        """Return nothing."""
        return ()

    def _define(self, payload: bytes) -> None:
        told = json.loads(payload)
        if len(self._types) >= _MOST_TYPES or len(told["text"]) > limit("definition_bytes"):
            raise ValueError("too many types, or too long")
        self._types[told["type"]] = MessageType(told["type"], told["text"])

    def _message(self, text: str, attached: bytes, payload: bytes, now_s: float) -> TopicMessage | None:
        key = TopicKey.parse(text)
        kind = None if key is None else self._types.get(key.type_name)
        if key is None or kind is None:
            return None
        if len(payload) > LARGEST:
            raise ValueError("too long")
        t = now_s
        if (attachment := read_attachment(attached)) is not None:
            t = attachment[0].published_ns * 1e-9
            self._count(key.topic, attachment[1], attachment[0].number)
        stamps = dict[str, float]()
        return TopicMessage(key.topic, t, dict(_numbers_of(kind, kind.unpack(payload), stamps)), stamps)

    def _count(self, topic: str, sender: bytes, number: int) -> None:
        if number >= 0 and ((topic, sender) in self._numbers or len(self._numbers) < _MOST_SENDERS):
            self._numbers.setdefault((topic, sender), SequenceNumbers(1 << 63)).add(number)


def definition_piece(type_name: str, text: str) -> bytes:
    """Return the piece that tells the definition of a type."""
    return piece_of("", b"", json.dumps({"type": type_name, "text": text}).encode())


def _numbers_of(kind: MessageType, values: Sequence[Any], stamps: dict[str, float]) -> Iterator[tuple[str, float]]:
    """Yield the numbers of a message by name, and put its times into `stamps`."""
    by_name = dict(zip(kind.names, values, strict=True))
    for name in kind.instants:
        if f"{name}.sec" in by_name:
            stamps[name] = by_name[f"{name}.sec"] + by_name[f"{name}.nanosec"] * 1e-9
    texts = [each for each in by_name.values() if isinstance(each, list) and each and isinstance(each[0], str)]
    for name, value in by_name.items():
        if isinstance(value, (int, float)):
            yield name, as_number(value)
        elif isinstance(value, list) and value and isinstance(value[0], (int, float)):
            labels = next((each for each in texts if len(each) == len(value)), ())
            yield from _array_elements(name, value, labels)


def _array_elements(name: str, value: Sequence[float], labels: Sequence[str]) -> Iterator[tuple[str, float]]:
    for index, each in enumerate(value[:SHORT]):
        yield f"{name}[{index}]", as_number(each)
        if index < len(labels):
            yield f"{name}[{labels[index]}]", as_number(each)
