"""Frames on a serial line: ``COBS(header 8 B | payload 0..240 B | CRC-32 4 B) 00``, little-endian.

The CRC of messages that carry samples or predictions is seeded with the hash of the channel table, so that two sides
that disagree on the channels cannot exchange data.
"""

from __future__ import annotations

import struct
import zlib
from typing import NamedTuple

import msgspec
from cobs import cobs

from firmware_bridge.layout import Message
from firmware_bridge.messages import HEADER, MAX_PAYLOAD, MESSAGES, SILENCE_US, Hello, HelloAck
from rtsysid.errors import LinkError

DELIMITER = b"\0"
_HEADER = struct.Struct("<" + "".join(code for _, code in HEADER))
_CRC = struct.Struct("<I")
OVERHEAD = _HEADER.size + _CRC.size + 2  # bytes that a frame adds to its payload: header, CRC, COBS, delimiter
MAX_FRAME = MAX_PAYLOAD + OVERHEAD
_SHORTEST = _HEADER.size + _CRC.size
_SEEDED = frozenset(code for code, message in MESSAGES.items() if message.SEEDED)
_OPENING = frozenset({Hello.CODE, HelloAck.CODE})
_WINDOW = 256  # a frame comes late by fewer numbers than this; WIRE_WINDOW of wire.h
_RECENT = (1 << _WINDOW) - 1


class Frame(NamedTuple):
    """One frame. ``t_us``: the sender's clock in microseconds, 32 bits; for a SAMPLE the instant of capture."""

    type: int
    session: int
    seq: int
    t_us: int
    payload: bytes

    def message(self) -> Message:
        """Unpack the payload as its message."""
        return MESSAGES[self.type].unpack(self.payload)


def ahead_of(seq: int, newest: int) -> int:
    """Return by how many numbers `seq` is after `newest`; 0 or negative for a frame that is late or repeated."""
    ahead = (seq - newest) & 0xFFFF
    return ahead - (1 << 16) if ahead > (1 << 16) - _WINDOW else ahead


def encode_frame(frame: Frame, schema: int = 0) -> bytes:
    """Encode one frame with its delimiter. Raises LinkError for a payload that is too long."""
    if len(frame.payload) > MAX_PAYLOAD:
        raise LinkError("payload", f"{len(frame.payload)} bytes", f"send at most {MAX_PAYLOAD}")
    raw = _HEADER.pack(*frame[:4]) + frame.payload
    seed = schema if frame.type in _SEEDED else 0
    encoded: bytes = cobs.encode(raw + _CRC.pack(zlib.crc32(raw, seed)))
    return encoded + DELIMITER


class FrameEncoder:
    """Encode one direction of a session: number the frames, and send an extra delimiter after silence."""

    def __init__(self, session: int = 0, schema: int = 0) -> None:
        self.session, self.schema = session, schema
        self.frames = 0
        self._last_us: int | None = None

    def encode(self, message: Message, t_us: int) -> bytes:
        """Encode `message`, sent at `t_us` of any monotonic clock. Raises LinkError where a value does not fit."""
        return self.encode_payload(message.CODE, message.pack(), t_us)

    def encode_payload(self, code: int, payload: bytes, t_us: int) -> bytes:
        """Encode a packed payload, such as that of a SAMPLE. Raises LinkError where it is too long."""
        frame = Frame(code, self.session, self.frames & 0xFFFF, t_us & 0xFFFFFFFF, payload)
        data = encode_frame(frame, self.schema)
        silent = self._last_us is None or t_us - self._last_us >= SILENCE_US
        self.frames, self._last_us = self.frames + 1, t_us
        return DELIMITER + data if silent else data


class WireCounters(msgspec.Struct):
    """Counts of what became of each piece between two delimiters; the first eleven add up to their number.

    ========== ================================================================================
    ok         delivered
    crc        checksum wrong
    cobs       no valid COBS code
    oversize   longer than any frame
    runt       shorter than any frame
    schema     checksums wrong by one constant: the sender has another channel table
    unverified with samples, but the channel table is not known yet
    foreign    of another session
    unknown    of a type that this side does not know
    malformed  payload too short for its type
    duplicate  of a number that had come already
    lost       numbers skipped; minus one for a frame that comes late
    reordered  delivered, but late
    ========== ================================================================================
    """

    ok: int = 0
    crc: int = 0
    cobs: int = 0
    oversize: int = 0
    runt: int = 0
    schema: int = 0
    unverified: int = 0
    foreign: int = 0
    unknown: int = 0
    malformed: int = 0
    duplicate: int = 0
    lost: int = 0
    reordered: int = 0

    @property
    def corrupt(self) -> int:
        """Pieces that were no frame: changed, cut, or joined."""
        return self.crc + self.cobs + self.oversize + self.runt

    @property
    def clean(self) -> bool:
        """Whether there was no fault on the wire; unverified and foreign frames are from before the session."""
        return not any(getattr(self, name) for name in _FAULTS)


_FAULTS = tuple(name for name in WireCounters.__struct_fields__ if name not in ("ok", "unverified", "foreign"))


class FrameDecoder:
    """Decode frames from bytes in pieces of any size; keep one frame at most, and resynchronise at a delimiter.

    `schema`: hash of the channel table, None while unknown. `session`: frames of other sessions are dropped, except
    HELLO and HELLO_ACK, which begin one; None delivers all. Both may be set at any time.
    """

    def __init__(self, schema: int | None = None, session: int | None = None) -> None:
        self.schema, self.session = schema, session
        self.counters = WireCounters()
        self._rest = b""
        self._overlong = False
        self._last: tuple[int, int] | None = None  # session and seq of the newest frame
        self._seen = 1  # which numbers up to the newest one came, as bits; bit 0 is the newest
        self._misfit = 0  # CRC difference of the last seeded frame, 0 where it was right
        self._misfits = 0  # frames in a row with this difference

    def feed(self, data: bytes) -> list[Frame]:
        """Return the frames that `data` completes."""
        *whole, self._rest = (self._rest + data).split(DELIMITER)
        frames = [frame for piece in whole if (frame := self._piece(piece)) is not None]
        if len(self._rest) >= MAX_FRAME:
            self._rest, self._overlong = b"", True
        return frames

    def _piece(self, piece: bytes) -> Frame | None:
        if self._overlong or len(piece) >= MAX_FRAME:
            self._overlong = False
            self.counters.oversize += 1
            return None
        return self._open(piece) if piece else None  # empty pieces are no fault

    def _open(self, piece: bytes) -> Frame | None:
        count = self.counters
        try:
            raw = cobs.decode(piece)
        except cobs.DecodeError:
            count.cobs += 1
            return None
        if len(raw) < _SHORTEST:
            count.runt += 1
            return None
        return self._sort(raw) if self._intact(raw) else None

    def _intact(self, raw: bytes) -> bool:
        seeded = raw[0] in _SEEDED
        if seeded and self.schema is None:
            self.counters.unverified += 1
            self._last = None  # its number is not known either
            return False
        seed = self.schema if seeded and self.schema is not None else 0
        difference: int = zlib.crc32(raw[: -_CRC.size], seed) ^ _CRC.unpack_from(raw, len(raw) - _CRC.size)[0]
        if seeded:
            self._misfits = self._misfits + 1 if difference == self._misfit else 1
            self._misfit = difference
        if difference:
            self._blame(self._misfits if seeded else 1)
        return not difference

    def _blame(self, in_a_row: int) -> None:
        """Count a wrong CRC. A CRC is linear: under another seed, all frames of one length differ by the same value."""
        if in_a_row == 1:
            self.counters.crc += 1
            return
        if in_a_row == 2:  # the frame before, counted as noise, was the first of them
            self.counters.crc -= 1
            self.counters.schema += 1
        self.counters.schema += 1

    def _sort(self, raw: bytes) -> Frame | None:
        count = self.counters
        code, session, seq, t_us = _HEADER.unpack_from(raw)
        frame = Frame(code, session, seq, t_us, raw[_HEADER.size : -_CRC.size])
        message = MESSAGES.get(frame.type)
        if self.session not in (None, frame.session) and frame.type not in _OPENING:
            count.foreign += 1
        elif not self._number(frame):
            count.duplicate += 1
        elif message is None:
            count.unknown += 1
        elif not message.accepts(frame.payload):
            count.malformed += 1
        else:
            count.ok += 1
            return frame
        return None

    def _number(self, frame: Frame) -> bool:
        """Count the frames missing before `frame`; False for a repeated one. Each session has its own numbers."""
        last = self._last
        if last is None or last[0] != frame.session or frame.type in _OPENING:
            self._last, self._seen = (frame.session, frame.seq), 1
            return True
        ahead = ahead_of(frame.seq, last[1])
        if ahead <= 0:
            return self._late(1 << -ahead)
        self.counters.lost += ahead - 1
        self._last, self._seen = (frame.session, frame.seq), (self._seen << min(ahead, _WINDOW) | 1) & _RECENT
        return True

    def _late(self, bit: int) -> bool:
        """Count a frame that is not the newest; False where its number had come already."""
        if self._seen & bit:
            return False
        self._seen |= bit
        self.counters.reordered += 1
        self.counters.lost -= self.counters.lost > 0
        return True
