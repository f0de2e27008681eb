"""Write tests/golden/wire.json, the vectors that the Python and the C codec both read: `python tests/wire_vectors.py`.

``frames``: one of each message, and the corners of the framing. ``streams``: bytes as they may arrive, what is
delivered of them, and the counters after them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec

from firmware_bridge import messages as m
from firmware_bridge.layout import Message
from firmware_bridge.wire import Frame, FrameDecoder, encode_frame

PATH = Path(__file__).parents[1] / "golden" / "wire.json"
SCHEMA = 0x1B5E94C3


def examples() -> list[Message]:
    """One of each message, with a value in every field that shows its width and byte order."""
    texts = {"firmware": "rtsysid posix 1", "text": "ünïcode"}
    built: list[Message] = []
    for message in m.MESSAGES.values():
        values: dict[str, Any] = {}
        for i, field in enumerate(message.LAYOUT.fields):
            width = {"B": 1, "H": 2, "I": 4, "Q": 8}[field.code]
            values[field.name] = int.from_bytes(bytes((37 * i + k + 129) & 0xFF for k in range(width)), "little")
        if tail := message.LAYOUT.tail:
            values.pop(f"{tail.name}_count")
            values[tail.name] = {"s": b"\x00\x01\x00\xff", "f": (1.5, -0.0, 3.0e-38)}.get(tail.code) or texts[tail.name]
        built.append(message(**values))
    return built


def frames() -> list[Frame]:
    """Each message in a frame; then empty, full, all zero, no zero, and a type that nobody knows."""
    made = [Frame(x.CODE, 7, 0x0100 + i, 0x80000000 + i, x.pack()) for i, x in enumerate(examples())]
    full = bytes(range(240))
    corners = [b"", bytes(240), b"\xff" * 240, full, full[1:], b"\x00" * 3 + b"\x01" * 200 + b"\x00"]
    made += [Frame(m.Sample.CODE, 1, i, 0xFFFFFFFF - i, payload) for i, payload in enumerate(corners)]
    return [*made, Frame(0x00, 0, 0, 0, b""), Frame(0x7F, 255, 0xFFFF, 0xFFFFFFFF, b"unknown")]


def streams() -> dict[str, bytes]:
    """Bytes as a bad line delivers them."""
    sent = [
        encode_frame(Frame(m.Sample.CODE, 7, i & 0xFFFF, 1000 * i, bytes([i & 0xFF] * 40)), SCHEMA) for i in range(8)
    ]
    other = [encode_frame(Frame(m.Sample.CODE, 7, i, i, bytes(40)), SCHEMA ^ 1) for i in range(3)]
    hello = encode_frame(Frame(m.HelloAck.CODE, 9, 0, 0, examples()[1].pack()))
    flipped = damaged(sent[1])
    return {
        "clean": b"\0" + b"".join(sent),
        "a bit flipped": sent[0] + flipped + sent[2] + sent[3],
        "a byte lost": sent[0] + sent[1][:9] + sent[1][10:] + sent[2],
        "a delimiter lost": sent[0] + sent[1][:-1] + sent[2] + sent[3],
        "a frame lost": sent[0] + sent[3],
        "a frame twice": sent[0] + sent[1] + sent[1] + sent[2],
        "two frames exchanged": sent[0] + sent[2] + sent[1] + sent[3],
        "joined in the middle": sent[0][13:] + sent[1] + sent[2],
        "too long": b"\x02" * 300 + b"\0" + sent[0] + b"\x02" * 1000 + sent[1] + sent[2],
        "just too long": b"\x01" * 253 + b"\0" + b"\x01" * 254 + b"\0" + sent[0],
        "too short": b"\x05\x01\x02\x03\x04\0" + sent[0] + b"\x01\0",
        "no COBS": b"\x09\x01\x02\0" + sent[0],
        "another table": b"".join(other) + sent[3] + flipped + sent[4],
        "the same bit each time": b"".join(damaged(x) + x for x in sent[1:]),
        "far ahead": b"".join(encode_frame(Frame(m.Bye.CODE, 7, s, 0, b"\1")) for s in (0, 0x7FFF)),
        "far behind": b"".join(encode_frame(Frame(m.Bye.CODE, 7, s, 0, b"\1")) for s in (0, 0x8000, 1)),
        "another session": b"".join(encode_frame(Frame(m.Bye.CODE, s, 0, 0, b"\1")) for s in (6, 7, 8)) + hello,
        "a session begun again": hello + sent[0] + hello + hello,
        "number wraps": b"".join(encode_frame(Frame(m.Bye.CODE, 7, s, 0, b"\1")) for s in (0xFFFE, 0xFFFF, 0, 2)),
        "unknown and malformed": encode_frame(Frame(0x77, 7, 0, 0, b"x"))
        + encode_frame(Frame(m.Ack.CODE, 7, 1, 0, b"")),
        "tail beyond the end": encode_frame(Frame(m.Log.CODE, 7, 0, 0, b"\1\5text")),
        "appended fields": encode_frame(Frame(m.Ack.CODE, 7, 0, 0, bytes(20))),
    }


def damaged(frame: bytes) -> bytes:
    """With one bit turned over."""
    return frame[:20] + bytes([frame[20] ^ 0x40]) + frame[21:]


def build() -> dict[str, Any]:
    """Everything in the file, as plain values with bytes in hexadecimal."""
    head = {"version": m.version(), "schema": SCHEMA, "session": 7, "definition": m.definition(m.MINOR)}
    return {
        **head,
        "frames": [vector(frame) for frame in frames()],
        "streams": {k: heard(v) for k, v in streams().items()},
    }


def vector(frame: Frame) -> dict[str, Any]:
    """A frame, what its payload means, and its bytes."""
    message = m.MESSAGES.get(frame.type)
    fields = msgspec.structs.asdict(message.unpack(frame.payload)) if message else {}
    fields = {name: value.hex() if isinstance(value, bytes) else value for name, value in fields.items()}
    name = message.wire_name() if message else None
    plain = {**frame._asdict(), "payload": frame.payload.hex()}
    return {"name": name, **plain, "fields": fields, "bytes": encode_frame(frame, SCHEMA).hex()}


def heard(data: bytes) -> dict[str, Any]:
    """What a decoder of session 7 makes of `data`."""
    decoder = FrameDecoder(SCHEMA, session=7)
    delivered = [[*frame[:4], frame.payload.hex()] for frame in decoder.feed(data)]
    return {"bytes": data.hex(), "delivered": delivered, "counters": msgspec.to_builtins(decoder.counters)}


def text() -> str:
    """The file's content, made to be read in a diff."""
    return json.dumps(build(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    PATH.write_text(text())
