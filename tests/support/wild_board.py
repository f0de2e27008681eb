"""A board that misbehaves: right answers, and among them forged, lost, repeated, late and exchanged frames."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
from support.fake_board import FakeBoard

from firmware_bridge import messages as msg
from firmware_bridge.layout import Message
from firmware_bridge.wire import DELIMITER, Frame, encode_frame

BITS = {"B": 8, "H": 16, "I": 32, "Q": 64}
FROM_BOARD = [each for each in msg.MESSAGES.values() if each.DIRECTION != "host>device"]
FROM_HOST = [each for each in msg.MESSAGES.values() if each.DIRECTION == "host>device"]


def edge(chance: random.Random, code: str) -> int:
    """A number of a field: an end of its range, a power of two or near it, or any."""
    bits = BITS[code]
    near = (1 << chance.randrange(bits)) + chance.choice((-1, 0, 1))
    return chance.choice((0, 1, (1 << bits) - 1, near, chance.getrandbits(bits))) & (1 << bits) - 1


def tail(chance: random.Random, code: str) -> Any:
    count = chance.choice((0, 1, 3, 50))
    if code == "f":
        return tuple(chance.choice((0.0, -1.5, float("nan"), float("inf"))) for _ in range(count))
    return chance.randbytes(count) if code == "s" else "x\x1b" * (count // 2)


def forged(chance: random.Random, kind: type[Message], **known: Any) -> Message:
    """A message of this kind with a number in every field that its width allows, but for the `known` ones."""
    layout = kind.LAYOUT
    values = {field.name: edge(chance, field.code) for field in layout.fields}
    if layout.tail is not None:
        values.pop(f"{layout.tail.name}_count")
        values[layout.tail.name] = tail(chance, layout.tail.code)
    return kind(**{**values, **known})


class WildBoard(FakeBoard):
    """`wild`: how often a step brings something wrong, 0 to 1."""

    def __init__(self, chance: random.Random, wild: float, **changes: int) -> None:
        self.chance, self.wild, self.skew_s = chance, wild, 0.0
        super().__init__(**changes)

    def clock_us(self, now_s: float) -> int:
        return super().clock_us(now_s + self.skew_s)

    def poll(self, now_s: float) -> bytes:
        self.tick = max(self.tick, int((now_s - self.started_s) * self.schema.rate_hz) - 20)  # it has no larger ring
        if self.chance.random() < self.wild:
            self.upset(now_s)
        frames = [piece + DELIMITER for piece in super().poll(now_s).split(DELIMITER) if piece]
        if self.chance.random() < self.wild:
            frames = self.shuffled(frames)
        return b"".join(frames)

    def upset(self, now_s: float) -> None:
        """Change what the board is: its clock, its boot, its stream; or say what nobody asked for."""
        event = self.chance.randrange(8)
        if event == 0:
            self.skew_s += self.chance.choice((-1, 1)) * 10 ** self.chance.uniform(-3, 4)
        elif event == 1:
            self.boot(now_s, self.chance.choice((self.ack["boot_id"], self.chance.getrandbits(32))))
        elif event == 2:
            self.divider = self.chance.choice((0, 1, 7))
        else:
            self.forge(now_s)

    def forge(self, now_s: float) -> None:
        """Say something wrong in a whole frame, often of this session, with any time and any number."""
        kind = self.chance.choice([*FROM_BOARD, *FROM_BOARD, *FROM_HOST])
        known = {"magic": msg.MAGIC, "session": self.encoder.session} if kind is msg.HelloAck else {}
        message = forged(self.chance, kind, **known)
        payload = self.schema.pack(np.zeros(self.schema.width, np.float32)) if kind is msg.Sample else message.pack()
        for _ in range(self.chance.choice((1, 1, 1, 30))):
            t_us = self.chance.choice((self.clock_us(now_s) & 0xFFFFFFFF, edge(self.chance, "I")))
            seq = self.chance.choice((self.encoder.frames & 0xFFFF, edge(self.chance, "H")))
            session = self.chance.choice((self.encoder.session, self.encoder.session, edge(self.chance, "B")))
            self.out += encode_frame(Frame(kind.CODE, session, seq, t_us, payload), self.schema.hash)

    def shuffled(self, frames: list[bytes]) -> list[bytes]:
        """Lose, repeat, exchange or damage frames."""
        fault = self.chance.randrange(5)
        if fault == 0:
            return [frame for frame in frames if self.chance.random() < 0.5]
        if fault == 1:
            return [frame for frame in frames for _ in range(self.chance.choice((1, 2)))]
        if fault == 2:
            return self.chance.sample(frames, len(frames))
        if fault == 3:
            return [frame[: self.chance.randrange(len(frame)) + 1] for frame in frames]
        self.out = b"".join(frames) + self.out  # late: they come with the next ones
        return []
