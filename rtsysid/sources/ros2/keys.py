"""Keys, liveliness tokens and attachments as rmw_zenoh makes them, and pieces of bytes that hold one message each.

Ref: https://github.com/ros2/rmw_zenoh/blob/rolling/docs/design.md
"""

from __future__ import annotations

import re
import struct
from typing import NamedTuple

NO_HASH = "TypeHashNotSupported"  # in place of the hash, before ROS 2 Iron
QOS = "::,10:,:,:,,"  # the default: reliable, volatile, the last ten
_ATTACHED = struct.Struct("<qqB")  # number, time in ns, length of the publisher's identity
_PIECE = struct.Struct("<HH")  # lengths of key and attachment
_TYPE = re.compile(r"(\w+)::(msg|srv|action)::dds_::(\w+)_")


class TopicKey(NamedTuple):
    """Hold the parts of a key. ``topic`` with its leading slash; ``type_name`` as ``std_msgs/msg/String``."""

    domain: int
    topic: str
    type_name: str
    type_hash: str

    def __str__(self) -> str:
        return f"{self.domain}/{self.topic.strip('/')}/{dds_name(self.type_name)}/{self.type_hash}"

    @classmethod
    def parse(cls, text: str) -> TopicKey | None:
        """Read a key; None where it is not one of a topic."""
        parts = text.split("/")
        found = _TYPE.fullmatch(parts[-2]) if len(parts) >= 4 else None
        if found is None or not parts[0].isdecimal():
            return None
        return cls(int(parts[0]), "/" + "/".join(parts[1:-2]), "/".join(found.groups()), parts[-1])


class Attachment(NamedTuple):
    """Hold what comes with a message: its number, and when it was published, in ns of the day's clock."""

    number: int
    published_ns: int

    def pack(self, identity: bytes) -> bytes:
        """Return the bytes; `identity` [16] of the publisher."""
        return _ATTACHED.pack(self.number, self.published_ns, len(identity)) + identity


def read_attachment(data: bytes) -> tuple[Attachment, bytes] | None:
    """Read an attachment and the identity of its publisher; None where it is none."""
    if len(data) < _ATTACHED.size:
        return None
    number, published_ns, _ = _ATTACHED.unpack_from(data)
    return Attachment(number, published_ns), data[_ATTACHED.size :]


def piece_of(key: str, attachment: bytes, payload: bytes) -> bytes:
    """Return one message as bytes, to be recorded and decoded."""
    name = key.encode()
    return _PIECE.pack(len(name), len(attachment)) + name + attachment + payload


def split_piece(data: bytes) -> tuple[str, bytes, bytes]:
    """Return key, attachment and payload. Raises ValueError where the bytes are no piece."""
    if len(data) < _PIECE.size:
        raise ValueError("too short")
    name, attached = _PIECE.unpack_from(data)
    at = _PIECE.size + name
    if len(data) < at + attached:
        raise ValueError("too short")
    return data[_PIECE.size : at].decode(), data[at : at + attached], data[at + attached :]


def dds_name(type_name: str) -> str:
    """Return the name of a type on the wire: ``std_msgs::msg::dds_::String_``."""
    package, kind, name = type_name.split("/")
    return f"{package}::{kind}::dds_::{name}_"


def token(domain: int, session: str, entity: int, kind: str, node: str, key: TopicKey | None = None) -> str:
    """Return the liveliness token of a node (kind NN), a publisher (MP) or a subscription (MS)."""
    head = f"@ros2_lv/{domain}/{session}/0/{entity}/{kind}/%/%/{node}"
    if key is None:
        return head
    return f"{head}/{key.topic.replace('/', '%')}/{dds_name(key.type_name)}/{key.type_hash}/{QOS}"
