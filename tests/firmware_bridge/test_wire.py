"""The wire format in Python: definition, frames, and what a decoder makes of a bad line."""

from __future__ import annotations

import json
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import wire_vectors
from support.frames import SCHEMA, counted, numbered, wired

from firmware_bridge import layout, wire
from firmware_bridge import messages as m
from firmware_bridge.layout import U16, Message, lay_out
from firmware_bridge.wire import Frame, FrameDecoder, FrameEncoder, WireCounters, encode_frame
from rtsysid.errors import LinkError
from rtsysid.live.session import STATUSES

GOLDEN = json.loads(wire_vectors.PATH.read_text())
FATES = WireCounters.__struct_fields__[:11]  # what may become of a piece between two delimiters

payloads = st.binary(max_size=m.MAX_PAYLOAD)
frames = st.builds(
    Frame, st.just(m.Sample.CODE), st.just(3), st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF), payloads
)
WIDTHS = {"B": 8, "H": 16, "I": 32, "Q": 64}
TAILS = {
    "s": st.binary(max_size=100),
    "u": st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=100),
    "f": st.lists(st.floats(width=32, allow_nan=False), max_size=20).map(tuple),
}


def values_of(message: type[Message]) -> st.SearchStrategy[Message]:
    """Any values that fit the fields of `message`."""
    tail = message.LAYOUT.tail
    fixed = message.LAYOUT.fields[: -1 if tail else None]
    kwargs = {f.name: st.integers(0, 2 ** WIDTHS[f.code] - 1) for f in fixed}
    return st.builds(message, **kwargs, **({tail.name: TAILS[tail.code]} if tail else {}))


def test_golden_vectors_are_what_this_definition_makes() -> None:
    """The file that the C codec is tested with is exactly what the Python codec makes today."""
    assert json.loads(wire_vectors.text()) == GOLDEN, "run: python tests/wire_vectors.py, and read the difference"


def test_the_checksum_is_the_named_one() -> None:
    """A frame ends in CRC-32/ISO-HDLC, whose check value is published, over header and payload."""
    assert zlib.crc32(b"123456789") == 0xCBF43926
    data = encode_frame(Frame(m.Stop.CODE, 1, 2, 0x01020304, b""))
    header = bytes.fromhex("0601020004030201")
    assert data == b"\4" + header[:3] + b"\x09" + header[4:] + zlib.crc32(header).to_bytes(4, "little") + b"\0"


@given(st.sampled_from([x for x in m.MESSAGES.values() if x is not m.Sample]).flatmap(values_of))
def test_a_message_survives_its_payload(message: Message) -> None:
    """Packing and unpacking any message with any values that fit gives the same message."""
    payload = message.pack()
    assert message.accepts(payload)
    assert message.unpack(payload) == message


@given(st.sampled_from(list(m.MESSAGES.values())), payloads)
def test_an_accepted_payload_can_be_unpacked(message: type[Message], payload: bytes) -> None:
    """Whatever bytes `accepts` lets through, `unpack` reads without an error; what it refuses is too short."""
    if message.accepts(payload):
        message.unpack(payload)
    else:
        assert not message.accepts(payload[:-1])


@pytest.mark.parametrize("message", m.MESSAGES.values())
def test_a_shorter_payload_is_not_accepted(message: type[Message]) -> None:
    """A payload that lacks its last byte is refused, for every message that has any."""
    if message.REQUIRED:
        example = next(x for x in wire_vectors.examples() if type(x) is message).pack()
        assert message.accepts(example)
        appended = message.LAYOUT.size - message.REQUIRED if message.LAYOUT.tail is None else 0
        assert message.accepts(example[: len(example) - appended])
        assert not message.accepts(example[: len(example) - appended - 1])


def test_a_value_that_does_not_fit_is_one_line() -> None:
    """A number too large for its field, and too many floats for their count, end in a LinkError."""
    for message in (m.SchemaGet(0x10000), m.Prediction(0, 0, 0, 0, (0.0,) * 256), m.Log(1, "x" * 300)):
        with pytest.raises(LinkError, match=message.wire_name()):
            message.pack()
    with pytest.raises(LinkError, match="241 bytes"):
        encode_frame(Frame(1, 0, 0, 0, bytes(241)))


def test_appended_fields_read_as_zero_where_the_sender_has_none() -> None:
    """A field of a later minor is zero in an older payload, and an older reader passes over it."""

    class Grown(Message, frozen=True):
        old: U16
        new: U16

    lay_out(Grown, frozenset({"new"}))
    assert Grown.accepts(b"\1\0")
    assert Grown.unpack(b"\1\0") == Grown(1, 0)
    assert Grown.unpack(b"\1\0\2\0\3\0") == Grown(1, 2)
    assert not Grown.accepts(b"\1")


def test_text_from_the_wire_cannot_steer_a_terminal() -> None:
    """Control characters and invalid UTF-8 in a LOG become visible, harmless characters."""
    assert m.Log.unpack(b"\1\6\x1b[2J\n\xff").text == "?[2J?\N{REPLACEMENT CHARACTER}"


def test_the_version_follows_the_definition(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any change of a message changes MAJOR, unless SINCE lists it; then the older digest is unchanged."""
    assert int(GOLDEN["version"].split(".")[0], 16) == m.MAJOR

    class Changed(m.Start, frozen=True):
        new: U16

    lay_out(Changed)
    monkeypatch.setattr(Changed, "wire_name", lambda: "START")
    monkeypatch.setitem(m.MESSAGES, m.Start.CODE, Changed)
    assert m.definition(m.MINOR) != GOLDEN["definition"]
    monkeypatch.setitem(m.SINCE, "START.new", m.MINOR + 1)
    assert json.loads(json.dumps(m.definition(m.MINOR))) == GOLDEN["definition"]
    assert m.definition(m.MINOR + 1) != m.definition(m.MINOR)


def test_what_refuses_other_versions_never_changes() -> None:
    """HELLO, HELLO_ACK and ERROR begin with the bytes of the first release, so that any two versions can part."""
    beginning = {m.Hello: "magic I, major I, minor B, session B", m.HelloAck: "magic I, major I, minor B, session B"}
    beginning[m.Error] = "fault B, ref_type B, ref_seq H, detail I, text_count B"
    for message, fields in beginning.items():
        assert ", ".join(f"{f.name} {f.code}" for f in message.LAYOUT.fields).startswith(fields)
    assert (m.Hello.CODE, m.HelloAck.CODE, m.Error.CODE, m.Fault.version, m.MAGIC.to_bytes(4, "little")) == (
        1, 2, 0x41, 1, b"RTSI",
    )  # fmt: skip


def test_statuses_are_those_of_the_session() -> None:
    """Every status of the runtime has its code on the wire, the gravest highest but for what was appended later."""
    names = [status.name.replace("_", "-") for status in m.Status]
    assert set(STATUSES) <= set(names)
    assert names[:8] == [status for status in reversed(STATUSES) if status != "novel"]
    assert m.SINCE["Status.novel"] == 1


def test_heartbeat_carries_every_counter() -> None:
    """The receive counters of a heartbeat are those of the decoder by name."""
    fields = [f.removeprefix("rx_") for f in m.Heartbeat.__struct_fields__ if f.startswith("rx_")]
    assert fields == [*WireCounters.__struct_fields__, "overrun"]


def test_every_frame_fits_the_static_buffers() -> None:
    """No message is longer than a payload may be, and a full frame with its delimiter stays under 256 bytes."""
    assert max(x.LAYOUT.size for x in m.MESSAGES.values()) <= m.MAX_PAYLOAD
    assert m.SchemaData.LAYOUT.size + m.SCHEMA_PIECE <= m.MAX_PAYLOAD
    assert len(encode_frame(Frame(1, 255, 0xFFFF, 0xFFFFFFFF, b"\xff" * m.MAX_PAYLOAD))) == wire.MAX_FRAME == 254
    assert layout.ITEM.keys() == {"s", "u", "f"}


@given(st.lists(frames, max_size=5), st.lists(st.integers(1, 300), max_size=20))
def test_frames_survive_the_wire_in_any_cut(sent: list[Frame], cuts: list[int]) -> None:
    """Each frame is delivered once and in order, however the bytes are cut into reads."""
    sent = [frame._replace(seq=i) for i, frame in enumerate(sent)]
    data, decoder, got = wired(sent), FrameDecoder(SCHEMA, 3), []
    for cut in cuts:
        got += decoder.feed(data[:cut])
        data = data[cut:]
    got += decoder.feed(data)
    assert got == sent
    assert counted(decoder) == ({"ok": len(sent)} if sent else {})
    assert decoder.counters.clean


@given(st.lists(st.one_of(st.binary(max_size=400), frames.map(lambda f: encode_frame(f, SCHEMA)))), st.integers(1, 50))
def test_every_piece_has_one_fate_in_any_cut(parts: list[bytes], cut: int) -> None:
    """On any bytes the decoder raises nothing and counts each piece between delimiters once; cuts do not matter."""
    data = b"".join(parts) + b"\0"
    whole, pieces = FrameDecoder(SCHEMA, 3), FrameDecoder(SCHEMA, 3)
    got = whole.feed(data)
    assert [f for i in range(0, len(data), cut) for f in pieces.feed(data[i : i + cut])] == got
    assert pieces.counters == whole.counters
    assert sum(getattr(whole.counters, name) for name in FATES) == sum(bool(piece) for piece in data.split(b"\0"))
    assert whole.counters.ok == len(got)


@given(st.binary(max_size=600), frames, frames)
def test_back_in_step_within_one_frame(noise: bytes, first: Frame, second: Frame) -> None:
    """After any noise at most the first frame is lost, and after noise that ends in a delimiter none is."""
    first, second = first._replace(seq=1), second._replace(seq=2)
    decoder = FrameDecoder(SCHEMA)
    decoder.feed(noise)
    assert decoder.feed(wired([first, second]))[-1] == second
    decoder = FrameDecoder(SCHEMA)
    decoder.feed(noise + b"\0")
    assert decoder.feed(wired([first])) == [first]


@given(frames, st.data())
def test_a_damaged_frame_is_never_accepted(frame: Frame, data: st.DataObject) -> None:
    """A frame with a byte of it changed, dropped or repeated on the line, or cut off, is refused."""
    sent = encode_frame(frame, SCHEMA)
    at = data.draw(st.integers(0, len(sent) - 2))
    change = data.draw(st.sampled_from(["drop", "repeat", "change", "cut"]))
    byte = data.draw(st.integers(1, 255))
    damaged = {
        "drop": sent[:at] + sent[at + 1 :],
        "repeat": sent[: at + 1] + sent[at:],
        "change": sent[:at] + bytes([sent[at] ^ byte]) + sent[at + 1 :],
        "cut": sent[:at] + b"\0",
    }[change]
    got = FrameDecoder(SCHEMA).feed(damaged)
    assert got == [] or (got == [frame] and damaged.lstrip(b"\0") == sent)


def test_the_decoder_keeps_one_frame_at_most() -> None:
    """A line that never delimits costs no memory, and counts as one oversize piece."""
    decoder = FrameDecoder(SCHEMA)
    for _ in range(100):
        assert decoder.feed(b"\1" * 1000) == []
        assert len(decoder._rest) < wire.MAX_FRAME
    decoder.feed(b"\0")
    assert counted(decoder) == {"oversize": 1}


def test_the_longest_frame_may_come_without_its_delimiter() -> None:
    """A full frame whose last byte comes by itself is delivered."""
    data = encode_frame(Frame(m.Sample.CODE, 3, 0, 0, b"\1" * m.MAX_PAYLOAD), SCHEMA)
    decoder = FrameDecoder(SCHEMA, 3)
    assert decoder.feed(data[:-1]) == []
    assert len(decoder.feed(data[-1:])) == 1


def test_another_channel_table_is_not_taken_for_noise() -> None:
    """Frames under another seed count as `schema`, all of them; a disturbed line does not, and the table's own pass."""
    frames = numbered(6)
    decoder = FrameDecoder(SCHEMA ^ 0x80000001, 3)
    assert decoder.feed(wired(frames)) == []
    assert counted(decoder) == {"schema": 6}
    decoder = FrameDecoder(SCHEMA, 3)
    for frame in frames:
        bad = bytearray(wired([frame]))
        bad[20] ^= 0x40  # the same bit each time, with sound frames between
        decoder.feed(bytes(bad) + wired([frame]))
    assert counted(decoder) == {"ok": 6, "crc": 6}


def test_samples_before_the_table_is_known_are_neither_taken_nor_blamed() -> None:
    """Without a channel table samples are unverified, the line stays clean, and losses count from the table on."""
    frames, bye = numbered(9), Frame(m.Bye.CODE, 3, 0, 0, b"\1")
    decoder = FrameDecoder(None, 3)
    assert decoder.feed(wired([bye, *frames[1:4]])) == [bye]
    decoder.schema = SCHEMA
    assert decoder.feed(wired(frames[6:])) == frames[6:]
    assert counted(decoder) == {"ok": 4, "unverified": 3}
    assert decoder.counters.clean


def test_frames_of_another_session_stay_out() -> None:
    """What an earlier session left in the buffers is not delivered and loses nothing; HELLO and HELLO_ACK pass."""
    frames = numbered(3)
    hello = Frame(m.HelloAck.CODE, 0, 0, 0, m.HelloAck(m.MAGIC, 1, 0, 0, *(0,) * 12, "x").pack())
    decoder = FrameDecoder(SCHEMA, 3)
    old = [f._replace(session=2, seq=900) for f in frames]
    assert decoder.feed(wired([frames[0], *old, hello, *frames[1:]])) == [frames[0], hello, *frames[1:]]
    assert counted(decoder) == {"ok": 4, "foreign": 3}


def test_the_encoder_numbers_frames_and_wakes_the_line() -> None:
    """Frames are numbered in 16 bits, and one after 100 ms of silence, like the first, begins with a delimiter."""
    encoder, decoder = FrameEncoder(session=3, schema=SCHEMA), FrameDecoder(SCHEMA, 3)
    times = [0, 99_999, 199_999, 200_000]
    sent = [encoder.encode(m.Bye(1), t) for t in times]
    assert [data[0] == 0 for data in sent] == [True, False, True, False]
    got = decoder.feed(b"".join(sent))
    assert [(f.seq, f.t_us) for f in got] == [*zip(range(4), times, strict=True)]
    encoder.frames = 0xFFFF
    sent = [encoder.encode_payload(m.Sample.CODE, b"x", t) for t in (2**32 + 5, 2**32 + 6)]
    got = FrameDecoder(SCHEMA).feed(b"".join(sent))
    assert [(f.seq, f.t_us, f.payload) for f in got] == [(0xFFFF, 5, b"x"), (0, 6, b"x")]


def test_every_fault_is_a_fault_and_nothing_else_is() -> None:
    """Pieces that are no frame add up to `corrupt`; each fault alone makes the wire unclean, and the rest does not."""
    assert WireCounters(crc=1, cobs=2, oversize=4, runt=8, schema=16).corrupt == 15
    unclean = {name for name in WireCounters.__struct_fields__ if not WireCounters(**{name: 1}).clean}
    assert unclean == set(WireCounters.__struct_fields__) - {"ok", "unverified", "foreign"}


def test_the_second_frame_under_another_table_tells_that_the_first_was_one() -> None:
    """One wrong checksum is noise; a second one that differs by the same constant blames the table for both."""
    decoder, (first, second) = FrameDecoder(schema=SCHEMA + 1), numbered(2)
    decoder.feed(encode_frame(first, SCHEMA))
    assert counted(decoder) == {"crc": 1}
    decoder.feed(encode_frame(second, SCHEMA))
    assert counted(decoder) == {"schema": 2}


def test_before_a_session_session_and_table_are_zero() -> None:
    """A HELLO comes before either is known: without them a frame is that of session 0, under the seed 0."""
    frame = numbered(1)[0]
    assert encode_frame(frame) == encode_frame(frame, 0) != encode_frame(frame, 1)
    assert FrameEncoder().encode_payload(frame.type, b"x", 0) == FrameEncoder(0, 0).encode_payload(frame.type, b"x", 0)


def test_a_frame_gives_its_message() -> None:
    """A delivered frame unpacks to the message that was sent."""
    message: Any = m.Prediction(5, m.Status.stale, 1200, 2000, (1.5, -2.0))
    [frame] = FrameDecoder(SCHEMA).feed(FrameEncoder(1, SCHEMA).encode(message, 10))
    assert frame.message() == message
