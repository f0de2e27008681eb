"""Rig: feed rows to the model on a board over the wire; each row is repeated until its prediction comes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple, NoReturn, Self, TypeVar

import numpy as np

from firmware_bridge import messages as msg
from firmware_bridge.layout import Message
from firmware_bridge.schema import Schema
from firmware_bridge.wire import FrameDecoder, FrameEncoder, WireCounters
from rtsysid.errors import LinkError
from rtsysid.source.port import Port, described
from rtsysid.spec import Floats

_AGAIN_S, _PATIENCE_S = 0.25, 10.0
_BEAT_S = msg.HEARTBEAT_US * 1e-6
M = TypeVar("M", bound=Message)


class StepAnswer(NamedTuple):
    """Prediction ``y`` [ny], float32; ``status``: code; ``spent_us``: duration of the step by the board's clock."""

    y: Floats
    status: int
    spent_us: int


class Rig:
    """A line to a board with a model; `with` closes it.

    Every method raises LinkError where the board is silent for 10 s, or the line breaks.

    `again_s`: time in seconds after which a message without an answer is repeated. ``board``: its HELLO_ACK.
    ``repeats``: number of repeated messages.
    """

    def __init__(
        self,
        port: str,
        baudrate: int | None = None,
        clock: Callable[[], float] = time.monotonic,
        again_s: float = _AGAIN_S,
    ) -> None:
        self._name, self._clock, self._again_s = port, clock, again_s
        try:
            self._port = Port(port, baudrate)
        except OSError as error:
            raise LinkError(f"port {port}", described(error), "is the board plugged in, and free?") from None
        self._decoder, self._encoder = FrameDecoder(), FrameEncoder()
        self._session = self._index = 0
        self._beat_s = clock()
        self.repeats = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._port.__exit__()

    def greet(self) -> msg.HelloAck:
        """Start a session: reset the counters of both sides and the model, and return the board's description.

        Raises LinkError where the board does not answer, or speaks another protocol.
        """
        self._session = self._session % 255 + 1
        self._decoder, self._encoder = FrameDecoder(session=self._session), FrameEncoder(self._session)
        self._index = self.repeats = 0
        hello = msg.Hello(msg.MAGIC, msg.MAJOR, msg.MINOR, self._session, msg.MAX_PAYLOAD)
        self.board = self._ask(hello, msg.HelloAck, lambda ack: ack.session == self._session)
        if self.board.major != msg.MAJOR:
            raise LinkError(
                f"board {self.board.firmware}", "it speaks another protocol", "flash this release's firmware"
            )
        self._decoder.schema = self._encoder.schema = self.board.schema_hash
        self._decoder.counters = WireCounters()  # earlier bytes may have been the end of a frame
        self.repeats = 0
        return self.board

    def table(self) -> Schema:
        """Read the channel table from the board. Raises LinkError where the board does not answer."""
        read = b""
        while len(read) < self.board.schema_size:
            at = len(read)
            read += self._ask(msg.SchemaGet(at), msg.SchemaData, lambda piece, at=at: piece.offset == at).data  # type: ignore[misc]
        return Schema.decompress(read)

    def reset(self) -> None:
        """Reset the model: the next row is the first."""
        self._index = 0

    def step(self, row: Floats, patience_s: float = _PATIENCE_S) -> StepAnswer:
        """Feed one row [C] and return the board's prediction. Raises LinkError where none comes."""
        asked = self._encoder.frames
        found = self._ask(
            msg.TraceSample(self._index, tuple(row.tolist())),
            msg.Prediction,
            lambda p: 0 <= (p.ref_seq - asked) % (1 << 16) < self._encoder.frames - asked,
            patience_s,
        )
        self._index += 1
        return StepAnswer(np.array(found.y, np.float32), found.status, found.age_us)

    def play(self, rows: Floats, period_s: float = 0.0) -> list[StepAnswer]:
        """Feed a recording [n, C] from a cold start, as fast as possible, or one row each `period_s` seconds."""
        self.reset()
        begun_s, answers = self._clock(), []
        for number, row in enumerate(rows):
            while (early_s := begun_s + number * period_s - self._clock()) > 0:
                self._hear(early_s)
            answers.append(self.step(row))
        return answers

    def heartbeat(self) -> msg.Heartbeat:
        """Wait for the next heartbeat, with the board's counters. Raises LinkError where none comes."""
        return self._expect(msg.Heartbeat, lambda _: True, _PATIENCE_S) or self._silent("HEARTBEAT", _PATIENCE_S)

    def faults(self) -> dict[str, int]:
        """Return the counters of faults that are not zero, of both sides, after a new heartbeat."""
        beat, here = self.heartbeat(), self._decoder.counters
        wrong = ("crc", "cobs", "oversize", "runt", "schema", "unknown", "malformed", "duplicate", "lost", "reordered")
        counts = {f"host {name}": getattr(here, name) for name in wrong}
        counts |= {f"board {name}": getattr(beat, f"rx_{name}") for name in (*wrong, "overrun")}
        counts |= {"board tx_drop": beat.tx_drop, "repeats": self.repeats}
        return {name: count for name, count in counts.items() if count}

    def _ask(self, message: Message, kind: type[M], fits: Callable[[M], bool], patience_s: float = _PATIENCE_S) -> M:
        """Send `message` until a matching answer comes."""
        give_up_s = self._clock() + patience_s
        while self._clock() < give_up_s:
            self._say(message)
            if (found := self._expect(kind, fits, self._again_s)) is not None:
                return found
            self.repeats += 1
        return self._silent(kind.wire_name(), patience_s)

    def _expect(self, kind: type[M], fits: Callable[[M], bool], patience_s: float) -> M | None:
        """Return the next matching message of this kind; None after `patience_s` seconds."""
        until_s = self._clock() + patience_s
        while (left_s := until_s - self._clock()) > 0:
            for found in self._hear(left_s):
                if isinstance(found, msg.Error):
                    raise LinkError(f"board at {self._name}", found.text, "build its firmware from this bundle")
                if isinstance(found, kind) and fits(found):
                    return found
        return None

    def _silent(self, wanted: str, patience_s: float) -> NoReturn:
        raise LinkError(f"board at {self._name}", f"no {wanted} in {patience_s:g} s", "is it running?")

    def _hear(self, patience_s: float) -> list[Message]:
        """Return the messages that come within `patience_s` seconds; send heartbeats meanwhile."""
        if self._clock() - self._beat_s >= _BEAT_S:
            self._beat_s = self._clock()
            self._say(msg.Heartbeat(**dict.fromkeys(msg.Heartbeat.__struct_fields__, 0)))
        try:
            data = self._port.read(min(patience_s, _BEAT_S))
        except OSError as error:
            raise self._gone(error) from None
        return [frame.message() for frame in self._decoder.feed(data)]

    def _say(self, message: Message) -> None:
        data, until_s = self._encoder.encode(message, round(self._clock() * 1e6)), self._clock() + _PATIENCE_S
        try:
            while data:
                data = data[self._port.write(data) :]
                if self._clock() > until_s:
                    raise TimeoutError("it takes no bytes")
        except OSError as error:
            raise self._gone(error) from None

    def _gone(self, error: OSError) -> LinkError:
        return LinkError(f"port {self._name}", described(error), "plug the board in again")
