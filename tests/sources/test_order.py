"""Stamps and numbers: what is lost is counted exactly, what is late is not lost, nothing impossible is believed."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from rtsysid.sources.channel_map import ChannelMap
from rtsysid.sources.intake import MessageIntake
from rtsysid.sources.messages import TopicMessage
from rtsysid.sources.order import ClockPace, Recent, SequenceNumbers, StampGuard, TickCount
from rtsysid.spec import Channel

RATE_HZ = 100.0


@given(st.lists(st.integers(1, 20), min_size=1, max_size=60), st.floats(-0.2, 0.2))
def test_ticks_without_a_sample_are_counted_in_spite_of_jitter(steps: list[int], jitter: float) -> None:
    """However samples are missing, with stamps that are off by a fifth of a tick to and fro, gaps are those made."""
    count, k = TickCount(RATE_HZ), 0
    count.add(0.0)
    for number, step in enumerate(steps):
        k += step
        count.add((k + (jitter if number % 2 else -jitter)) / RATE_HZ)
    assert count.gaps == sum(steps) - len(steps)
    assert count.late == 0


@given(st.permutations(range(12)))
def test_a_late_sample_fills_its_tick(order: list[int]) -> None:
    """In whatever order twelve samples come after the first, none is lost, and those behind a newer one are late."""
    count = TickCount(RATE_HZ)
    count.add(0.0)
    newest, late = -1, 0
    for k in order:
        count.add((k + 1) / RATE_HZ)
        late += k < newest
        newest = max(newest, k)
    assert (count.gaps, count.late) == (0, late)


@given(st.permutations(range(10)), st.integers(0, 255), st.sets(st.integers(1, 8)))
def test_numbers_that_start_over_count_what_is_lost(order: list[int], first: int, gone: set[int]) -> None:
    """Numbers modulo 256 count the messages that never came, in any order within the window."""
    numbers = SequenceNumbers(256)
    numbers.add(first)
    for k in order:
        if k not in gone:
            numbers.add((first + 1 + k) % 256)
    assert numbers.lost == len(gone)


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_one_impossible_stamp_moves_nothing(wild: float) -> None:
    """Whatever a single stamp says, the next good one is believed and the clock has not jumped."""
    guard = StampGuard()
    assert guard.judge(100.0, 5.0) == "new"
    guard.judge(wild, 5.01)
    assert guard.judge(100.02, 5.02) in ("new", "refused")
    assert "jump" not in {guard.judge(100.02 + k / 100, 5.02 + k / 100) for k in range(1, 4)}


def test_five_stamps_of_another_clock_are_believed() -> None:
    """A clock that starts over is followed from its fifth stamp on; one that runs ahead, too; both are said."""
    for offset in (-90.0, 500.0):
        guard = StampGuard()
        assert guard.judge(100.0, 5.0) == "new"
        told = [guard.judge(100.0 + offset + k / 100, 5.0 + k / 100) for k in range(1, 7)]
        assert told == ["refused"] * 4 + ["jump", "new"]


def test_silence_may_last_as_long_as_the_clocks_agree() -> None:
    """A stamp that is an hour later is believed where an hour has passed, and refused where it has not."""
    guard = StampGuard()
    guard.judge(100.0, 5.0)
    assert guard.judge(3700.0, 6.0) == "refused"
    assert guard.judge(3700.5, 3605.0) == "new"


def test_stamps_that_came_are_known_and_nan_is_none() -> None:
    """A stamp is known the second time, the memory is bounded, and NaN is refused."""
    recent = Recent()
    assert [recent.add(k) for k in (1.0, 2.0, 1.0)] == [False, False, True]
    for k in range(3, 1000):
        recent.add(float(k))
    assert not recent.add(1.0)
    assert StampGuard().judge(math.nan, 0.0) == "refused"


def said(pace: float, delay: float = 0.02, seconds: float = 21.0) -> list[str]:
    """What is said of stamps at 100 Hz that pass at this pace, and come late by up to `delay` s."""
    clock = ClockPace()
    lags = [(k * 7 % 11) / 10 * delay for k in range(round(seconds * RATE_HZ))]
    return [text for k, lag in enumerate(lags) if (text := clock.add(pace * k / RATE_HZ, 1e5 + k / RATE_HZ + lag))]


def test_stamps_at_another_pace_are_said_once() -> None:
    """Stamps that count samples are noticed, in both directions; a good clock over a bad line is not."""
    assert [text.split(",")[0] for text in said(0.87)] == [
        "the times of the source pass 13% slower than the clock of this machine"
    ]
    assert ["faster" in text for text in said(1.05)] == [True]
    assert said(1.0, delay=0.9) == said(1.001) == []


def test_impossible_times_and_a_jump_are_said() -> None:
    """A clock that jumps is one line, and so are messages whose times nobody can believe: milliseconds, for example."""
    mapping = ChannelMap(channels=(Channel("x"),), rate_hz=RATE_HZ)
    intake, told = MessageIntake(mapping, 1.0), list[str]()
    for k in range(200):
        t = k / RATE_HZ + 500.0 * (k >= 100)
        list(intake.take(TopicMessage("", t, {"x": 0.0}), 1e5 + k / RATE_HZ))
        told += intake.remarks()
    assert [text.split(" to ")[0] for text in told] == ["the clock of the source has jumped"]
    milliseconds, told = MessageIntake(mapping, 1.0), []
    for k in range(200):
        list(milliseconds.take(TopicMessage("", 10.0 * k, {"x": 0.0}), 1e5 + k / RATE_HZ))
        told += milliseconds.remarks()
    assert (milliseconds.jumps, len(told)) == (0, 1)
    assert "give seconds of one clock" in told[0]
