"""The numbers of frames: what a decoder of the wire counts as lost, late and repeated."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from support.frames import SCHEMA, counted, numbered, wired

from firmware_bridge.wire import FrameDecoder


@given(st.integers(0, 0xFFFF), st.sets(st.integers(1, 18)))
def test_lost_frames_are_counted_over_the_wrap(start: int, lost: set[int]) -> None:
    """The count of lost frames is exact wherever the 16-bit numbers begin, given the ends arrive."""
    sent = numbered(20, start)
    decoder = FrameDecoder(SCHEMA, 3)
    got = decoder.feed(wired([f for i, f in enumerate(sent) if i not in lost]))
    assert len(got) == 20 - len(lost)
    assert decoder.counters.lost == len(lost)


def test_twice_and_out_of_order_are_counted() -> None:
    """A frame that comes twice is delivered once; one that comes late is delivered, and no longer lost."""
    a, b, c, d = numbered(4)
    decoder = FrameDecoder(SCHEMA, 3)
    assert decoder.feed(wired([a, a, c, b, d])) == [a, c, b, d]
    assert counted(decoder) == {"ok": 4, "duplicate": 1, "reordered": 1}


@given(st.lists(st.sampled_from([1, 1, 2, 3, 0, -1, -2, -17, -255, -256, -257, 255, 256, 257, 40_000]), max_size=40),
       st.sampled_from([0, 250, 65_400]))  # fmt: skip
def test_numbers_are_counted_as_by_a_list_of_all_that_came(steps: list[int], first: int) -> None:
    """Jumps, late and repeated frames count as in a model that remembers every number, across the wrap of 16 bits.

    A frame that is late by 256 numbers or more is a new one, far ahead.
    """
    decoder = FrameDecoder(SCHEMA, 3)
    newest, came = first, {first}
    wanted = {"ok": 1, "lost": 0, "reordered": 0, "duplicate": 0}
    decoder.feed(wired(numbered(1, first)))
    for step in steps:
        ahead = step if -256 < step <= 0 else step % 65_536
        decoder.feed(wired(numbered(1, newest + ahead)))
        if ahead <= 0 and newest + ahead in came:
            wanted["duplicate"] += 1
            continue
        wanted["ok"] += 1
        wanted["reordered"] += ahead <= 0
        wanted["lost"] = max(wanted["lost"] - 1, 0) if ahead <= 0 else wanted["lost"] + ahead - 1
        newest, came = max(newest, newest + ahead), {*came, newest + ahead}
    counters = decoder.counters
    assert {name: getattr(counters, name) for name in wanted} == wanted
    assert decoder._seen.bit_length() <= 256


def test_a_late_frame_does_not_hide_a_repeated_one() -> None:
    """After a late frame the newest number is still known: the same frame again is a duplicate."""
    decoder, sent = FrameDecoder(schema=SCHEMA), numbered(3)
    decoder.feed(wired([sent[0], sent[2], sent[1], sent[2]]))
    assert counted(decoder) == {"ok": 3, "reordered": 1, "duplicate": 1}
