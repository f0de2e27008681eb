"""Test the alignment of tables: causal, nothing held beyond its age, means of fast outputs, and counts of all three."""

from math import isnan

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtsysid.alignment.source import ChannelSource
from rtsysid.checking.check import check_recordings
from rtsysid.config import Config, Data
from rtsysid.errors import TraceError
from rtsysid.recordings.reading import align_trace, read_recordings
from rtsysid.recordings.trace import Episode, Trace
from rtsysid.spec import Channel

CHANNELS = (Channel("u", role="input"), Channel("v", role="input"), Channel("y"), Channel("z"))
NAN = float("nan")


def record(t, values) -> Trace:
    return Trace(CHANNELS, (Episode("run1", np.asarray(t, float), np.asarray(values, np.float32)),))


def aligned(trace: Trace, rate_hz: float, max_age: float | None = None) -> Trace:
    return align_trace(trace, Data(rate_hz, ("u", "v"), ("y", "z"), max_age=max_age))


@st.composite
def uneven(draw) -> Trace:
    """Draw a recording with uneven and repeated times, gaps, and sparse columns; the first row is whole."""
    rows = draw(st.integers(1, 40))
    steps = draw(st.lists(st.sampled_from([0.0, 0.001, 0.004, 0.01, 0.013, 0.3]), min_size=rows, max_size=rows))
    number = st.one_of(st.floats(-100, 100, width=32), st.just(NAN))
    values = draw(st.lists(st.tuples(number, number, number, number), min_size=rows, max_size=rows))
    values[0] = (1.0, 2.0, 3.0, 4.0)
    return record(draw(st.sampled_from([0.0, 1.7e9])) + np.cumsum(steps), values)


def by_hand(t, column, at, is_input, max_age, before) -> float:
    """Value of one channel at one tick, by the definition."""
    known = [(s, v) for s, v in zip(t, column, strict=True) if s <= at + 1e-8 and not isnan(v)]
    if not known:
        return NAN
    cell = [v for s, v in known if s > before + 1e-8]
    if cell:
        return cell[-1] if is_input else float(np.mean(cell, dtype=np.float64))
    return known[-1][1] if at - known[-1][0] <= max_age + 1e-8 else NAN


@settings(max_examples=60)
@given(uneven(), st.sampled_from([50.0, 100.0, 250.0]), st.sampled_from([0.0, 0.02, 1.0]))
def test_definition(recorded, rate, max_age):
    """Every value agrees with the definition, tick by tick."""
    (one,) = recorded.episodes
    t = one.t - one.t[0] if one.t[0] < 1e6 else np.round(one.t - one.t[0], 6)
    (even,) = aligned(record(t, one.values), rate, max_age).episodes
    cells = list(zip(even.t, [-np.inf, *even.t[:-1]], strict=True))
    columns = one.values.T.tolist()
    wanted = np.array(
        [[by_hand(t.tolist(), columns[c], at, c < 2, max_age, before) for c in range(4)] for at, before in cells]
    )
    np.testing.assert_allclose(even.values, wanted, rtol=1e-5, atol=1e-5)


@settings(max_examples=60)
@given(uneven(), st.data())
def test_future_changes_nothing(recorded, data):
    """Other rows, or no rows, after a time leave all earlier ticks unchanged, bit for bit."""
    (one,) = recorded.episodes
    row = data.draw(st.integers(0, len(one) - 1))
    now = one.t[row]
    row = int(np.searchsorted(one.t, now, side="right"))
    changed = one.values.copy()
    changed[row:] = data.draw(st.sampled_from([NAN, 1e6, -3]))
    (full,) = aligned(recorded, 100.0, 0.05).episodes
    (other,) = aligned(record(one.t, changed), 100.0, 0.05).episodes
    (short,) = aligned(record(one.t[:row], one.values[:row]), 100.0, 0.05).episodes
    so_far = full.t <= now
    for each in (other, short):
        np.testing.assert_array_equal(each.t[: so_far.sum()], full.t[so_far])
        np.testing.assert_array_equal(each.values[: so_far.sum()], full.values[so_far])


@pytest.mark.parametrize("start", [0.0, -5e-16, 12.3456, 1.7e9])
def test_a_recording_on_the_grid_stays_as_it_is(start):
    """Rounding of time stamps, also of epoch seconds, neither shifts nor merges samples."""
    values = np.arange(4000, dtype=np.float32).reshape(1000, 4)
    (even,) = aligned(record(start + np.arange(1000) * 0.01, values), 100.0, 0.0).episodes
    np.testing.assert_array_equal(even.values, values)


def test_faster_outputs_are_means_and_inputs_the_last_value():
    """At a ratio of 4 an output is the mean over (t_k-1, t_k], and an input is the newest value."""
    n = np.arange(9)
    (even,) = aligned(record(n * 0.25, np.column_stack((n, n, n, n))), 1.0, 0.0).episodes
    assert even.values[:, 0].tolist() == [0, 4, 8]
    assert even.values[:, 2].tolist() == [0, 2.5, 6.5]


def test_nothing_is_held_beyond_its_age():
    """A slow output and an input that is no longer sent are held for max_age seconds, then NaN."""
    rows = np.array([[1, 1, 1, 1], [2, NAN, 2, NAN]])
    (one,) = aligned(record([0, 0.4], rows), 10.0, 0.2).episodes
    np.testing.assert_array_equal(one.values[:, 0], [1, 1, 1, NAN, 2])
    np.testing.assert_array_equal(one.values[:, 1], [1, 1, 1, NAN, NAN])
    np.testing.assert_array_equal(one.values[:, 2], [1, 1, 1, NAN, 2])
    np.testing.assert_array_equal(one.values[:, 3], [1, 1, 1, NAN, NAN])


def test_rows_begin_when_every_source_has_spoken():
    """Ticks before the first value of an input are cut, and counted."""
    even = aligned(record([0, 0.1, 0.2], [[NAN, 1, 1, 1], [5, 1, 1, 1], [5, 1, 1, 1]]), 10.0, 0.2)
    assert even.episodes[0].t.tolist() == [0.1, 0.2]
    (note,) = even.notes
    assert note.cut == 1
    assert "1 ticks cut before all sources had spoken" in note.line


def test_the_note_counts_what_alignment_did():
    """Samples in means, values that repeat an older sample, and values that are missing are counted."""
    t = [0, 0.1, 0.15, 0.2, 0.6]  # at 10 Hz two samples fall into the third tick, and none into the next three
    (note,) = aligned(record(t, np.ones((5, 4))), 10.0, 0.2).notes
    assert [(each.averaged, each.held, each.missing) for each in note.sources] == [(0, 2, 1)] * 2 + [(2, 2, 1)] * 2
    assert (note.rows, note.cut) == (7, 0)
    assert "u, v: 7.5 Hz" not in note.line
    assert "y, z: 6.667 Hz, 2 averaged, 2 held, 1 missing" in note.line


def test_times_beyond_any_grid_are_refused():
    """A grid that would fill the memory is one line."""
    with pytest.raises(TraceError, match="RTSYSID_LIMITS=growth="):
        aligned(record(np.arange(9000) * 0.03, np.ones((9000, 4))), 1e4, 1.0)


def test_a_long_gap_cuts():
    """A time stamp years ahead begins another piece, without a large allocation."""
    t = np.r_[np.arange(5) * 0.1, 1.7e9 + 0.05 + np.arange(5) * 0.1]
    parts = aligned(record(t, np.ones((10, 4))), 10.0, 0.2).episodes
    assert [each.name for each in parts] == ["run1:1", "run1:2"]
    assert [len(each) for each in parts] == [5, 5]
    np.testing.assert_array_equal(parts[1].values, 1)


def test_an_aligned_recording_is_even():
    """A recording with two rates passes the check before training after alignment."""
    t = np.r_[np.arange(100) * 0.01, 1 + np.arange(100) * 0.02]
    two_rates = record(t, np.ones((200, 4)))
    with pytest.raises(TraceError, match="more than one rate"):
        two_rates.segments(50.0)
    assert len(aligned(two_rates, 50.0, 0.02).segments(50.0)) == 150


def test_rows_that_go_back_are_late():
    """A row whose tick was answered before is dropped and counted; equal times share a tick."""
    late = aligned(record([0, 1, 0.5, 2], np.arange(16).reshape(4, 4)), 10.0, 1)
    assert [each.late for each in late.notes[0].sources] == [1] * 4
    (even,) = aligned(record([0, 1, 1], np.arange(12).reshape(3, 4)), 1.0, 1).episodes
    assert even.values[1].tolist() == [8, 9, 8, 9]


def test_ages_come_from_the_rate_of_each_source():
    """A regular source is held for 2.5 mean periods, an input that is sent on change until its next message."""
    t = np.arange(400) * 0.01
    values = np.full((400, 4), NAN)
    values[:, 2] = t
    values[::10, 3] = t[::10]
    values[[0, 1, 2, 3, 200], 0] = 1.0
    values[::20, 1] = t[::20]
    (one,) = aligned(record(t, values), 100.0).episodes
    assert np.isfinite(one.values[:, 0]).all()
    assert np.isfinite(one.values[:, 1]).all()
    assert np.isfinite(one.values[:, 3]).all()


def test_a_source_may_be_given_for_one_channel_alone(tmp_path):
    """What a check advises, an offset of one channel, is enough: its column and the other channels have their names."""
    path, t = tmp_path / "log.npz", np.arange(200) * 0.01
    u, north = np.sign(np.sin(9 * t)), 5_250_000 + 0.1 * np.sin(t)
    np.savez(path, t=t, u=u, north=north, v=np.cos(t))
    data = Data(100.0, ("u",), ("north", "v"), sources={"north": ChannelSource(offset=5_250_000)})
    (one,) = read_recordings([path], data).episodes
    np.testing.assert_allclose(one.values[:, 1], north - 5_250_000, atol=1e-8)
    np.testing.assert_array_equal(
        one.values[:, [0, 2]], np.column_stack((np.sign(np.sin(9 * t)), np.cos(t))).astype("f")
    )
    found = check_recordings([path], Config(data=msgspec.structs.replace(data, sources={})), None)
    (narrow,) = [each for each in found.findings if each.fault == "float32 resolution"]
    assert "data.sources.north offset = 5250000" in narrow.remedy
