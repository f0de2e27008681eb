"""A board in Python and in simulated time: the device's side of docs/wire.md, as far as a conversation needs it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from support.integrator import plant_spec

from firmware_bridge import messages as msg
from firmware_bridge.conversation import Conversation
from firmware_bridge.layout import Message
from firmware_bridge.peer import Requirements
from firmware_bridge.schema import Schema, WireChannel
from firmware_bridge.wire import Frame, FrameDecoder, FrameEncoder
from rtsysid.spec import Arrival, Channel, Floats, ModelSpec

STEP_S = 0.005
Line = Callable[[bytes], bytes]


def table(rate_hz: float = 100.0, unit: str = "V") -> Schema:
    return Schema((WireChannel("u", unit, "input"), WireChannel("y", "m"), WireChannel("v", "m/s")), rate_hz)


class FakeBoard:
    """`mute`: types of requests that it does not answer. `ppm`: of its crystal. `started_s`: host time of its boot."""

    def __init__(self, schema: Schema | None = None, **changes: int) -> None:
        self.schema = schema or table()
        self.ack = {
            "magic": msg.MAGIC, "major": msg.MAJOR, "minor": 0, "session": 0, "max_payload": 240,
            "receive_window": 256, "timer_hz": 1_000_000, "uid": 7, "boot_id": 1, "reset_reason": 1,
            "channels": self.schema.width, "sample_size": self.schema.size, "period_us": self.schema.period_us,
            "schema_hash": self.schema.hash, "schema_size": len(self.schema.compressed), "model_hash": 0, **changes,
        }  # fmt: skip
        self.mute: set[type[Message]] = set()
        self.ppm, self.started_s = 0.0, 0.0
        self.heard: list[Message] = []
        self.counters = FrameDecoder().counters
        self.boot(0.0, self.ack["boot_id"])
        self.out = b""

    def boot(self, now_s: float, boot_id: int) -> None:
        self.ack["boot_id"], self.started_s = boot_id, now_s
        self.encoder, self.decoder = FrameEncoder(0, self.schema.hash), FrameDecoder(self.schema.hash, 0)
        self.divider = self.tick = 0
        self.beat_s = now_s
        self.ready = False
        self.say(msg.HelloAck(**self.ack | {"session": 0}, firmware="fake"), now_s)

    def clock_us(self, now_s: float) -> int:
        return int((now_s - self.started_s) * (1 + self.ppm * 1e-6) * 1e6)

    def say(self, message: Message, now_s: float) -> None:
        self.out = getattr(self, "out", b"") + self.encoder.encode(message, self.clock_us(now_s))

    def receive(self, data: bytes, now_s: float) -> None:
        for frame in self.decoder.feed(data):
            message = frame.message()
            self.heard.append(message)
            if type(message) not in self.mute:
                self.answer(frame, message, now_s)

    def answer(self, frame: Frame, message: Message, now_s: float) -> None:
        match message:
            case msg.Hello():
                self.encoder.session = self.decoder.session = message.session
                self.ready, self.divider, self.beat_s = True, 0, now_s
                self.say(msg.HelloAck(**self.ack | {"session": message.session}, firmware="fake 1.0"), now_s)
            case msg.SchemaGet():
                self.say(msg.SchemaData(message.offset, self.schema.piece(message.offset)), now_s)
            case msg.TimeReq():
                self.say(msg.TimeRsp(message.t0, *[self.clock_us(now_s) & 0xFFFFFFFF] * 2), now_s)
            case msg.Start():
                if not self.divider:
                    self.tick = int((now_s - self.started_s) * self.schema.rate_hz)
                self.divider = message.divider
                self.say(msg.Ack(frame.type, frame.seq, message.streams, message.divider), now_s)
            case msg.Stop():
                self.divider = 0
                self.say(msg.Ack(frame.type, frame.seq, 0, 1), now_s)

    def values(self, tick: int) -> Floats:
        """What it measures."""
        return np.array([tick, 0.5, -0.5], np.float32)

    def sample(self, now_s: float) -> None:
        """Capture and send what is due."""
        while self.divider and (self.tick + self.divider) / self.schema.rate_hz <= now_s - self.started_s:
            self.tick += self.divider
            captured_us = self.clock_us(self.started_s + self.tick / self.schema.rate_hz)
            payload = self.schema.pack(self.values(self.tick))
            self.out += self.encoder.encode_payload(msg.Sample.CODE, payload, captured_us)

    def poll(self, now_s: float) -> bytes:
        """Everything that it has to send by now."""
        self.sample(now_s)
        if self.ready and now_s >= self.beat_s and msg.Heartbeat not in self.mute:
            self.beat_s += 0.5
            zeros = dict.fromkeys(msg.Heartbeat.__struct_fields__, 0)
            self.say(msg.Heartbeat(**zeros), now_s)
        out, self.out = self.out, b""
        return out


def converse(
    talk: Conversation, board: FakeBoard, seconds: float, now_s: float, outward: Line = bytes, back: Line = bytes
) -> tuple[list[Arrival], float]:
    """Let both talk over a line that may change what it carries; all arrivals, and what time it is then."""
    arrivals: list[Arrival] = []
    end_s = now_s + seconds
    while now_s < end_s and talk.state not in ("lost", "closed"):
        said = b"".join(talk.encoder.encode(message, round(now_s * 1e6)) for message in talk.due(now_s))
        board.receive(outward(said), now_s + STEP_S / 2)
        answered = back(board.poll(now_s + STEP_S / 2))
        now_s += STEP_S
        arrivals += talk.feed(answered, now_s)
    return arrivals, now_s


def meeting(
    board: FakeBoard, requirements: Requirements | None = None, seconds: float = 2.0, started_s: float = 3.0
) -> tuple[Conversation, list[Any], float]:
    """A host and a board that booted at `started_s` meet at 10 s and talk for so long."""
    talk = Conversation(requirements or Requirements())
    talk.open(10.0)
    board.started_s = started_s
    arrivals, now_s = converse(talk, board, seconds, 10.0)
    return talk, arrivals, now_s


def said(board: FakeBoard, kind: type) -> int:
    return sum(type(message) is kind for message in board.heard)


def model(rate_hz: float = 100.0, **changes: Any) -> ModelSpec:
    """A specification of the fake board's channels."""
    spec = plant_spec()
    channels = tuple(Channel(c.name, c.unit, c.role) for c in table().spec_channels)
    fields = {name: getattr(spec, name) for name in ModelSpec.__struct_fields__}
    return ModelSpec(**{**fields, "channels": channels, "rate_hz": rate_hz, **changes})
