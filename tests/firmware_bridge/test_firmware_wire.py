"""The C codec under ASan and UBSan: against the golden vectors, and against the Python codec on any bytes."""

from __future__ import annotations

import json
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import wire_vectors
from support.c_process import CProcess

from firmware_bridge import generate
from firmware_bridge import messages as m
from firmware_bridge.build import FIRMWARE, SANITIZERS, compile_c
from firmware_bridge.wire import Frame, FrameDecoder, WireCounters, encode_frame

GOLDEN = json.loads(wire_vectors.PATH.read_text())
WIRE = FIRMWARE / "wire.c"
COUNTERS = [name for name in WireCounters.__struct_fields__ if name != "unverified"]  # a device knows its own table


class CCodec(CProcess):
    """wire.c in a process of its own."""

    def __init__(self) -> None:
        super().__init__("wire_driver", [WIRE])

    def start(self, schema: int, session: int) -> None:
        self.tell(b"N", struct.pack("<IB", schema, session))

    def decode(self, data: bytes) -> tuple[list[Frame], dict[str, int]]:
        """The frames in `data`, and the counters after it."""
        reply, frames = self.ask(b"D", data), []
        while reply[:2] != b"\xff\x00":
            code, session, seq, t_us, size = struct.unpack_from("<BBHIB", reply)
            frames.append(Frame(code, session, seq, t_us, reply[9 : 9 + size]))
            reply = reply[9 + size :]
        return frames, dict(zip(COUNTERS, struct.unpack("<12I", reply[2:]), strict=True))

    def encode(self, frame: Frame, schema: int) -> bytes:
        return self.ask(b"E", struct.pack("<IBBHI", schema, *frame[:4]) + frame.payload)


@pytest.fixture(scope="module")
def c() -> Iterator[CCodec]:
    with CCodec() as codec:
        yield codec


def test_the_header_is_fresh() -> None:
    """messages.h is what the definition generates today."""
    assert generate.HEADER.read_text() == generate.c_header(), "run: python -m firmware_bridge.generate"


def test_the_document_is_fresh() -> None:
    """The tables of docs/wire.md are what the definition generates today, and its text names every counter."""
    text = generate.DOCUMENT.read_text()
    assert text == generate.document(), "run: python -m firmware_bridge.generate"
    assert all(f"*{name}*" in text for name in WireCounters.__struct_fields__)


def test_c_encodes_the_golden_frames(c: CCodec) -> None:
    """The C codec makes every golden frame, byte for byte."""
    for vector in GOLDEN["frames"]:
        frame = Frame(*(vector[name] for name in Frame._fields[:4]), bytes.fromhex(vector["payload"]))
        assert c.encode(frame, GOLDEN["schema"]).hex() == vector["bytes"]


@pytest.mark.parametrize("name", GOLDEN["streams"])
def test_c_hears_the_golden_streams(c: CCodec, name: str) -> None:
    """Of every golden stream the C decoder delivers the same frames as the Python one, with the same counters."""
    stream = GOLDEN["streams"][name]
    c.start(GOLDEN["schema"], GOLDEN["session"])
    frames, counters = c.decode(bytes.fromhex(stream["bytes"]))
    assert [[*f[:4], f.payload.hex()] for f in frames] == stream["delivered"]
    assert counters == {k: v for k, v in stream["counters"].items() if k != "unverified"}


def literal(value: Any) -> str:
    return f"{value}u" if value < 2**32 else f"{value}ull"


def expectations(vector: dict[str, Any]) -> str:
    """C statements that fail unless get and put of one message agree with a golden vector."""
    message = m.MESSAGES[vector["type"]]
    tag, payload = f"wire_{vector['name'].lower()}", bytes.fromhex(vector["payload"])
    tail = message.LAYOUT.tail
    checks = [f"EXPECT(m.{k} == {literal(v)});" for k, v in vector["fields"].items() if not tail or k != tail.name]
    if tail:
        at = message.LAYOUT.size
        checks += [f"EXPECT(m.{tail.name}_count == {payload[at - 1]}u);"]
        checks += [f"EXPECT(memcmp(m.{tail.name}, bytes + {at}, sizeof bytes - {at}) == 0);"]
    numbers = ", ".join(map(str, payload))
    return f"""{{
    static const uint8_t bytes[] = {{{numbers}}};
    struct {tag} m;
    uint8_t again[WIRE_MAX_PAYLOAD];
    EXPECT({tag}_get(&m, bytes, sizeof bytes));
    {" ".join(checks)}
    EXPECT({tag}_put(again, &m) == sizeof bytes);
    EXPECT(memcmp(again, bytes, sizeof bytes) == 0);
    EXPECT(!{tag}_get(&m, bytes, {message.REQUIRED if tail is None else len(payload)}u - 1));
}}"""


def test_c_structs_are_the_golden_messages(tmp_path: Path) -> None:
    """Each generated get reads the golden value into each field, each put writes it back; a short one is refused."""
    vectors = [v for v in GOLDEN["frames"] if v["fields"]]
    assert len(vectors) == len([x for x in m.MESSAGES.values() if x.LAYOUT.fields])
    source = tmp_path / "golden.c"
    body = "\n".join(map(expectations, vectors))
    source.write_text(
        '#include <stdio.h>\n#include "wire.h"\n'
        '#define EXPECT(x) if (!(x)) return printf("%s\\n", #x), 1\n'
        f"int main(void)\n{{\n{body}\nreturn 0;\n}}\n"
    )
    done = subprocess.run([compile_c("golden", [source], SANITIZERS)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


frames = st.builds(
    Frame, st.sampled_from([*m.MESSAGES, 0x00, 0x77]), st.integers(0, 4), st.integers(0, 5), st.integers(0, 2**32 - 1),
    st.binary(max_size=m.MAX_PAYLOAD),
)  # fmt: skip
pieces = st.one_of(
    st.binary(max_size=300),
    st.builds(encode_frame, frames, st.integers(1, 2)),
    st.builds(lambda f, at, bit: damaged(encode_frame(f, 1), at, bit), frames, st.integers(0, 300), st.integers(0, 7)),
)


def damaged(data: bytes, at: int, bit: int) -> bytes:
    changed = bytearray(data)
    changed[at % len(data)] ^= 1 << bit
    return bytes(changed)


@given(st.lists(pieces, max_size=30))
def test_c_and_python_hear_the_same(c: CCodec, parts: list[bytes]) -> None:
    """On any bytes, frames, damaged frames and frames of other tables, both decoders deliver and count alike."""
    data = b"".join(parts)
    python = FrameDecoder(1, 3)
    c.start(1, 3)
    assert c.decode(data)[0] == python.feed(data)
    counters = msgspec.to_builtins(python.counters)
    assert c.decode(b"")[1] == {name: counters[name] for name in COUNTERS}


@given(frames, st.integers(0, 2**32 - 1))
def test_c_and_python_say_the_same(c: CCodec, frame: Frame, schema: int) -> None:
    """Any frame has the same bytes from both encoders."""
    assert c.encode(frame, schema) == encode_frame(frame, schema)


def test_c_refuses_a_payload_that_is_too_long(c: CCodec) -> None:
    """An encoder given 241 bytes writes nothing at all."""
    assert c.encode(Frame(1, 0, 0, 0, bytes(m.MAX_PAYLOAD + 1)), 0) == b""
