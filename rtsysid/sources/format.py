"""The format of a source: how bytes become messages, and how a prediction becomes bytes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Protocol

from rtsysid.sources.messages import TopicMessage
from rtsysid.spec import Channel, Floats


class Outgoing(NamedTuple):
    """A prediction on its way to a device: see `rtsysid.source.Source.predict`. ``t``: of its sample, device time in s.

    ``outputs``: the channels of ``y`` [ny].
    """

    seq: int
    t: float
    status: str
    age_s: float
    horizon_s: float
    y: Floats
    outputs: Sequence[Channel]


class StreamFormat(Protocol):
    """Decode what a transport delivers, and encode predictions. All of it depends on the bytes and their times alone.

    ``corrupt``: pieces that could not be read; ``lost``: messages that never came, by the numbers of the sender.
    ``wants``: what to send, for the line that says that no message came.
    """

    @property
    def wants(self) -> str: ...
    @property
    def corrupt(self) -> int: ...
    @property
    def lost(self) -> int: ...

    def about(self) -> dict[str, Any]:
        """Return what makes the same format again, as JSON takes it: ``format`` and its settings."""

    def reset(self) -> None:
        """Forget the piece of a message that came last: the line was opened again."""

    def decode(self, data: bytes, now_s: float) -> Iterable[TopicMessage]:
        """Return the messages that `data`, read at `now_s`, completes. Never raises for bytes from outside."""

    def encode(self, outgoing: Outgoing) -> Sequence[bytes]:
        """Return the pieces to send for a prediction; none where the device takes none."""


class Transport(Protocol):
    """An open connection. Methods raise OSError where it is lost, and EOFError where there is no more to come."""

    def receive(self, timeout_s: float) -> Sequence[bytes]:
        """Return what has come, one item a datagram; wait up to `timeout_s` seconds for the first."""

    def send(self, data: bytes) -> bool:
        """Send without waiting; return whether it was taken."""

    def close(self) -> None:
        """Close; may be called again."""
