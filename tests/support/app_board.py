"""A board that runs firmware/app.c under ASan and UBSan: its clock and its wires are the test's."""

from __future__ import annotations

import struct
from typing import Any, TypeVar

import numpy as np
from support.c_process import CProcess

from firmware_bridge import messages as m
from firmware_bridge.build import APP
from firmware_bridge.layout import Message
from firmware_bridge.schema import Schema, WireChannel
from firmware_bridge.wire import Frame, FrameDecoder, FrameEncoder
from rtsysid.spec import Floats

SCHEMA = Schema((*(WireChannel(f"c{i}") for i in range(10)), WireChannel("m", kind="u8")), 500.0)
SESSION = 5
M = TypeVar("M", bound=Message)


class Board(CProcess):
    """A board under a test: `poll` moves time, runs the main loop once, and decodes what the board sent."""

    def __init__(self) -> None:
        super().__init__("app_driver", APP)
        self.boot()

    def boot(self, boot_id: int = 77, schema: Schema = SCHEMA, now: int = 1000) -> None:
        self.now = now
        self.decoder, self.encoder = FrameDecoder(schema.hash), FrameEncoder(SESSION, schema.hash)
        self.step = 0
        self.tell(b"T", struct.pack("<II", now & 0xFFFFFFFF, 0))
        self.tell(b"W", struct.pack("<I", 1 << 16))
        identity = struct.pack("<IIIBB", boot_id, schema.hash, schema.period_us, schema.width, schema.size)
        self.tell(b"B", identity + schema.compressed)

    def poll(self, us: int = 0) -> list[Frame]:
        self.now += us
        self.tell(b"T", struct.pack("<II", self.now & 0xFFFFFFFF, self.step))
        self.sent = self.ask(b"P")
        return self.decoder.feed(self.sent)

    def hear(self, *messages: Message) -> list[Frame]:
        """What the board sends when these arrive."""
        return self.hear_bytes(b"".join(self.encoder.encode(x, self.now) for x in messages))

    def hear_bytes(self, data: bytes) -> list[Frame]:
        self.tell(b"R", data)
        return self.poll()

    def capture(self, values: Floats, t_us: int | None = None) -> None:
        self.tell(b"S", struct.pack("<I", self.now if t_us is None else t_us) + SCHEMA.pack(values))

    def room(self, count: int) -> None:
        self.tell(b"W", struct.pack("<I", count))

    def latest(self) -> tuple[Any, ...] | None:
        """ref_seq, status, age, horizon, instant of arrival, and y of the mailbox."""
        data = self.ask(b"G")
        if not data:
            return None
        ref_seq, status, count, *times = struct.unpack_from("<HBBIII", data)
        return ref_seq, status, *times, struct.unpack_from(f"<{count}f", data, 16)

    @property
    def state(self) -> m.State:
        return m.State(self.ask(b"Q")[0])

    @property
    def safes(self) -> int:
        """How often the board was told to bring its outputs to safety."""
        return int.from_bytes(self.ask(b"Q")[2:], "little")

    def live(self, us: int) -> list[Frame]:
        """So many microseconds of both hearts beating."""
        frames = []
        for _ in range(us // 250_000):
            frames += self.poll(250_000) + self.hear(HOST_BEAT)
        return frames


HOST_BEAT = m.Heartbeat(*(0,) * len(m.Heartbeat.__struct_fields__))
HELLO = m.Hello(m.MAGIC, m.MAJOR, m.MINOR, SESSION, m.MAX_PAYLOAD)
START = m.Start(1, 1, SCHEMA.hash)


def values(seed: int = 0) -> Floats:
    return np.append(np.random.default_rng(seed).normal(size=10), 3).astype(np.float32)


def only(frames: list[Frame], kind: type[M]) -> list[M]:
    return [x for f in frames if isinstance(x := f.message(), kind)]


def heartbeat(board: Board) -> m.Heartbeat:
    [beat] = only(board.poll(500_000), m.Heartbeat)
    return beat
