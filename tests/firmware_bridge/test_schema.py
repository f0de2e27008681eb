"""The channel table: its canonical form, its hash, and the bytes of one sample."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.messages import MAX_PAYLOAD, SCHEMA_PIECE
from firmware_bridge.schema import Kind, Schema, WireChannel
from rtsysid.errors import LinkError, SpecError
from rtsysid.spec import Channel

BOARD = Schema(
    (
        WireChannel("u", "V", "input", kind="i16", scale=0.001, offset=5.0),
        WireChannel("y", "m", "output", "position"),
        WireChannel("mode", "", "output", kind="u8", scale=0.5),
    ),
    500.0,
)
kinds: st.SearchStrategy[Kind] = st.sampled_from(["f32", "i16", "u8"])
numbers = st.floats(-1e6, 1e6, width=32)
scales = st.floats(1e-6, 1e6) | st.floats(-1e6, -1e-6)


@st.composite
def tables(draw: st.DrawFn) -> Schema:
    names = draw(st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=40, unique=True))
    channels = []
    for name in names:
        kind = draw(kinds)
        scaling = {} if kind == "f32" else {"scale": draw(scales), "offset": draw(numbers)}
        channels.append(WireChannel(name, draw(st.sampled_from(["", "m", "°/s"])), kind=kind, **scaling))
    return Schema(tuple(channels), draw(st.floats(0.1, 10_000)))


@given(tables())
def test_a_table_survives_the_board(schema: Schema) -> None:
    """Read back from the compressed pieces that a board sends, a table is the same and has the same hash."""
    offsets = range(0, len(schema.compressed) + 1, SCHEMA_PIECE)
    again = Schema.decompress(b"".join(schema.piece(i) for i in offsets))
    assert again == schema
    assert again.hash == schema.hash
    assert schema.piece(len(schema.compressed)) == b""


@given(tables(), st.data())
def test_values_survive_within_half_a_step(schema: Schema, data: st.DataObject) -> None:
    """f32 comes back exactly; i16 and u8 to half of their scale, and to the nearest end beyond their range."""
    values = np.array([data.draw(numbers) for _ in schema.channels], np.float32)
    payload = schema.pack(values)
    assert len(payload) == schema.size
    back = schema.unpack(payload + b"appended")
    assert back.dtype == np.float32
    for c, value, found in zip(schema.channels, values.tolist(), back.tolist(), strict=True):
        low, high = {"f32": (-np.inf, np.inf), "i16": (-32767, 32767), "u8": (0, 255)}[c.kind]
        ends = sorted((low * c.scale + c.offset, high * c.scale + c.offset))
        wanted = min(max(value, ends[0]), ends[1])
        rounding = 1e-6 * (abs(wanted) + abs(c.offset))  # the offset may cancel, and the result is float32
        assert abs(found - wanted) <= (0 if c.kind == "f32" else abs(c.scale) / 2 * 1.000001 + rounding)


@given(st.lists(st.floats(width=32), min_size=1, max_size=60))
def test_f32_is_carried_bit_by_bit(numbers: list[float]) -> None:
    """NaN, infinity and negative zero pass a table of f32 as they are."""
    schema = Schema(tuple(WireChannel(f"c{i}") for i in range(len(numbers))), 100.0)
    values = np.array(numbers, np.float32)
    assert schema.unpack(schema.pack(values)).tobytes() == values.tobytes()
    assert schema.pack(values) == struct.pack(f"<{len(numbers)}f", *values)


def test_the_bytes_of_a_sample() -> None:
    """Values are little-endian in channel order without padding: raw = (value - offset) / scale, rounded."""
    payload = BOARD.pack(np.array([4.0, 1.5, 100.0], np.float32))
    assert payload == struct.pack("<hfB", -1000, 1.5, 200)
    np.testing.assert_array_equal(BOARD.unpack(payload), np.array([4.0, 1.5, 100.0], np.float32))


def test_a_missing_value_has_a_place_in_i16_but_not_in_u8() -> None:
    """NaN passes an i16 as -32768; in a u8 it is one line that names what to do."""
    payload = BOARD.pack(np.array([np.nan, np.nan, 0], np.float32))
    assert payload[:2] == struct.pack("<h", -32768)
    assert np.isnan(BOARD.unpack(payload)[:2]).all()
    with pytest.raises(LinkError, match="NaN"):
        BOARD.pack(np.array([0, 0, np.nan], np.float32))


def test_a_hash_stands_for_the_whole_table() -> None:
    """Every field of every channel, the order and the rate change the hash; how a number was written does not."""
    first, *rest = BOARD.channels
    variants = [
        {"name": "v"}, {"unit": "mV"}, {"role": "output"}, {"group": "g"}, {"kind": "u8"}, {"scale": 0.002},
        {"offset": 4.0},
    ]  # fmt: skip
    others = [Schema((WireChannel(**{**fields(first), **v}), *rest), 500.0) for v in variants]
    others += [Schema((*rest, first), 500.0), Schema(BOARD.channels, 250.0)]
    assert len({BOARD.hash, *(s.hash for s in others)}) == len(others) + 1
    assert Schema(BOARD.channels, 500).hash == BOARD.hash
    assert BOARD.hash == 0xD6504975  # a change here cuts off every board and recording there is


def fields(channel: WireChannel) -> dict[str, object]:
    return {name: getattr(channel, name) for name in WireChannel.__struct_fields__}


def test_differences_are_named() -> None:
    """Two tables that disagree say where: the field, the channel that one of them lacks, the order, the rate."""
    u, y, mode = BOARD.channels
    assert BOARD.differences(BOARD) == ()
    millimetres = WireChannel("y", "mm", "output", "position")
    assert BOARD.differences(Schema((u, millimetres, mode), 500.0)) == ("y.unit",)
    assert BOARD.differences(Schema((mode, y), 250.0)) == ("rate_hz", "u", "order")
    assert BOARD.differences(Schema((u, y, mode, WireChannel("new")), 500.0)) == ("new",)


def test_the_runtime_sees_its_own_channels() -> None:
    """A table made of the contract's channels gives them back, with f32 on the wire."""
    channels = (Channel("u", "V", "input"), Channel("y", "m", "output", "position"))
    schema = Schema.of(channels, 100)
    assert schema.spec_channels == channels
    assert (schema.size, schema.width, schema.period_us) == (8, 2, 10_000)


@pytest.mark.parametrize(
    ("channels", "rate", "found"),
    [
        ([], 100.0, "names"),
        (["a", "a"], 100.0, "names"),
        (["a"], 0.0, "rate_hz"),
        (["a"], float("nan"), "rate_hz"),
        ([f"c{i}" for i in range(MAX_PAYLOAD // 4 + 1)], 100.0, "bytes a sample"),
        ([WireChannel("a", scale=2.0)], 100.0, "f32 carries"),
        ([WireChannel("a", kind="i16", scale=0.0)], 100.0, "scale"),
        ([WireChannel("a", kind="i16", offset=float("inf"))], 100.0, "scale"),
        *[([WireChannel("a", kind="i16", scale=scale)], 100.0, "scale") for scale in (1e300, -1e31, 1e-320)],
    ],
)
def test_a_table_that_contradicts_itself_is_refused(channels: list[str | WireChannel], rate: float, found: str) -> None:
    """A table without channels, with one twice, without a rate, too wide or with a senseless scale is one line."""
    with pytest.raises(SpecError, match=found):
        Schema(tuple(WireChannel(c) if isinstance(c, str) else c for c in channels), rate)


@given(st.binary(max_size=100) | st.binary(max_size=100).map(zlib.compress))
def test_bytes_that_are_no_table_are_one_line(data: bytes) -> None:
    """Whatever a board sends in place of its table, the host raises a LinkError and nothing else."""
    with pytest.raises(LinkError, match="channel table"):
        Schema.decompress(data)


def test_a_table_that_is_no_table() -> None:
    """A part of a table, a table that contradicts itself, and a bomb of zeros are refused by one line."""
    contradiction = zlib.compress(b'{"channels": [], "rate_hz": 100.0}')
    for data, found in (
        (BOARD.compressed[:-1], "end"),
        (contradiction, "names"),
        (zlib.compress(bytes(1 << 24)), "end"),
    ):
        with pytest.raises(LinkError, match=f"channel table.*{found}"):
            Schema.decompress(data)


def test_a_short_sample_is_refused() -> None:
    """A sample with fewer bytes than the table says is one line, not a crash."""
    with pytest.raises(LinkError, match="6 bytes instead of 7"):
        BOARD.unpack(bytes(6))
