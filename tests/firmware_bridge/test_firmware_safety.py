"""firmware/app.c: time, heartbeats, the mailbox of predictions, and safety when the host is lost."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.app_board import HELLO, HOST_BEAT, SCHEMA, SESSION, START, Board, heartbeat, only, values

from firmware_bridge import messages as m
from firmware_bridge.layout import Message
from firmware_bridge.wire import Frame, encode_frame


def test_time_is_answered_with_the_devices_clock(board: Board) -> None:
    """TIME_RSP gives back t0 and the device's microseconds of question and answer."""
    board.hear(HELLO)
    board.poll(1234)
    assert only(board.hear(m.TimeReq(2**63 + 5)), m.TimeRsp) == [m.TimeRsp(2**63 + 5, 2234, 2234)]


def test_a_heartbeat_each_half_second_over_the_wrap(app: Board) -> None:
    """Heartbeats come at 2 Hz with the uptime, also where the 32-bit clock wraps; a board without a host is silent."""
    app.boot(now=2**32 - 1_200_000)
    assert [f.type for f in app.poll(600_000)] == [m.HelloAck.CODE]
    app.hear(HELLO)
    beats = []
    for _ in range(30):
        app.hear(HOST_BEAT)
        beats += only(app.poll(100_000), m.Heartbeat)
    assert [b.uptime_ms for b in beats] == [1100, 1600, 2100, 2600, 3100, 3600]
    assert {b.state for b in beats} == {m.State.ready}
    assert app.state is m.State.ready


def test_the_heartbeat_tells_what_the_device_heard(streaming: Board) -> None:
    """Every receive counter of the device is in its heartbeat: what was damaged, lost, doubled, foreign, unknown."""
    ping = [streaming.encoder.encode(m.TimeReq(i), streaming.now) for i in range(6)]
    hurt = bytearray(ping[1])
    hurt[5] ^= 0x40
    foreign = encode_frame(Frame(m.Stop.CODE, SESSION + 1, 0, 0, b""))
    strange = streaming.encoder.encode_payload(0x77, b"", streaming.now)
    short = streaming.encoder.encode_payload(m.Start.CODE, b"", streaming.now)
    data = ping[0] + hurt + ping[2] + ping[2] + ping[4] + ping[3] + foreign + strange + short + b"\1" * 300 + b"\0\1\0"
    streaming.tell(b"O", struct.pack("<I", 17))
    streaming.hear_bytes(data + ping[5])
    beat = heartbeat(streaming)
    found = {k: v for k in beat.__struct_fields__ if k.startswith("rx_") and (v := getattr(beat, k))}
    assert found == {
        "rx_ok": 6, "rx_crc": 1, "rx_duplicate": 1, "rx_lost": 1, "rx_reordered": 2, "rx_foreign": 1, "rx_unknown": 1,
        "rx_malformed": 1, "rx_oversize": 1, "rx_runt": 1, "rx_overrun": 17,
    }  # fmt: skip
    assert beat.stack_free == 1234


def test_the_heartbeat_tells_the_longest_loop_since_the_last(streaming: Board) -> None:
    """loop_max_us is the longest time between two polls since the heartbeat before."""
    streaming.hear(HOST_BEAT)
    streaming.poll(300_000)
    assert heartbeat(streaming).loop_max_us == 500_000
    streaming.hear(HOST_BEAT)
    beats = [b for _ in range(10) for b in only(streaming.poll(50_000), m.Heartbeat)]
    assert [b.loop_max_us for b in beats] == [50_000]


def predict(ref: int, *y: float) -> m.Prediction:
    return m.Prediction(ref, m.Status.ok, 800, 2000, y)


def test_the_mailbox_holds_the_latest_prediction(streaming: Board) -> None:
    """Of several predictions the newest is there, as often as it is asked for, with its age and time of arrival."""
    assert streaming.latest() is None
    streaming.hear(predict(1, 1.0), predict(2, 2.0), predict(3, 3.0, -0.5))
    for _ in range(2):
        assert streaming.latest() == (3, m.Status.ok, 800, 2000, streaming.now, (3.0, -0.5))
    full = tuple(float(i) for i in range((m.MAX_PAYLOAD - m.Prediction.LAYOUT.size) // 4))
    streaming.hear(predict(4, *full))
    assert streaming.latest() == (4, m.Status.ok, 800, 2000, streaming.now, full)
    assert heartbeat(streaming).predictions == 4


def test_a_prediction_for_other_channels_is_refused(streaming: Board) -> None:
    """A prediction whose CRC is seeded with another table's hash never reaches the mailbox."""
    streaming.encoder.schema ^= 1
    streaming.hear(predict(1, 1.0), predict(2, 2.0))
    assert streaming.latest() is None
    assert heartbeat(streaming).rx_schema == 2


def test_a_lost_host_makes_the_board_safe(streaming: Board) -> None:
    """After 1.5 s without a heartbeat outputs become safe once; predictions are ignored and counted; a LOG is sent."""
    streaming.hear(predict(1, 1.0))
    safes = streaming.safes
    assert only(streaming.poll(1_500_000), m.Log) == []
    assert streaming.state is m.State.streaming
    [log] = only(streaming.poll(1), m.Log)
    assert "host lost" in log.text
    assert (streaming.state, streaming.safes, streaming.latest()) == (m.State.safe, safes + 1, None)
    streaming.poll(200_000)
    [log] = only(streaming.hear(predict(2, 2.0)), m.Log)
    assert "ignored" in log.text
    assert streaming.latest() is None
    streaming.capture(values())
    assert len(only(streaming.poll(), m.Sample)) == 1, "it streams on: the host may still hear"
    beat = heartbeat(streaming)
    assert (beat.state, beat.predictions, beat.predictions_ignored) == (m.State.safe, 1, 1)
    assert streaming.safes == safes + 1


def test_a_host_that_comes_back_is_listened_to_again(streaming: Board) -> None:
    """With the next heartbeat predictions count again, and the board says so."""
    streaming.poll(1_600_000)
    [log] = only(streaming.poll(0) + streaming.poll(200_000) + streaming.hear(HOST_BEAT), m.Log)
    assert "back" in log.text
    streaming.hear(predict(5, 1.0))
    assert streaming.state is m.State.streaming
    assert streaming.latest() is not None


def test_a_new_session_is_not_lost(streaming: Board) -> None:
    """A HELLO ends what was lost before: the board is ready at once, and listens."""
    streaming.poll(1_600_000)
    assert streaming.state is m.State.safe
    streaming.hear(HELLO)
    assert streaming.state is m.State.ready
    streaming.hear(START, predict(1, 1.0))
    assert streaming.latest() is not None


def test_beating_hearts_keep_the_link_up(streaming: Board) -> None:
    """With a heartbeat of the host each quarter second the link stays up for as long as it is watched."""
    frames = streaming.live(10_000_000)
    assert only(frames, m.Log) == []
    assert len(only(frames, m.Heartbeat)) == 20
    assert streaming.state is m.State.streaming


@pytest.mark.parametrize("end", [m.Stop(), m.Bye(m.Reason.finished), HELLO])
def test_the_end_of_a_stream_makes_the_board_safe(streaming: Board, end: Message) -> None:
    """STOP, BYE and a new HELLO bring outputs to safety, empty the mailbox, and predictions after are ignored."""
    streaming.hear(predict(1, 1.0))
    safes = streaming.safes
    streaming.hear(end)
    assert streaming.safes == safes + 1
    [log] = only(streaming.hear(predict(2, 2.0)), m.Log)
    assert "not streaming" in log.text
    assert streaming.latest() is None


def test_a_board_says_bye_after_its_last_sample(streaming: Board) -> None:
    """BYE comes after everything that was captured, and ends the session."""
    streaming.capture(values())
    streaming.tell(b"Y", bytes([m.Reason.finished]))
    assert [type(f.message()) for f in streaming.poll()] == [m.Sample, m.Bye]
    assert streaming.state is m.State.idle


def test_logs_are_at_most_ten_a_second(streaming: Board) -> None:
    """A flood of reasons to complain makes at most ten LOGs a second; the counter has all of them."""
    streaming.hear(m.Stop())
    logs = []
    for _ in range(100):
        logs += only(streaming.hear(predict(1, 1.0)), m.Log)
        streaming.poll(10_000)
    assert len(logs) == 10
    assert heartbeat(streaming).predictions_ignored == 100


def test_a_long_line_is_cut(board: Board) -> None:
    """A LOG of more than 200 bytes is sent with its first 200."""
    board.tell(b"L", bytes([m.Level.error]) + b"x" * 300)
    assert only(board.poll(), m.Log) == [m.Log(m.Level.error, "x" * 200)]


def test_counters_begin_with_the_session(streaming: Board) -> None:
    """What went wrong before a HELLO is not held against the session that it begins."""
    for _ in range(20):
        streaming.capture(values())
    streaming.hear_bytes(b"\1\2\3\0" * 20)
    streaming.tell(b"O", struct.pack("<I", 40))
    streaming.hear(predict(1, 1.0), HELLO, START)
    beat = heartbeat(streaming)
    counted = {k: getattr(beat, k) for k in beat.__struct_fields__ if k.startswith(("rx_", "tx_dr", "pred", "miss"))}
    assert {k: v for k, v in counted.items() if v} == {"rx_ok": 1}


def test_a_message_for_hosts_is_unknown_to_a_device(streaming: Board) -> None:
    """A device that hears what only devices say, or what this firmware lacks, counts it as unknown and goes on."""
    streaming.hear(m.Ack(0, 0, 0, 0), m.Echo(1, b"x"), m.Sample())
    beat = heartbeat(streaming)
    assert (beat.rx_ok, beat.rx_unknown) == (1, 3)


host = st.builds(
    lambda code, payload, seq: encode_frame(Frame(code, SESSION, seq, 0, payload), SCHEMA.hash),
    st.sampled_from(list(m.MESSAGES)), st.binary(max_size=m.MAX_PAYLOAD), st.integers(0, 3),
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(host, st.binary(max_size=100)), max_size=30))
def test_nothing_from_a_host_breaks_the_board(app: Board, parts: list[bytes]) -> None:
    """After any bytes and any payloads in sound frames, the board answers the next HELLO in step."""
    app.boot()
    app.hear(HELLO, START)
    for part in parts:
        app.capture(values())
        app.hear_bytes(part)
    app.encoder.frames += 10
    app.hear_bytes(b"\0")
    assert len(only(app.hear(HELLO), m.HelloAck)) == 1
