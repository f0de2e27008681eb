"""Define files of ROS messages: an MCAP file, a ROS 1 bag, a database of ROS 2. Each has channels of one type."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import IO, NamedTuple, Protocol

import msgspec

from rtsysid.errors import TraceError
from rtsysid.rosmsg import MessageType

INDEX_DAMAGED = "its index is damaged, and every message is there"


class Damage(ValueError):
    """Report that a file cannot be read from byte `at` on, where that is known. The message is one line of reason."""

    def __init__(self, reason: object, at: int | None = None) -> None:
        super().__init__(" ".join(str(reason).split())[:120] or type(reason).__name__)
        self.at = at


class Torn(Damage):
    """Report a file that ends inside the record at byte `at`, or ends there without a footer."""

    def __init__(self, at: int) -> None:
        super().__init__(f"it ends inside the record at byte {at}", at)
        self.at: int = at


class TableRow(msgspec.Struct):
    """Map a field of the messages to a channel."""

    field: str
    name: str
    unit: str = ""


class BagTopic(NamedTuple):
    """Describe a channel: a topic and the type of its messages, which is None where they cannot be decoded.

    ``messages``: their number, None where the file does not state it. ``problem``: why the type is unknown, where there
    is a reason.
    """

    name: str
    type_name: str
    type: MessageType | None
    metadata: Mapping[str, str]
    messages: int | None
    problem: str = ""

    @classmethod
    def of(
        cls,
        name: str,
        type_name: str,
        kind: MessageType | str,
        messages: int | None,
        metadata: Mapping[str, str] = MappingProxyType({}),
    ) -> BagTopic:
        """Describe a channel of a type, or of none for the reason `kind`. The type has the name that ROS 2 gives it."""
        if isinstance(kind, str):
            return cls(name, type_name, None, metadata, messages, kind)
        full = type_name.replace("/", "/msg/") if type_name.count("/") == 1 else type_name
        return cls(name, full, kind, metadata, messages)

    def table(self) -> list[TableRow]:
        """Return the channel table of a recording of rtsysid. Raises ValueError where there is none."""
        try:
            return msgspec.json.decode(self.metadata.get("channels", ""), type=list[TableRow])
        except (msgspec.MsgspecError, RecursionError) as error:
            raise ValueError(f"its channel table: {error}") from None


class MessageBatch(NamedTuple):
    """Hold successive messages of a file: channel, log time in ns, bytes."""

    channels: list[int]
    log_ns: list[int]
    payloads: list[bytes]

    @classmethod
    def empty(cls) -> MessageBatch:
        """Return a batch to fill."""
        return cls([], [], [])

    def extend(self, other: MessageBatch) -> None:
        """Append the messages of another batch."""
        self.channels.extend(other.channels)
        self.log_ns.extend(other.log_ns)
        self.payloads.extend(other.payloads)

    def by_channel(self) -> dict[int, MessageBatch]:
        """Return the messages of each channel."""
        if len(set(self.channels)) == 1:
            return {self.channels[0]: self}
        parts = {number: MessageBatch.empty() for number in set(self.channels)}
        for number, log_ns, payload in zip(*self, strict=True):
            part = parts[number]
            part.channels.append(number)
            part.log_ns.append(log_ns)
            part.payloads.append(payload)
        return parts


class MessageFile(Protocol):
    """Define a file of messages. ``missing``: what was cut off, as in `TopicLog`."""

    path: Path
    missing: str

    @property
    def topics(self) -> Mapping[int, BagTopic]:
        """Return the channels by number; several may be of one topic."""

    def stream(self, channels: Collection[int]) -> Iterator[MessageBatch]:
        """Stream the messages of channels in the order of the file, in batches of any size.

        Raises Damage, after the last message that can be read, where the file cannot be read any further, TraceError
        where it exceeds the limits.
        """


@contextmanager
def opened_file(path: Path) -> Iterator[IO[bytes]]:
    """Open a file. Raises TraceError where it cannot be read."""
    try:
        with open(path, "rb") as stream:
            yield stream
    except OSError as error:
        reason = error.strerror or str(error)
        raise TraceError(f"cannot read {path.name}", reason, "check the file and its permissions") from error


def what_is_lost(damage: Damage, size: int, seconds: float | None) -> str:
    """Say what is missing of a file of `size` bytes or more, whose damage is `seconds` after its first message."""
    after = "" if seconds is None else f" after {seconds:.1f} s"
    how = f"cut off{after}" if isinstance(damage, Torn) else f"damaged{after} ({damage})"
    left = "what follows" if damage.at is None else f"at least {size - damage.at} of {size} bytes"
    return f"{how}: {left} cannot be read"
