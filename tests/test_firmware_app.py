"""firmware/app.c under ASan and UBSan, on a board whose clock and wires are the test's."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, TypeVar

import msgspec
import numpy as np
import pytest
from c_process import CProcess
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_bridge import messages as m
from firmware_bridge.build import FIRMWARE
from firmware_bridge.layout import Message
from firmware_bridge.schema import Schema, WireChannel
from firmware_bridge.wire import Frame, FrameDecoder, FrameEncoder, encode_frame
from rtsysid.spec import Floats

SOURCES = [FIRMWARE / name for name in ("app.c", "wire.c", "tx.c")]
SCHEMA = Schema((*(WireChannel(f"c{i}") for i in range(10)), WireChannel("m", kind="u8")), 500.0)
SESSION = 5
M = TypeVar("M", bound=Message)


class Board(CProcess):
    """A board under a test: `poll` moves time, runs the main loop once, and decodes what the board sent."""

    def __init__(self) -> None:
        super().__init__("app_driver", SOURCES)
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


@pytest.fixture(scope="module")
def process() -> Iterator[Board]:
    with Board() as board:
        yield board


@pytest.fixture
def board(process: Board) -> Board:
    """Just started; its first words were read."""
    process.boot()
    process.poll()
    return process


@pytest.fixture
def streaming(board: Board) -> Board:
    board.hear(HELLO, START)
    return board


def values(seed: int = 0) -> Floats:
    return np.append(np.random.default_rng(seed).normal(size=10), 3).astype(np.float32)


def only(frames: list[Frame], kind: type[M]) -> list[M]:
    return [x for f in frames if isinstance(x := f.message(), kind)]


def heartbeat(board: Board) -> m.Heartbeat:
    [beat] = only(board.poll(500_000), m.Heartbeat)
    return beat


def test_a_board_says_at_boot_what_it_is(process: Board) -> None:
    """The first frame after a reset is a HELLO_ACK of session 0 with the board's identity, after a delimiter."""
    process.boot(boot_id=91)
    [frame] = process.poll()
    [ack] = only([frame], m.HelloAck)
    assert frame[:4] == (m.HelloAck.CODE, 0, 0, 1000)
    assert (ack.magic, ack.major, ack.minor, ack.boot_id) == (m.MAGIC, m.MAJOR, m.MINOR, 91)
    assert (ack.channels, ack.sample_size, ack.period_us) == (SCHEMA.width, SCHEMA.size, 2000)
    assert (ack.schema_hash, ack.schema_size) == (SCHEMA.hash, len(SCHEMA.compressed))
    assert (ack.uid, ack.timer_hz, ack.receive_window) == (0x0123456789ABCDEF, 84_000_000, 512)
    assert (ack.reset_reason, ack.firmware, ack.model_hash) == (m.Reason.power_on, "test 1", 0)
    assert process.state is m.State.idle


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
    """A HELLO that looks like a frame that came already, from a host that began anew, is answered all the same."""
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
    """What is captured before START or after STOP is never sent."""
    board.hear(HELLO)
    board.capture(values())
    assert only(board.hear(START), m.Sample) == []
    board.capture(values())
    assert only(board.hear(m.Stop(), START), m.Sample) == []
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
    """With nobody reading, whole frames are dropped, counted, and seen as lost by the host; none comes damaged."""
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
def test_any_pace_of_the_transmitter_leaves_whole_frames(process: Board, steps: list[tuple[int, int]]) -> None:
    """However many bytes the line takes at a time, the host decodes every frame that was not counted as dropped."""
    process.boot()
    process.hear(HELLO, START)
    sent = 0
    got = []
    for captures, room in steps:
        process.room(room)
        for _ in range(captures):
            process.capture(values(), sent)
            sent += 1
        got += process.poll()
    process.room(1 << 16)
    got += process.poll()
    drops = heartbeat(process).tx_drop
    assert len(only(got, m.Sample)) == sent - drops
    assert process.decoder.counters.crc == process.decoder.counters.cobs == 0


def test_time_is_answered_with_the_devices_clock(board: Board) -> None:
    """TIME_RSP gives back t0 and the device's microseconds of question and answer."""
    board.hear(HELLO)
    board.poll(1234)
    assert only(board.hear(m.TimeReq(2**63 + 5)), m.TimeRsp) == [m.TimeRsp(2**63 + 5, 2234, 2234)]


def test_a_heartbeat_each_half_second_over_the_wrap(process: Board) -> None:
    """Heartbeats come at 2 Hz with the uptime, also where the 32-bit clock wraps; a board without a host is silent."""
    process.boot(now=2**32 - 1_200_000)
    assert [f.type for f in process.poll(600_000)] == [m.HelloAck.CODE]
    process.hear(HELLO)
    beats = []
    for _ in range(30):
        process.hear(HOST_BEAT)
        beats += only(process.poll(100_000), m.Heartbeat)
    assert [b.uptime_ms for b in beats] == [1100, 1600, 2100, 2600, 3100, 3600]
    assert {b.state for b in beats} == {m.State.ready}
    assert process.state is m.State.ready


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
    """After 1.5 s without a heartbeat outputs go to safety once, predictions are ignored, counted, and it is said."""
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
def test_nothing_from_a_host_breaks_the_board(process: Board, parts: list[bytes]) -> None:
    """After any bytes and any payloads in sound frames, the board answers the next HELLO in step."""
    process.boot()
    process.hear(HELLO, START)
    for part in parts:
        process.capture(values())
        process.hear_bytes(part)
    process.encoder.frames += 10
    process.hear_bytes(b"\0")
    assert len(only(process.hear(HELLO), m.HelloAck)) == 1
