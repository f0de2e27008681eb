"""The host's side of the conversation, without a port and in simulated time."""

from __future__ import annotations

import itertools
import random
from typing import Any

import numpy as np
import pytest
from fake_board import STEP_S, FakeBoard, converse, table
from hypothesis import given, settings
from hypothesis import strategies as st
from test_session import plant_spec

from firmware_bridge import messages as msg
from firmware_bridge.conversation import Conversation, LinkState
from firmware_bridge.peer import Wish
from firmware_bridge.schema import Schema, WireChannel
from rtsysid.errors import LinkError
from rtsysid.spec import Channel, ModelSpec


def model(rate_hz: float = 100.0, **changes: Any) -> ModelSpec:
    """A specification of the fake board's channels."""
    spec = plant_spec()
    channels = tuple(Channel(c.name, c.unit, c.role) for c in table().spec_channels)
    fields = {name: getattr(spec, name) for name in ModelSpec.__struct_fields__}
    return ModelSpec(**{**fields, "channels": channels, "rate_hz": rate_hz, **changes})


def meeting(
    board: FakeBoard, wish: Wish | None = None, seconds: float = 2.0, started_s: float = 3.0
) -> tuple[Conversation, list[Any], float]:
    """A host and a board that booted at `started_s` meet at 10 s and talk for so long."""
    talk = Conversation(wish or Wish())
    talk.open(10.0)
    board.started_s = started_s
    arrivals, now_s = converse(talk, board, seconds, 10.0)
    return talk, arrivals, now_s


def said(board: FakeBoard, kind: type) -> int:
    return sum(type(message) is kind for message in board.heard)


def test_from_hello_to_samples() -> None:
    """Over a good line each request is made once, the clock is set, and every sample comes with its time on both
    clocks."""
    board = FakeBoard()
    talk, arrivals, _ = meeting(board)
    assert talk.state is LinkState.STREAMING
    assert [said(board, kind) for kind in (msg.Hello, msg.Start)] == [1, 1]
    assert said(board, msg.SchemaGet) == 1
    assert talk.board is not None
    assert talk.board.schema == board.schema
    assert talk.board.about()["firmware"] == "fake 1.0"
    assert len(arrivals) == pytest.approx(150, abs=20)
    assert [a.sample.values[0] for a in arrivals] == list(range(int(arrivals[0].sample.values[0]), board.tick + 1))
    for arrival in arrivals:
        assert arrival.sample.t == arrival.device_t_us * 1e-6
        assert arrival.captured_s == pytest.approx(arrival.sample.t + 3.0, abs=STEP_S)
        assert 0 <= arrival.received_s - arrival.captured_s < 0.02
    assert talk.counters.clean
    assert talk.counters.ok > len(arrivals)
    assert (talk.losses, talk.intake.gaps, talk.intake.samples) == (0, 0, len(arrivals))


def test_hello_is_repeated_until_answered() -> None:
    """While nobody answers a HELLO goes out each 100 ms; the first answer ends that."""
    board = FakeBoard()
    board.mute = {msg.Hello}
    talk, _, now_s = meeting(board, seconds=1.0)
    assert (talk.state, said(board, msg.Hello)) == (LinkState.HELLO, 10)
    board.mute = set()
    converse(talk, board, 1.5, now_s)
    assert (talk.state, said(board, msg.Hello)) == (LinkState.STREAMING, 11)


def test_a_line_that_leads_nowhere_is_given_up() -> None:
    """After fifty HELLOs the line counts as lost, so that it is opened again; no board was lost, though."""
    board = FakeBoard()
    board.mute = {msg.Hello}
    talk, _, now_s = meeting(board, seconds=20.0)
    assert talk.state is LinkState.LOST
    assert (said(board, msg.Hello), talk.losses) == (50, 0)
    assert now_s - 10.0 == pytest.approx(5.0, abs=0.1)


@pytest.mark.parametrize("request_", [msg.SchemaGet, msg.Start])
def test_a_request_without_an_answer_is_made_five_times(request_: type) -> None:
    """Stop and wait: five times in 100 ms, then the board counts as lost, with the request's name."""
    board = FakeBoard()
    board.mute = {request_}
    talk, _, _ = meeting(board, seconds=5.0)
    assert talk.state is LinkState.LOST
    assert said(board, request_) == 5
    name = "START" if request_ is msg.Start else "SCHEMA_GET"
    assert talk.news[-1] == f"lost: no answer to {name}"
    assert talk.losses == 1


def test_a_known_table_is_not_fetched_again() -> None:
    """When the same board comes back its channel table is known by its hash, and its clock by its boot id."""
    board = FakeBoard()
    talk, before, now_s = meeting(board)
    talk.lose("cable")
    talk.open(now_s)
    board.mute = {msg.TimeReq}
    after, _ = converse(talk, board, 0.5, now_s)
    assert said(board, msg.SchemaGet) == 1
    assert talk.state is LinkState.STREAMING
    assert after[0].received_s - now_s < 0.1
    assert after[0].boot == before[-1].boot
    assert (talk.losses, talk.intake.reboots) == (1, 0)
    assert talk.intake.gaps == after[0].sample.values[0] - before[-1].sample.values[0] - 1


@pytest.mark.parametrize("rows", [60, 200])
def test_a_large_table_comes_in_pieces(rows: int) -> None:
    """A channel table of many pieces is put together; pieces of another offset are ignored."""
    names = [f"{np.random.default_rng(k).integers(1 << 40):010x}" for k in range(rows)]
    board = FakeBoard(Schema(tuple(WireChannel(n, kind="u8") for n in names), 100.0))
    board.mute = {msg.SchemaGet}
    talk = Conversation(Wish())
    talk.open(0.0)
    converse(talk, board, 0.05, 0.0)
    board.say(msg.SchemaData(200, b"of another question"), 0.05)
    converse(talk, board, 0.05, 0.05)
    board.mute, board.heard = {msg.Start}, []
    converse(talk, board, 1.0, 0.1)
    assert said(board, msg.SchemaGet) == -(-len(board.schema.compressed) // msg.SCHEMA_PIECE) > 2
    assert talk.board is not None
    assert talk.board.schema == board.schema


def test_a_table_that_is_not_the_one_announced_is_refused() -> None:
    """A firmware whose table and hash disagree would spoil every CRC: it is named, and nothing streams."""
    board = FakeBoard(schema_hash=5)
    with pytest.raises(LinkError, match=f"hashes to {board.schema.hash:08x}, not 00000005"):
        meeting(board)


def test_another_protocol_is_refused_with_both_versions() -> None:
    """Firmware of another major version is named with what it speaks and what we speak, whoever notices first."""
    with pytest.raises(LinkError, match=f"speaks protocol 00000001.0, this library {msg.version()}; reflash"):
        meeting(FakeBoard(major=1))
    board = FakeBoard()
    board.mute = {msg.Hello}
    talk = Conversation(Wish())
    talk.open(0.0)
    converse(talk, board, 0.1, 0.0)
    board.encoder.session = talk.session
    board.say(msg.Error(msg.Fault.version, msg.Hello.CODE, 0, 2, "too old"), 0.1)
    with pytest.raises(LinkError, match=r"speaks protocol 00000002\.0"):
        converse(talk, board, 0.1, 0.1)


@pytest.mark.parametrize(
    ("spec", "named"),
    [
        (model(), None),
        (model(rate_hz=25.0), None),
        (model(rate_hz=70.0), "rate_hz"),
        (model(rate_hz=200.0), "rate_hz"),
        (model(channels=(Channel("u", "A", "input"), Channel("y", "m"), Channel("v", "m/s"))), "u.unit"),
        (model(channels=(Channel("u", "V", "input"), Channel("v", "m/s"), Channel("y", "m"))), "order"),
        (model(channels=(Channel("u", "V", "input"), Channel("y", "m"), Channel("w", "m/s"))), "v, w"),
    ],
)
def test_a_board_that_the_model_was_not_made_for_is_refused(spec: ModelSpec, named: str | None) -> None:
    """Channels, units, order and rate must agree, or the fields that differ are named; a multiple of the rate is
    divided on the board."""
    board = FakeBoard()
    if named is None:
        _, arrivals, _ = meeting(board, Wish(spec))
        steps = {round(b.device_t_us - a.device_t_us, -3) for a, b in itertools.pairwise(arrivals)}
        assert steps == {round(1e6 / spec.rate_hz)}
    else:
        with pytest.raises(LinkError, match=f"differs from the model in {named};"):
            meeting(board, Wish(spec))


def test_a_wire_that_is_too_slow_is_refused_with_the_rate_that_fits() -> None:
    """More than 70 % of the wire's bytes is refused, and what would fit is said; just below is fine."""
    board = FakeBoard(table(1000.0))
    bytes_each = 3 * 4 + 14
    with pytest.raises(LinkError, match=r"1000 Hz of 26 bytes fill 71% of the wire; at most 990 Hz fit"):
        meeting(board, Wish(capacity=1000 * bytes_each / 0.707))
    talk, _, _ = meeting(board, Wish(capacity=1000 * bytes_each / 0.699))
    assert talk.state is LinkState.STREAMING
    talk, _, _ = meeting(board, Wish(divider=2, capacity=500 * bytes_each / 0.699))
    assert talk.state is LinkState.STREAMING


def test_the_schedule_of_round_trips_and_heartbeats() -> None:
    """Round trips go out at 50 ms until the eighth has set the clock, then each 0.98 s; heartbeats at 2 Hz always."""
    board = FakeBoard()
    meeting(board, seconds=10.4)
    assert said(board, msg.TimeReq) == 9 + 10
    assert said(board, msg.Heartbeat) == 21


def test_a_board_without_round_trips_streams_all_the_same() -> None:
    """After a second without an answer samples are asked for, and their age is measured from the least lag."""
    board = FakeBoard()
    board.mute = {msg.TimeReq}
    talk, arrivals, _ = meeting(board, seconds=5.0)
    assert talk.state is LinkState.STREAMING
    assert not talk.intake.clock.converged
    assert said(board, msg.TimeReq) < 25
    assert all(-1e-9 <= a.received_s - a.captured_s < 0.02 for a in arrivals)


def test_three_missed_heartbeats_are_a_lost_board() -> None:
    """Silence makes the stream stale after 100 ms and the board lost after 1.5 s."""
    board = FakeBoard()
    talk, _, now_s = meeting(board)
    states = {}
    for step in range(340):
        talk.due(now_s + step * STEP_S)
        states.setdefault(talk.state, step * STEP_S)
    assert list(states) == [LinkState.STREAMING, LinkState.STALE, LinkState.LOST]
    assert states[LinkState.STALE] == pytest.approx(0.1, abs=0.02)
    assert states[LinkState.LOST] == pytest.approx(1.5, abs=0.02)
    assert talk.losses == 1


def test_a_stale_stream_comes_back() -> None:
    """A board that goes on after a pause is streaming again with its next sample, and the pause is a gap."""
    board = FakeBoard()
    talk, before, now_s = meeting(board)
    for step in range(60):
        talk.due(now_s + step * STEP_S)
    assert talk.state is LinkState.STALE
    board.tick += 30
    after, _ = converse(talk, board, 0.5, now_s + 0.3)
    assert talk.state is LinkState.STREAMING
    assert talk.intake.gaps == after[0].sample.values[0] - before[-1].sample.values[0] - 1 == 30
    assert (talk.losses, talk.counters.lost) == (0, 0)


def test_a_late_sample_is_no_gap_any_more() -> None:
    """Two samples that changed places are both delivered; what was counted as missing is taken off again, and one that
    comes twice takes nothing off."""
    board = FakeBoard()
    talk, _, now_s = meeting(board)
    pieces = [piece + b"\0" for piece in board.poll(now_s + 0.05).split(b"\0") if piece]
    first, second, *_ = [piece for piece in pieces if len(piece) == 3 * 4 + 14]
    came = talk.feed(second, now_s)
    assert talk.intake.gaps == 1
    came += talk.feed(first, now_s)
    assert talk.intake.gaps == 0
    came += talk.feed(second + first, now_s)
    assert [round(a.sample.values[0]) - round(came[1].sample.values[0]) for a in came] == [1, 0, 0]
    assert (talk.intake.gaps, talk.counters.reordered, talk.counters.duplicate) == (0, 2, 1)


def test_what_is_wrong_on_the_wire_is_counted_from_the_first_delimiter_on() -> None:
    """A changed byte of a later frame counts, and the sample it spoils is a gap."""
    board = FakeBoard()
    talk, _, now_s = meeting(board)
    _, now_s = converse(talk, board, 0.02, now_s, back=lambda data: data.replace(b"\x3f", b"\x3e", 1))
    converse(talk, board, 0.1, now_s)
    spoilt = talk.counters.crc + talk.counters.schema
    assert spoilt == talk.intake.gaps == talk.counters.lost > 0


def test_a_board_that_answers_but_forgot_to_stream_is_greeted_anew() -> None:
    """Heartbeats alone do not count for ever: after two seconds without samples the board counts as lost."""
    board = FakeBoard()
    talk, _, now_s = meeting(board)
    board.divider = 0
    _, later_s = converse(talk, board, 5.0, now_s)
    assert talk.state is LinkState.LOST
    assert later_s - now_s == pytest.approx(2.0, abs=0.1)


def test_a_restart_is_noticed_at_once() -> None:
    """A board that says hello unasked has restarted: a new session begins on the same line, with nothing of the old
    time, and the samples say so."""
    board = FakeBoard()
    talk, before, now_s = meeting(board, started_s=-3000.0)  # so long ago that its counter might have wrapped
    session = talk.session
    board.boot(now_s, boot_id=2)
    after, later_s = converse(talk, board, 1.5, now_s)
    assert talk.state is LinkState.STREAMING
    assert talk.session == session + 1
    assert (before[-1].boot, after[0].boot) == (1, 2)
    assert after[0].sample.t < 1.0 < before[-1].sample.t
    assert after[-1].captured_s == pytest.approx(after[-1].sample.t + now_s, abs=STEP_S)
    assert (talk.losses, talk.intake.reboots, talk.intake.gaps) == (1, 1, 0)
    board.tick += 3
    converse(talk, board, 0.5, later_s)
    assert talk.intake.gaps == 3


def test_a_restart_during_an_outage_is_noticed_by_the_boot_id() -> None:
    """A board that was reset while the cable was out comes back as another one."""
    board = FakeBoard()
    talk, _, now_s = meeting(board)
    talk.lose("cable")
    board.boot(now_s + 0.5, boot_id=77)
    board.poll(now_s)
    talk.open(now_s + 1.0)
    after, _ = converse(talk, board, 1.5, now_s + 1.0)
    assert {arrival.boot for arrival in after} == {77}
    assert talk.intake.reboots == 1


def test_a_board_that_came_back_as_another_is_refused() -> None:
    """Whoever takes the samples knows their channels: one that was flashed with others ends the session."""
    board = FakeBoard()
    talk, _, now_s = meeting(board)
    talk.lose("cable")
    talk.open(now_s)
    with pytest.raises(LinkError, match="not those of before; start again"):
        converse(talk, FakeBoard(table(unit="A")), 1.0, now_s)


def test_a_hello_unasked_saves_waiting() -> None:
    """A board that boots after the port was opened is greeted at once, not at the next turn."""
    board = FakeBoard()
    board.out = b""
    talk = Conversation(Wish())
    talk.open(0.0)
    talk.due(0.0)
    board.boot(0.02, boot_id=1)
    talk.feed(board.poll(0.02), 0.02)
    assert [type(message) for message in talk.due(0.02)] == [msg.Hello]


def test_goodbye() -> None:
    """Closing stops the stream and waits for the answer; a board that does not answer holds nobody up for long."""
    board = FakeBoard()
    talk, _, now_s = meeting(board)
    talk.close(now_s)
    _, later_s = converse(talk, board, 1.0, now_s)
    assert (talk.state, board.divider, said(board, msg.Stop)) == (LinkState.CLOSED, 0, 1)
    assert later_s - now_s < 0.05
    board = FakeBoard()
    talk, _, now_s = meeting(board)
    board.mute = {msg.Stop}
    talk.close(now_s)
    talk.close(now_s)
    _, later_s = converse(talk, board, 2.0, now_s)
    assert (talk.state, said(board, msg.Stop), talk.losses) == (LinkState.CLOSED, 5, 0)
    assert later_s - now_s < 0.6


def test_a_board_that_has_finished_ends_the_conversation() -> None:
    """BYE for a reason other than having finished means that the board will be back."""
    for reason, state in ((msg.Reason.finished, LinkState.CLOSED), (msg.Reason.software, LinkState.LOST)):
        board = FakeBoard()
        talk, _, now_s = meeting(board)
        board.say(msg.Bye(reason), now_s)
        converse(talk, board, 0.1, now_s)
        assert talk.state is state


def test_what_a_board_says_is_news() -> None:
    """Logs and errors of the board are lines for a person, and of many only the newest are kept."""
    board = FakeBoard()
    talk, _, now_s = meeting(board)
    assert list(talk.news) == ["board fake 1.0, boot 00000001: streaming"]
    board.say(msg.Log(msg.Level.warning, "hot\x1b[2J"), now_s)
    board.say(msg.Error(msg.Fault.request, 9, 0, 0, "what?"), now_s)
    converse(talk, board, 0.1, now_s)
    assert list(talk.news)[1:] == ["board: hot?[2J", "board: what?"]
    for _ in range(200):
        board.say(msg.Log(msg.Level.info, "again"), now_s)
    converse(talk, board, 0.1, now_s)
    assert list(talk.news) == ["board: again"] * 100


def test_the_end_of_a_frame_at_opening_is_no_fault() -> None:
    """A line that is opened in the middle of a frame begins at the next delimiter, and nothing is counted."""
    board = FakeBoard()
    talk, _, now_s = meeting(board)
    rest = board.poll(now_s + 0.3)[5:]
    talk.open(now_s + 0.3)
    talk.feed(rest[:3], now_s + 0.3)
    talk.feed(rest[3:], now_s + 0.3)
    assert talk.counters.clean


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0.02, 0.05, 0.2]))
def test_over_a_bad_line_it_gets_there(seed: int, share: float) -> None:
    """Whatever single pieces of either direction are changed, cut out or doubled, samples flow in the end, no value is
    false, and every tick of the board is a sample or a gap."""
    chance = random.Random(seed)

    def bad(data: bytes) -> bytes:
        if not data or chance.random() > share:
            return data
        at = chance.randrange(len(data))
        kind = chance.choice(["flip", "cut", "double"])
        if kind == "flip":
            return data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :]
        return data[:at] + data[at:] * 2 if kind == "double" else data[:at] + data[at + 1 :]

    board, talk, now_s = FakeBoard(), Conversation(Wish()), 0.0
    arrivals: list[Any] = []
    while len(arrivals) < 300:
        assert now_s < 120
        talk.open(now_s)
        came, now_s = converse(talk, board, 5.0, now_s, bad, bad)
        arrivals += came
    came, _ = converse(talk, board, 1.0, now_s) if talk.state is LinkState.STREAMING else ([], 0.0)
    arrivals += came
    ticks = [round(a.sample.values[0]) for a in arrivals]
    assert all(abs(a.device_t_us - tick * 10_000) <= 1 for a, tick in zip(arrivals, ticks, strict=True))
    in_order = [tick for k, tick in enumerate(ticks) if tick > max(ticks[:k], default=0)]
    assert len(set(ticks)) + talk.intake.gaps >= in_order[-1] - in_order[0] + 1
