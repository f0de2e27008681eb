"""A board that counts its samples as the firmware does; a cable that loses, repeats, exchanges and damages frames."""

from __future__ import annotations

import random
from collections.abc import Sequence

from support.fake_board import FakeBoard

from firmware_bridge import messages as msg
from firmware_bridge.layout import Message
from firmware_bridge.wire import DELIMITER, Frame

BASE = 5  # samples that this board captured for somebody else before


class CountingBoard(FakeBoard):
    """``captured``: samples that it gave to a stream, over all boots."""

    captured = since_boot = began = 0

    def boot(self, now_s: float, boot_id: int) -> None:
        self.since_boot = BASE
        super().boot(now_s, boot_id)

    def answer(self, frame: Frame, message: Message, now_s: float) -> None:
        match message:
            case msg.Start():
                if not self.divider:
                    self.tick = int((now_s - self.started_s) * self.schema.rate_hz)
                    self.began = self.since_boot
                self.divider = message.divider
                self.say(msg.Ack(frame.type, frame.seq, message.streams, message.divider, self.began), now_s)
            case msg.Stop():
                self.sample(now_s)
                self.divider = 0
                self.say(msg.Ack(frame.type, frame.seq, 0, 1, self.since_boot), now_s)
            case _:
                super().answer(frame, message, now_s)

    def sample(self, now_s: float) -> None:
        """Capture and send what is due."""
        before = self.tick
        super().sample(now_s)
        self.captured += self.tick - before
        self.since_boot += self.tick - before


def lose(frames: list[bytes], _chance: random.Random) -> list[bytes]:
    return frames[1:]


def repeat(frames: list[bytes], _chance: random.Random) -> list[bytes]:
    return [frames[0], *frames]


def repeat_later(frames: list[bytes], _chance: random.Random) -> list[bytes]:
    return [*frames, *frames]


def exchange(frames: list[bytes], chance: random.Random) -> list[bytes]:
    return chance.sample(frames, len(frames))


def flip(frames: list[bytes], chance: random.Random) -> list[bytes]:
    damaged = bytearray(frames[0])
    damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
    return [bytes(damaged), *frames[1:]]


def cut(frames: list[bytes], chance: random.Random) -> list[bytes]:
    return [frames[0][: chance.randrange(len(frames[0]))], *frames[1:]]


FAULTS = (lose, repeat, repeat_later, exchange, flip, cut)


class Cable:
    """Carry frames in pieces of a few, and do one of `faults` to a share of the pieces."""

    def __init__(self, chance: random.Random, faults: Sequence[object], share: float) -> None:
        self.chance, self.faults, self.share, self.waiting = chance, tuple(faults), share, list[bytes]()

    def carry(self, data: bytes) -> bytes:
        self.waiting += [piece + DELIMITER for piece in data.split(DELIMITER) if piece]
        if len(self.waiting) < self.chance.randrange(1, 5):
            return b""
        frames, self.waiting = self.waiting, []
        if self.faults and self.chance.random() < self.share:
            frames = self.chance.choice(self.faults)(frames, self.chance)  # type: ignore[operator]
        return b"".join(frames)
