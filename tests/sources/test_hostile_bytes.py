"""Whatever bytes come, a format raises nothing, yields what is within the limits, and counts what it cannot read."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.senders import DBC

from rtsysid.errors import LinkError, RtsysidError
from rtsysid.sources.channel_map import ChannelMap
from rtsysid.sources.intake import MessageIntake
from rtsysid.sources.json_lines import JsonLines, line_of
from rtsysid.sources.kinds import stream_format
from rtsysid.sources.messages import LARGEST, LONGEST_NAME, MOST_VALUES, TopicMessage
from rtsysid.sources.order import AHEAD_S
from rtsysid.sources.ros2.decoding import definition_piece
from rtsysid.sources.ros2.keys import Attachment, TopicKey, piece_of, read_attachment, split_piece
from rtsysid.sources.url import parse
from rtsysid.spec import Channel

ABOUT: dict[str, dict[str, Any]] = {
    "json": {"format": "json", "time": "t"},
    "mavlink": {"format": "mavlink", "dialect": "common", "system": 0, "answers": 50.0},
    "can": {"format": "can", "dbc": DBC, "answer": "PREDICTED"},
    "ros2": {"format": "ros2"},
}
CHANNELS = (Channel("u", "V", "input"), Channel("x"), Channel("v"))


def mavlink_bytes() -> bytes:
    """A few whole messages of an autopilot."""
    mav: Any = pytest.importorskip("pymavlink.dialects.v20.common")
    sender = mav.MAVLink(None, srcSystem=1, srcComponent=1)
    kinds = [mav.MAVLink_attitude_message(k * 10, 0.1, 0.2, 0.3, 1, 2, 3) for k in range(4)]
    packed = b""
    for kind in kinds:
        packed += kind.pack(sender)
        sender.seq += 1
    return packed


def seeds() -> dict[str, list[bytes]]:
    """Bytes that each format reads, to be changed by the test."""
    twist = definition_piece("a/msg/B", "float64 x\nfloat64[] y\nstring[] name\n")
    key = str(TopicKey(0, "/b", "a/msg/B", "TypeHashNotSupported"))
    body = b"\0\1\0\0" + bytes(24)
    return {
        "json": [
            b'{"t": 1.5, "u": 1, "x": {"y": [1, 2]}, "v": 2}\n{"t": 1.6, "u": NaN}',
            line_of("a", 3.0, {"u": 1.0}),
        ],
        "mavlink": [mavlink_bytes()],
        "can": [b"\0" * 8 + (256).to_bytes(4, "little") + b"\0" + bytes(8)],
        "ros2": [twist, piece_of(key, Attachment(3, 10**9).pack(b"x" * 16), body)],
    }


@pytest.mark.parametrize("name", list(ABOUT))
@given(data=st.data())
def test_no_bytes_raise_and_all_that_comes_is_bounded(name: str, data: st.DataObject) -> None:
    """Random bytes, and good ones with changes, make messages within the limits and rows of the right width."""
    format_ = stream_format(ABOUT[name])
    intake = MessageIntake(ChannelMap(channels=CHANNELS, rate_hz=100.0), AHEAD_S)
    good = seeds()[name]
    pieces = [*good, *(changed(data.draw, each) for each in good), data.draw(st.binary(max_size=300))]
    for k, piece in enumerate(pieces):
        for message in format_.decode(piece, 100.0 + k):
            assert len(message.topic) <= LONGEST_NAME
            assert len(message.values) <= MOST_VALUES
            assert all(isinstance(value, float) for value in message.values.values())
            for arrival in intake.take(message, 100.0 + k):
                assert arrival.sample.values.shape == (3,)
                assert 0 <= arrival.device_t_us < 1 << 62
    format_.reset()
    assert format_.corrupt >= 0
    assert format_.lost >= 0


def changed(draw: Callable[..., Any], good: bytes) -> bytes:
    """Good bytes with some replaced, and cut off."""
    found = bytearray(good)
    for at, value in draw(st.lists(st.tuples(st.integers(0, len(good) - 1), st.integers(0, 255)), max_size=6)):
        found[at] = value
    return bytes(found[: draw(st.integers(0, len(found)))])


@pytest.mark.parametrize(
    "line",
    [
        b"[" * 60_000, b'{"a":' * 40_000, b'{"t": 1, "x": 1' + b"0" * 400 + b"}", b"null", b'"t"', b"[1]", b"\xff\xfe",
        b'{"x": 1}', b'{"t": "now", "x": 1}', b'{"t": 1, "' + b"n" * 300 + b'": 1}', b'{"t": 1, "topic": 3, "x": 1}',
        json.dumps({"t": 1, **{str(k): k for k in range(MOST_VALUES + 1)}}).encode(),
        b'{"t": 1, "x": 1' + b" " * LARGEST + b"}",
    ],
    ids=range(13),
)  # fmt: skip
def test_json_that_is_no_message_is_corrupt_or_harmless(line: bytes) -> None:
    """Nesting without end, numbers without end, other types, missing times, long names: no message, or NaN."""
    format_ = JsonLines()
    found = list(format_.decode(line, 0.0))
    assert format_.corrupt == 1 or all(math.isnan(value) or value == 1e400 for value in found[0].values.values())


@given(
    st.dictionaries(st.text(min_size=1, max_size=20), st.floats(allow_nan=False, allow_infinity=False)),
    st.floats(0, 2e9),
)
def test_a_line_reads_back_to_equal_numbers(values: dict[str, float], t: float) -> None:
    """What a log or a function yields is recorded as JSON and reads back to the same bits, whatever the names."""
    plain = {name: value for name, value in values.items() if name not in ("t", "topic")}
    (message,) = JsonLines().decode(line_of("", t, plain), 0.0)
    assert message == TopicMessage("", t, plain)


def test_an_unknown_value_is_a_field_without_a_number() -> None:
    """null, and NaN and Infinity as Python writes them, are fields; so are those of a row that is written and read."""
    unknown = {"u": math.nan, "x": math.nan, "v": math.inf}
    lines = b'{"t": 1, "u": null, "x": NaN, "v": Infinity}\n' + line_of("", 1.0, unknown)
    format_ = JsonLines()
    for message in (found := list(format_.decode(lines, 0.0))):
        assert message.values.keys() == unknown.keys()
        assert not any(map(math.isfinite, message.values.values()))
    assert (len(found), format_.corrupt) == (2, 0)


@given(st.binary(max_size=40), st.integers(0, 2**63 - 1), st.integers(0, 2**62), st.binary(max_size=40))
def test_a_piece_of_ros2_reads_back(payload: bytes, number: int, stamp: int, identity: bytes) -> None:
    """Key, attachment and payload of a message come back from the bytes that are recorded."""
    key = TopicKey(4, "/a/b", "std_msgs/msg/String", "RIHS01_" + "0" * 64)
    attached = Attachment(number, stamp).pack(identity)
    name, again, body = split_piece(piece_of(str(key), attached, payload))
    assert (TopicKey.parse(name), body) == (key, payload)
    assert read_attachment(again) == (Attachment(number, stamp), identity)


@given(st.text(max_size=80))
def test_any_address_is_parsed_or_refused_in_one_line(text: str) -> None:
    """No text makes the parser of addresses fail in another way than by one line."""
    with suppress(LinkError):
        assert parse(text).address()[1] in range(65536)


@pytest.mark.parametrize(
    "about", [{}, {"format": "no"}, {"format": "json", "other": 1}, {"format": "can", "dbc": "BO_ x"}]
)
def test_a_recording_cannot_name_another_format(about: dict[str, Any]) -> None:
    """A format is made by its known name and settings only."""
    with pytest.raises((ValueError, RtsysidError)):
        stream_format(about)
