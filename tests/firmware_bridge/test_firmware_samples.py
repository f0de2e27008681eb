"""firmware/app.c: samples, the transmitter, and what happens where there is no room."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from support.app_board import HELLO, SCHEMA, START, Board, heartbeat, only, values

from firmware_bridge import messages as m


def test_a_sample_carries_the_instant_of_its_capture(streaming: Board) -> None:
    """However late the main loop comes, a SAMPLE has the interrupt's time and values, in order, none missing."""
    for i in range(5):
        streaming.capture(values(i), 2000 * i)
    frames = streaming.poll(123_456)
    assert [f.t_us for f in frames] == [0, 2000, 4000, 6000, 8000]
    for i, frame in enumerate(frames):
        np.testing.assert_array_equal(SCHEMA.unpack(frame.payload), values(i))
    assert streaming.decoder.counters.clean


def test_samples_flow_only_while_streaming(board: Board) -> None:
    """A sample from before START or after STOP is never sent; each one between them is sent before the answer to
    STOP."""
    board.hear(HELLO)
    board.capture(values())
    assert only(board.hear(START), m.Sample) == []
    board.capture(values())
    assert [type(f.message()) for f in board.hear(m.Stop(), START)] == [m.Sample, m.Ack, m.Ack]
    board.hear(m.Stop())
    board.capture(values())
    assert only(board.hear(START), m.Sample) == []


def test_the_divider_thins_the_stream(board: Board) -> None:
    """With a divider of 3 the first and then each third sample is sent."""
    thin = m.Start(1, 3, SCHEMA.hash)
    board.hear(HELLO, thin)
    sent = []
    for i in range(10):
        board.capture(values(), i)
        sent += [f.t_us for f in board.poll()]
        board.hear(thin)  # once more is no new beginning
    assert sent == [0, 3, 6, 9]
    board.capture(values(), 10)
    board.poll()
    board.hear(m.Stop(), thin)
    board.capture(values(), 11)
    assert [f.t_us for f in board.poll()] == [11]


def test_the_answers_to_start_and_stop_count_what_was_captured(board: Board) -> None:
    """The ACKs of START and STOP and the BYE say how many samples were captured for the host since boot: those that
    found no room, those that the loop missed, and those of earlier sessions, too; a repeated START says it again."""
    board.hear(HELLO)
    board.capture(values())
    [begun] = only(board.hear(START), m.Ack)
    for _ in range(12):
        board.capture(values())
    board.poll()
    [again] = only(board.hear(START), m.Ack)
    [ended] = only(board.hear(m.Stop()), m.Ack)
    assert [ack.samples for ack in (begun, again, ended)] == [0, 0, 12]
    board.capture(values())
    board.hear(START)
    board.capture(values())
    board.hear(HELLO)  # what waits is thrown away, and counted
    [begun] = only(board.hear(START), m.Ack)
    assert begun.samples == 13
    board.capture(values())
    board.tell(b"Y", bytes([m.Reason.finished]))
    assert [each.samples for each in only(board.poll(), m.Bye)] == [14]


def test_silence_is_ended_by_a_delimiter(board: Board) -> None:
    """What the board sends after 100 ms without a frame begins with an extra delimiter, and before that without."""
    assert board.sent[0] == 0
    board.hear(HELLO)
    for pause, extra in ((99_999, False), (100_000, True), (1, False)):
        board.poll(pause)
        board.hear(m.TimeReq(0))
        assert (board.sent[0] == 0) == extra


def test_a_flood_does_not_hold_up_the_loop(streaming: Board) -> None:
    """A poll takes in no more than a kilobyte, however much has come; what is left is for the next ones."""
    flood = b"".join(streaming.encoder.encode(m.TimeReq(i), streaming.now) for i in range(100))
    streaming.tell(b"R", flood)
    answers = [len(only(streaming.poll(), m.TimeRsp)) for _ in range(4)]
    assert max(answers) <= 1024 // 22 + 1  # of which one began in the poll before
    assert sum(answers) == 100


def test_samples_that_overtake_the_loop_are_counted(streaming: Board) -> None:
    """Of 13 captures without a loop between, 8 are sent and 5 are reported as missed."""
    for i in range(13):
        streaming.capture(values(), i)
    assert [f.t_us for f in streaming.poll()] == list(range(8))
    assert heartbeat(streaming).missed_samples == 5


def test_a_full_ring_drops_whole_frames_and_counts_them(streaming: Board) -> None:
    """Without a reader, whole frames are dropped, counted, and seen as lost by the host; none comes damaged."""
    streaming.room(0)
    for i in range(60):
        streaming.capture(values(i), i)
        assert streaming.poll() == []
    streaming.room(1 << 16)
    before = streaming.poll()
    streaming.capture(values(), 60)
    [after] = streaming.poll()
    beat = heartbeat(streaming)
    assert [f.t_us for f in before] == list(range(len(before)))
    assert 0 < len(before) < 60
    assert beat.tx_drop == 60 - len(before) == streaming.decoder.counters.lost
    assert after.t_us == 60
    assert beat.tx_frames == 2 + len(before) + 1  # HELLO_ACK and ACK, the samples, one more
    assert streaming.decoder.counters.crc == streaming.decoder.counters.cobs == 0
    assert 2048 - 320 - 80 < beat.tx_high_water <= 2048 - 320
    streaming.hear(HELLO)
    assert heartbeat(streaming).tx_high_water < 200


def test_answers_that_find_no_room_are_dropped_whole(streaming: Board) -> None:
    """With a stuck line the ring takes answers up to its last byte, and not one byte of the next."""
    streaming.room(0)
    for i in range(200):
        streaming.hear(m.TimeReq(i))
    streaming.room(1 << 16)
    answers = only(streaming.poll(), m.TimeRsp)
    assert [a.t0 for a in answers] == list(range(len(answers)))
    beat = heartbeat(streaming)
    assert beat.tx_drop == 200 - len(answers)
    assert 2048 - 40 < beat.tx_high_water <= 2048
    assert streaming.decoder.counters.crc == streaming.decoder.counters.cobs == 0


def test_answers_find_room_where_samples_do_not(streaming: Board) -> None:
    """Samples leave a part of the ring free, so that a stuck line still gets its answers."""
    streaming.room(0)
    for _ in range(60):
        streaming.capture(values())
        streaming.poll()
    streaming.hear(m.TimeReq(1), m.Stop())
    streaming.room(1 << 16)
    assert [type(f.message()) for f in streaming.poll()[-2:]] == [m.TimeRsp, m.Ack]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 200)), max_size=60))
def test_any_pace_of_the_transmitter_leaves_whole_frames(app: Board, steps: list[tuple[int, int]]) -> None:
    """However many bytes the line takes at a time, the host decodes every frame that was not counted as dropped."""
    app.boot()
    app.hear(HELLO, START)
    sent = 0
    got = []
    for captures, room in steps:
        app.room(room)
        for _ in range(captures):
            app.capture(values(), sent)
            sent += 1
        got += app.poll()
    app.room(1 << 16)
    got += app.poll()
    drops = heartbeat(app).tx_drop
    assert len(only(got, m.Sample)) == sent - drops
    assert app.decoder.counters.crc == app.decoder.counters.cobs == 0
