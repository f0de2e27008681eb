"""firmware/app.c: who it is, how a session begins, and what it refuses."""

from __future__ import annotations

import msgspec
import pytest
from support.app_board import HELLO, SCHEMA, SESSION, START, Board, only

from firmware_bridge import messages as m
from firmware_bridge.schema import Schema
from firmware_bridge.wire import Frame, encode_frame


def test_a_board_says_at_boot_what_it_is(app: Board) -> None:
    """The first frame after a reset is a HELLO_ACK of session 0 with the board's identity, after a delimiter."""
    app.boot(boot_id=91)
    [frame] = app.poll()
    [ack] = only([frame], m.HelloAck)
    assert frame[:4] == (m.HelloAck.CODE, 0, 0, 1000)
    assert (ack.magic, ack.major, ack.minor, ack.boot_id) == (m.MAGIC, m.MAJOR, m.MINOR, 91)
    assert (ack.channels, ack.sample_size, ack.period_us) == (SCHEMA.width, SCHEMA.size, 2000)
    assert (ack.schema_hash, ack.schema_size) == (SCHEMA.hash, len(SCHEMA.compressed))
    assert (ack.uid, ack.timer_hz, ack.receive_window) == (0x0123456789ABCDEF, 84_000_000, 512)
    assert (ack.reset_reason, ack.firmware, ack.model_hash) == (m.Reason.power_on, "test 1", 0)
    assert app.state is m.State.idle


def test_hello_begins_a_session(board: Board) -> None:
    """A HELLO is answered by HELLO_ACK in its session, as often as it comes, and only then is the board ready."""
    for session in (SESSION, SESSION, 9):
        board.encoder.session = session
        hello = m.Hello(m.MAGIC, m.MAJOR, m.MINOR, session, m.MAX_PAYLOAD)
        [frame] = board.hear(hello)
        assert (frame.type, frame.session) == (m.HelloAck.CODE, session)
        assert board.state is m.State.ready


def test_time_passes_within_a_poll(board: Board) -> None:
    """On a clock that moves with each look at it, a fresh session is neither lost nor due for its heartbeat."""
    board.step = 7
    assert [type(f.message()) for f in board.hear(HELLO, START)] == [m.HelloAck, m.Ack]
    assert board.state is m.State.streaming


def test_a_host_that_starts_again_is_heard_at_once(board: Board) -> None:
    """A HELLO with the number of an earlier frame, from a host that restarted, is answered."""
    for _ in range(2):
        board.encoder.frames = 0
        assert len(only(board.hear(HELLO), m.HelloAck)) == 1


@pytest.mark.parametrize("hello", [m.Hello(1, m.MAJOR, 0, 5, 240), m.Hello(m.MAGIC, m.MAJOR, 0, 0, 240)])
def test_what_is_no_hello_is_not_answered(board: Board, hello: m.Hello) -> None:
    """A HELLO without the magic number, or for session 0, changes nothing."""
    assert board.hear(hello) == []
    assert board.state is m.State.idle


def test_another_major_version_is_refused(board: Board) -> None:
    """A host of another major version hears ERROR with the firmware's version, and cannot start a stream."""
    [error] = only(board.hear(m.Hello(m.MAGIC, m.MAJOR ^ 1, 0, SESSION, 240)), m.Error)
    assert (error.fault, error.ref_type, error.detail) == (m.Fault.version, m.Hello.CODE, m.MAJOR)
    assert "reflash" in error.text
    [error] = only(board.hear(START), m.Error)
    assert error.fault == m.Fault.request
    assert board.state is m.State.idle


def test_another_minor_version_is_welcome(board: Board) -> None:
    """A host of a later minor version, with fields appended to its HELLO, is answered."""
    later = encode_frame(Frame(m.Hello.CODE, SESSION, 0, 0, msgspec.structs.replace(HELLO, minor=9).pack() + b"new"))
    assert len(only(board.hear_bytes(later), m.HelloAck)) == 1


def test_the_channel_table_comes_in_pieces(board: Board) -> None:
    """The pieces of the table, asked for in any order, make the table; beyond its end there is an empty one."""
    board.hear(HELLO)
    offsets = range(0, len(SCHEMA.compressed), m.SCHEMA_PIECE)
    pieces = {p.offset: p.data for o in reversed(offsets) for p in only(board.hear(m.SchemaGet(o)), m.SchemaData)}
    assert Schema.decompress(b"".join(pieces[o] for o in offsets)) == SCHEMA
    for offset in (len(SCHEMA.compressed), 0xFFFF):
        assert only(board.hear(m.SchemaGet(offset)), m.SchemaData) == [m.SchemaData(offset, b"")]


def test_starting_and_stopping_twice_is_once(board: Board) -> None:
    """START and STOP are acknowledged each time with what is in force, and the second changes nothing."""
    board.hear(HELLO)
    for seq in (1, 2):
        assert only(board.hear(START), m.Ack) == [m.Ack(m.Start.CODE, seq, 1, 1)]
        assert board.state is m.State.streaming
    for seq in (3, 4):
        assert only(board.hear(m.Stop()), m.Ack) == [m.Ack(m.Stop.CODE, seq, 0, 1)]
        assert board.state is m.State.ready


@pytest.mark.parametrize(
    ("start", "fault"),
    [
        (m.Start(1, 0, SCHEMA.hash), m.Fault.request),
        (m.Start(2, 1, SCHEMA.hash), m.Fault.request),
        (m.Start(1, 1, SCHEMA.hash ^ 1), m.Fault.schema),
    ],
)
def test_a_start_that_cannot_be_done_is_refused(board: Board, start: m.Start, fault: m.Fault) -> None:
    """A divider of 0, a stream that this firmware lacks, and other channels are an ERROR, and nothing streams."""
    board.hear(HELLO)
    [error] = only(board.hear(start), m.Error)
    assert (error.fault, error.ref_type, error.ref_seq) == (fault, m.Start.CODE, 1)
    assert error.detail == (SCHEMA.hash if fault is m.Fault.schema else m.Start.CODE)
    assert board.state is m.State.ready
