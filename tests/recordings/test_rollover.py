"""Test that the times of a counter that rolls over go on, and that no other jump back is hidden."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rtsysid.recordings import formats
from rtsysid.recordings.pieces import RolledOver
from rtsysid.recordings.rollover import Unroller, unrolled_times
from rtsysid.recordings.trace import Trace

COUNTERS = [(1e-6, 2.0**32), (1e-3, 2.0**32), (1e-3, 2.0**16), (1e-6, 2.0**16), (1e-9, 2.0**32)]


@pytest.mark.parametrize(("seconds", "counts"), COUNTERS)
@pytest.mark.parametrize("start", [0.3, 0.99])
def test_a_counter_goes_on(seconds, counts, start):
    """After 16 or 32 bits of any unit the time is that of a wider counter, over several periods."""
    step = max(round(counts / 1000), 1)
    wide = round(start * counts) + np.arange(3000.0) * step
    t, clock = unrolled_times((wide % counts) * seconds, seconds)
    np.testing.assert_allclose(t, wide * seconds, rtol=1e-12)
    assert (clock.count, clock.period_s) == ((wide // counts).max(), pytest.approx(counts * seconds))


@pytest.mark.parametrize("period", [2**32 * 1e-6, 2**16 * 1e-3, 86400.0, 604800.0])
def test_a_clock_in_seconds_goes_on(period):
    """A counter that the logger converted to seconds, and the time of day at midnight."""
    wide = period - 3.0 + np.arange(600) / 100
    t, clock = unrolled_times(wide % period, 1.0)
    np.testing.assert_allclose(t, wide, atol=1e-9)
    assert clock.count == 1


@example(cuts=[50, 51], seconds=1.0)  # the jump is before row 51
@given(cuts=st.lists(st.integers(0, 500), max_size=6), seconds=st.sampled_from([1.0, 1e-3, 1e-6]))
def test_blocks_give_the_bits_of_the_whole(cuts, seconds):
    """Wherever a recording is cut into blocks, the times are those of one block, bit for bit."""
    raw = (60.0 + np.arange(500) * 0.11) % 65.536
    whole = Unroller(seconds).unrolled(raw)
    unroller = Unroller(seconds)
    parts = [unroller.unrolled(part) for part in np.split(raw, sorted(cuts))]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    assert (np.diff(whole) > 0).all()


@pytest.mark.parametrize(
    ("t", "seconds"),
    [
        (np.r_[0:400, 0:400] / 100, 1.0),  # two recordings in one file
        (np.r_[0:40000, 0:100] / 10, 1e-6),  # the same, almost as long as the period
        (np.r_[0:6, 0:6] / 100, 1e-6),  # too few rows in a period of 65 ms
        (np.arange(1000)[::-1] * 1.0, 1e-3),  # backwards
        (np.r_[np.nan, 0.0, np.inf, -np.inf, np.nan], 1e-3),
        (np.empty(0), 1e-6),
    ],
)
def test_other_jumps_are_left_alone(t, seconds):
    """A clock that was set back, rows in the wrong order and times that are not finite stay as they are."""
    found, clock = unrolled_times(t, seconds)
    np.testing.assert_array_equal(found, t)
    assert clock.count == 0


def test_a_recording_says_that_its_clock_rolled_over(tmp_path, monkeypatch):
    """Reading notes it, streaming gives the same times, and each episode has a clock of its own."""
    counts = (2**32 - 150_000 + 10_000 * np.arange(60)) % 2**32
    rows = [f"{t},{t % 7},{k // 30}" for k, t in enumerate(counts)] + [f"{t},1,2" for t in counts[:30]]
    (tmp_path / "a.csv").write_text("t [us],y,episode\n" + "\n".join(rows) + "\n")
    trace = Trace.read(tmp_path / "a.csv")
    assert [note for note in trace.notes if isinstance(note, RolledOver)] == [
        RolledOver("a", 1, 2**32 * 1e-6),
        RolledOver("a#3", 1, 2**32 * 1e-6),
    ]
    assert "a: the clock rolled over once, after 4294.967296 s" in trace.notes[0].line
    monkeypatch.setattr(formats, "ROWS", 7)
    streamed = [sample.t for sample in Trace.stream(tmp_path / "a.csv", trace.channels)]
    np.testing.assert_array_equal(np.concatenate([each.t for each in trace.episodes]), streamed)
    assert [np.diff(each.t).min() > 0 for each in trace.episodes] == [True] * 3
