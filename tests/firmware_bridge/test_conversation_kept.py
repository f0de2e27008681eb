"""The conversation once it runs: what is lost, what comes back, and how it ends; in simulated time."""

from __future__ import annotations

import random
from collections import deque
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.fake_board import STEP_S, FakeBoard, converse, meeting, said, table

from firmware_bridge import messages as msg
from firmware_bridge.conversation import Conversation, LinkState
from firmware_bridge.peer import Requirements
from rtsysid.errors import LinkError


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


def test_a_slow_board_is_no_trouble() -> None:
    """A board that answers after 150 ms gets requests twice and answers each: nothing of that was not asked for. An
    answer too many is."""
    board, talk, sent = FakeBoard(), Conversation(Requirements()), deque([b""] * 30)

    def late(data: bytes) -> bytes:
        sent.append(data)
        return sent.popleft()

    talk.open(10.0)
    board.started_s = 3.0
    _, now_s = converse(talk, board, 4.0, 10.0, back=late)
    assert talk.state is LinkState.STREAMING
    assert min(said(board, kind) for kind in (msg.SchemaGet, msg.Start)) >= 2
    assert talk.unasked == 0
    board.say(msg.Ack(msg.Start.CODE, 0, 1, 1), now_s)
    board.say(msg.SchemaData(0, b"x"), now_s)
    talk.feed(board.poll(now_s), now_s)
    assert talk.unasked == 2


def test_a_late_sample_is_no_gap_any_more() -> None:
    """Two samples that changed places are both delivered; what was counted as missing is taken off again. If they come
    once more, in any order, they are not delivered and take nothing off."""
    board = FakeBoard()
    talk, _, now_s = meeting(board)
    pieces = [piece + b"\0" for piece in board.poll(now_s + 0.05).split(b"\0") if piece]
    first, second, *_ = [piece for piece in pieces if len(piece) == 3 * 4 + 14]
    came = talk.feed(second, now_s)
    assert talk.intake.gaps == 1
    came += talk.feed(first, now_s)
    assert talk.intake.gaps == 0
    came += talk.feed(second + first, now_s)
    assert [round(a.sample.values[0]) - round(came[1].sample.values[0]) for a in came] == [1, 0]
    assert (talk.intake.gaps, talk.counters.reordered, talk.counters.duplicate) == (0, 1, 2)


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


@pytest.mark.parametrize("uptime_s", [30.0, 3000.0, 9000.0])
def test_a_restart_with_the_old_boot_id_is_noticed_at_once(uptime_s: float) -> None:
    """A board without a memory for its boots says hello with the old id: its clock ran back, and so it restarted. Its
    samples carry a number of their own, also at the next restart."""
    board = FakeBoard()
    talk, before, now_s = meeting(board, started_s=-uptime_s)
    numbers = [before[-1].boot]
    for reboots in (1, 2):
        board.boot(now_s, boot_id=1)
        after, now_s = converse(talk, board, 3.0, now_s)
        assert talk.state is LinkState.STREAMING
        assert (talk.losses, talk.intake.reboots, talk.intake.gaps, talk.intake.refused) == (reboots, reboots, 0, 0)
        assert talk.intake.jumps == 0
        assert after[0].sample.t < 1.0
        numbers.append(after[-1].boot)
    assert len({*numbers}) == 3
    assert list(talk.events).count("the board restarted") == 2


def test_a_restart_with_the_old_boot_id_during_an_outage_is_noticed() -> None:
    """The answer to the first HELLO after the outage comes from a clock that ran back."""
    board = FakeBoard()
    talk, before, now_s = meeting(board, started_s=-100.0)
    talk.lose("cable")
    board.boot(now_s + 0.5, boot_id=1)
    board.poll(now_s)
    board.out = b""
    talk.open(now_s + 1.0)
    after, _ = converse(talk, board, 1.5, now_s + 1.0)
    assert talk.intake.reboots == 1
    assert {arrival.boot for arrival in after}.isdisjoint({before[-1].boot})
    assert after[0].sample.t < 2.0


def test_a_hello_that_the_line_repeats_is_no_restart() -> None:
    """The frame that a board sends at its start comes twice, the second time half a second later."""
    board = FakeBoard()
    talk, _, now_s = meeting(board, started_s=-100.0)
    board.boot(now_s, boot_id=1)
    hello = board.out
    assert hello
    _, now_s = converse(talk, board, 0.5, now_s)
    assert talk.intake.reboots == 1
    talk.feed(hello, now_s)
    converse(talk, board, 1.0, now_s)
    assert (talk.losses, talk.intake.reboots) == (1, 1)


def test_a_board_that_came_back_as_another_is_refused() -> None:
    """The session knows the channels of its board: a board that was flashed with others ends it."""
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
    talk = Conversation(Requirements())
    talk.open(0.0)
    talk.due(0.0)
    board.boot(0.02, boot_id=1)
    talk.feed(board.poll(0.02), 0.02)
    assert [type(message) for message in talk.due(0.02)] == [msg.Hello]


def test_goodbye() -> None:
    """Closing stops the stream and waits for the answer; a board that does not answer delays it briefly."""
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
    assert list(talk.events) == ["board fake 1.0, boot 00000001: streaming"]
    board.say(msg.Log(msg.Level.warning, "hot\x1b[2J"), now_s)
    board.say(msg.Error(msg.Fault.request, 9, 0, 0, "what?"), now_s)
    converse(talk, board, 0.1, now_s)
    assert list(talk.events)[1:] == ["board: hot?[2J", "board: what?"]
    for _ in range(200):
        board.say(msg.Log(msg.Level.info, "again"), now_s)
    converse(talk, board, 0.1, now_s)
    assert list(talk.events) == ["board: again"] * 100


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

    board, talk, now_s = FakeBoard(), Conversation(Requirements()), 0.0
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
