"""What is lost of a stream, at its start, in it and at its end: by times, numbers of frames and the board's count."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.fake_board import FakeBoard, converse, meeting

from firmware_bridge import messages as msg
from firmware_bridge.conversation import LinkState
from firmware_bridge.intake import Intake
from firmware_bridge.losses import Losses, Mark
from firmware_bridge.peer import Board
from firmware_bridge.schema import Schema
from firmware_bridge.wire import Frame
from rtsysid.spec import Channel

PERIOD_US = 2000
TABLE = Schema.of([Channel("y")], 100.0)


def stream(losses: Losses, lost: set[int], count: int, *, counts: bool, start_us: int = 500, base: int = 0) -> None:
    """Play a stream of `count` samples, those in `lost` withheld; `counts`: the board counts its samples."""
    losses.begin(Mark(start_us - 100, base))
    losses.begin(Mark(start_us, base, base if counts else 0), answered=True)
    missing = base
    for number in range(count):
        if number in lost:
            missing += 1
        else:
            losses.sample(start_us + 300 + number * PERIOD_US, number, missing)
    end_us = start_us + 300 + (count - 1) * PERIOD_US + 900
    losses.end(Mark(end_us, missing, base + count if counts else 0))


@given(st.integers(1, 200), st.sets(st.integers(0, 199)), st.booleans())
def test_samples_sent_are_samples_received_and_counted_losses(count: int, lost: set[int], counts: bool) -> None:
    """Whichever samples are lost, those at both ends included, every sample sent was received or is counted, with and
    without a count of the board's; nothing at an end is unknown."""
    losses = Losses()
    losses.set_period(PERIOD_US)
    stream(losses, lost, count, counts=counts)
    kept = [number for number in range(count) if number not in lost]
    assert losses.gaps == count - len(kept)
    assert (losses.unknown_ends, losses.paused) == (0, 0)
    if kept:
        assert (losses.at_start, losses.at_end) == (kept[0], count - 1 - kept[-1])


@pytest.mark.parametrize("table_factor", [1, 5])
def test_a_board_faster_than_its_table_is_counted_by_its_own_pace(table_factor: int) -> None:
    """Losses are exact also where the board sends five times the samples that its table says."""
    losses = Losses()
    losses.set_period(PERIOD_US * table_factor)
    lost = {*range(30), *range(7, 1000, 7), *range(970, 1000)}
    stream(losses, lost, 1000, counts=False)
    assert losses.gaps == len(lost)
    assert losses.faster == (table_factor > 1)


def test_samples_that_the_board_missed_before_the_first_are_counted() -> None:
    """Captures that the board could not keep have no frame number; its heartbeat tells of them."""
    losses = Losses()
    losses.set_period(PERIOD_US)
    losses.begin(Mark(0, 0))
    losses.begin(Mark(0, 0), answered=True)
    losses.sample(30 * PERIOD_US + 300, 1, 0)
    assert losses.at_start == 0
    losses.miss(30)
    assert (losses.at_start, losses.gaps) == (30, 30)


def test_the_end_of_a_stream_that_is_cut_is_unknown_until_the_boot_comes_back() -> None:
    """Of a pulled cable nobody knows what followed. The same boot's clock tells the ticks between, and its count which
    of them were samples; of another boot the end stays unknown."""
    losses = Losses()
    losses.set_period(PERIOD_US)
    losses.begin(Mark(0, 0))
    losses.begin(Mark(0, 0, 5), answered=True)
    for number in range(10):
        losses.sample(300 + number * PERIOD_US, number, 0)
    losses.cut()
    assert (losses.unknown_ends, losses.gaps) == (1, 0)
    losses.begin(Mark(100 * PERIOD_US, 0))
    losses.begin(Mark(100 * PERIOD_US, 0, 5 + 10 + 60), answered=True)
    losses.sample(300 + 100 * PERIOD_US, 200, 0)
    assert (losses.unknown_ends, losses.gaps, losses.at_end, losses.paused) == (0, 90, 60, 30)
    losses.reboot()
    assert (losses.unknown_ends, losses.streams) == (1, 2)


def intake() -> Intake:
    """An intake that has met a board of one channel at 100 Hz."""
    found = Intake()
    found.on_boot(1)
    found.set_board(Board(None, TABLE), 1)  # type: ignore[arg-type]
    return found


def feed(intake: Intake, t_us: int, now_s: float, seq: int = 0) -> int | None:
    """Give one sample, and return its time."""
    arrival = intake.sample(Frame(msg.Sample.CODE, 1, seq, t_us & 0xFFFFFFFF, struct.pack("<f", 1.0)), now_s)
    return None if arrival is None else arrival.device_t_us


@pytest.mark.parametrize("wrong_us", [-100, 2**32 - 100, 40 * 60 * 10**6, 71 * 60 * 10**6])
def test_one_impossible_time_costs_one_sample(wrong_us: int) -> None:
    """A time before the board's start or far ahead is refused and counted, and is no gap; the next samples go on."""
    board = intake()
    told = [feed(board, t_us, 100 + k / 100) for k, t_us in enumerate((5, wrong_us, 20_005, 30_005))]
    assert told == [5, None, 20_005, 30_005]
    assert (board.samples, board.refused, board.gaps, board.jumps) == (3, 1, 0, 0)


@pytest.mark.parametrize("jump_s", [60, 1800, 3600, -13, -0.5])
def test_a_clock_that_jumps_is_believed_after_five_samples(jump_s: float) -> None:
    """A host that slept, or a board whose clock ran back in one boot, costs four samples: then time goes on, later than
    before, the age is that of a fresh sample, and the number of lost samples is said to be unknown."""
    board = intake()
    for k in range(100):
        feed(board, 3_000_000_000 + 10_000 * k, 100 + k / 100)
    before = board.gaps, board.losses.unknown_ends
    for k in range(100, 110):
        last = board.sample(
            Frame(msg.Sample.CODE, 1, k, int(3e9 + 1e4 * k + jump_s * 1e6) & 0xFFFFFFFF, TABLE.pack(np.zeros(1, "f4"))),
            100 + k / 100,
        )
    assert last is not None
    assert last.captured_s == pytest.approx(101.09, abs=0.02)
    assert last.device_t_us > 3_000_990_000
    assert (board.jumps, board.gaps, board.losses.unknown_ends) == (1, before[0], before[1] + 1)
    assert board.refused <= 4


def test_time_answers_that_nobody_asked_for_change_nothing() -> None:
    """Answers to no request, repeated, or of impossible times are counted; they move neither clock nor gaps."""
    board = FakeBoard()
    talk, arrivals, now_s = meeting(board)
    trips, before = talk.intake.clock.trips, talk.intake.clock.host_time(arrivals[-1].device_t_us)
    for t0 in (0, 1, round(now_s * 1e9) + 10**9, 2**64 - 1):
        board.say(msg.TimeRsp(t0, 0, 2**31), now_s)
    again = (
        board.heard[-1]
        if isinstance(board.heard[-1], msg.TimeReq)
        else next(each for each in reversed(board.heard) if isinstance(each, msg.TimeReq))
    )
    board.say(msg.TimeRsp(again.t0, 5, 6), now_s)
    talk.feed(board.poll(now_s), now_s)
    assert talk.intake.unasked == 5
    assert talk.intake.clock.trips == trips
    assert talk.intake.clock.host_time(arrivals[-1].device_t_us) == before
    assert talk.intake.gaps == 0


@pytest.mark.parametrize("where", ["first", "last"])
def test_a_conversation_counts_what_is_lost_at_its_ends(where: str) -> None:
    """Samples that a line swallows before the first or after the last one that comes are counted by the end of the
    stream; a board that ends the session by BYE and one that answers STOP tell it alike."""
    board = FakeBoard()
    swallowed = [0]

    def back(data: bytes) -> bytes:
        first = where == "first" and not talk.intake.samples and swallowed[0] < 30
        last = where == "last" and board.tick and talk.intake.samples >= 50
        pieces = [piece + b"\0" for piece in data.split(b"\0") if piece]
        kept = []
        for piece in pieces:
            if (first or last) and len(piece) == 8 + TABLE3 + 4 + 2:
                swallowed[0] += 1
            else:
                kept.append(piece)
        return b"".join(kept)

    talk, _, now_s = meeting(board, seconds=0.0)
    _, now_s = converse(talk, board, 1.3, now_s, back=back)
    while where == "last" and swallowed[0] < 30:
        _, now_s = converse(talk, board, 0.01, now_s, back=back)
    talk.close(now_s)
    converse(talk, board, 0.2, now_s, back=back)
    assert talk.state is LinkState.CLOSED
    lost = talk.intake.losses
    assert swallowed[0] >= 30
    assert lost.gaps == swallowed[0]
    assert (lost.at_start if where == "first" else lost.at_end) == swallowed[0]
    assert lost.unknown_ends == 0


TABLE3 = FakeBoard().schema.size
