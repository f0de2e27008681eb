"""Test resampling: causal, nothing held beyond its age, means of fast outputs, and counts of all three."""

from math import isnan

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtsysid.errors import TraceError
from rtsysid.recordings.resample import resample
from rtsysid.recordings.trace import Episode, Trace
from rtsysid.spec import Channel

CHANNELS = (Channel("u", role="input"), Channel("v", role="input"), Channel("y"), Channel("z"))
NAN = float("nan")


def record(t, values) -> Trace:
    return Trace(CHANNELS, (Episode("run1", np.asarray(t, float), np.asarray(values, np.float32)),))


@st.composite
def uneven(draw) -> Trace:
    """Draw a recording with uneven and repeated times, gaps, and sparse columns."""
    rows = draw(st.integers(1, 40))
    steps = draw(st.lists(st.sampled_from([0.0, 0.001, 0.004, 0.01, 0.013, 0.3]), min_size=rows, max_size=rows))
    number = st.one_of(st.floats(-100, 100, width=32), st.just(NAN))
    values = draw(st.lists(st.tuples(number, number, number, number), min_size=rows, max_size=rows))
    return record(draw(st.sampled_from([0.0, 1.7e9])) + np.cumsum(steps), values)


def by_hand(t, column, at, is_input, max_age, before) -> float:
    """Value of one channel at one grid point, by the definition."""
    known = [(s, v) for s, v in zip(t, column, strict=True) if s <= at + 1e-8 and not isnan(v)]
    if not known:
        return NAN
    cell = [v for s, v in known if s > before + 1e-8]
    if cell:
        return cell[-1] if is_input else float(np.mean(cell, dtype=np.float64))
    return known[-1][1] if at - known[-1][0] <= max_age + 1e-8 else NAN


@settings(max_examples=100)
@given(uneven(), st.sampled_from([50.0, 100.0, 250.0]), st.sampled_from([0.0, 0.02, 1.0]))
def test_definition(recorded, rate, max_age):
    """Every value agrees with the definition, point by point."""
    (one,) = recorded.episodes
    t = one.t - one.t[0] if one.t[0] < 1e6 else np.round(one.t - one.t[0], 6)
    (even,) = resample(record(t, one.values), rate, max_age=max_age).episodes
    cells = list(zip(even.t, [-np.inf, *even.t[:-1]], strict=True))
    columns = one.values.T.tolist()
    wanted = np.array(
        [[by_hand(t.tolist(), columns[c], at, c < 2, max_age, before) for c in range(4)] for at, before in cells]
    )
    np.testing.assert_allclose(even.values, wanted, rtol=1e-5, atol=1e-5)


@settings(max_examples=100)
@given(uneven(), st.data())
def test_future_changes_nothing(recorded, data):
    """Other rows, or no rows, after a time leave all earlier grid points unchanged, bit for bit."""
    (one,) = recorded.episodes
    row = data.draw(st.integers(0, len(one) - 1))
    now = one.t[row]
    row = int(np.searchsorted(one.t, now, side="right"))
    changed = one.values.copy()
    changed[row:] = data.draw(st.sampled_from([NAN, 1e6, -3]))
    (full,) = resample(recorded, 100.0, max_age=0.05).episodes
    (other,) = resample(record(one.t, changed), 100.0, max_age=0.05).episodes
    (short,) = resample(record(one.t[:row], one.values[:row]), 100.0, max_age=0.05).episodes
    so_far = full.t <= now
    for each in (other, short):
        np.testing.assert_array_equal(each.t[: so_far.sum()], full.t[so_far])
        np.testing.assert_array_equal(each.values[: so_far.sum()], full.values[so_far])


@pytest.mark.parametrize("start", [0.0, -5e-16, 12.3456, 1.7e9])
def test_recording_on_the_grid_stays_as_it_is(start):
    """Rounding of timestamps, also of epoch seconds, neither shifts nor merges samples."""
    values = np.arange(4000, dtype=np.float32).reshape(1000, 4)
    (even,) = resample(record(start + np.arange(1000) * 0.01, values), 100.0, max_age=0.0).episodes
    np.testing.assert_array_equal(even.values, values)


def test_faster_outputs_are_means_and_inputs_the_last_value():
    """At a ratio of 4 an output is the mean over (t_k-1, t_k], and an input is the newest value."""
    n = np.arange(9)
    (even,) = resample(record(n * 0.25, np.column_stack((n, n, n, n))), 1.0, max_age=0.0).episodes
    assert even.values[:, 0].tolist() == [0, 4, 8]
    assert even.values[:, 2].tolist() == [0, 2.5, 6.5]


def test_nothing_is_held_beyond_its_age():
    """A slow output and an input that is no longer sent are held for max_age seconds, then NaN."""
    rows = np.array([[1, 1, 1, 1], [2, NAN, 2, NAN]])
    even = resample(record([0, 0.4], rows), 10.0, max_age=0.2)
    (one,) = even.episodes
    np.testing.assert_array_equal(one.values[:, 0], [1, 1, 1, NAN, 2])
    np.testing.assert_array_equal(one.values[:, 1], [1, 1, 1, NAN, NAN])
    np.testing.assert_array_equal(one.values[:, 2], [1, 1, 1, NAN, 2])
    np.testing.assert_array_equal(one.values[:, 3], [1, 1, 1, NAN, NAN])


def test_an_input_that_never_came_is_missing():
    """Before the first sample of an input its value is NaN."""
    rows = [[NAN, 1, 1, 1], [5, 1, 1, 1]]
    (even,) = resample(record([0, 0.1], rows), 10.0, max_age=0.2).episodes
    np.testing.assert_array_equal(even.values[:, 0], [NAN, 5])


def test_the_note_counts_what_resampling_did():
    """Samples in means, values that repeat an older sample, and values that are missing are counted."""
    t = [0, 0.1, 0.15, 0.2, 0.6]  # at 10 Hz two samples fall into the third tick, and none into the next three
    (note,) = resample(record(t, np.ones((5, 4))), 10.0, max_age=0.2).notes
    assert (note.samples, note.rows, note.averaged, note.held, note.missing) == (5, 7, 4, 8, 4)
    assert "4 samples averaged, 8 values held, 4 missing" in note.line


def test_times_beyond_any_grid_are_refused():
    """Times so far apart that no grid counts their points, and a grid that would fill the memory, are one line each."""
    with pytest.raises(TraceError, match="remove the rows with a wrong time"):
        resample(record([0, 1e300], np.ones((2, 4))), 100.0, max_age=1)
    with pytest.raises(TraceError, match="RTSYSID_LIMITS=growth="):
        resample(record([0, 1e6], np.ones((2, 4))), 1e4, max_age=1e9)


def test_long_gap_cuts_and_keeps_the_grid():
    """A timestamp years ahead splits the episode, without a large allocation; both pieces lie on one grid."""
    t = np.r_[np.arange(5) * 0.1, 1.7e9 + 0.05 + np.arange(5) * 0.1]
    parts = resample(record(t, np.ones((10, 4))), 10.0, max_age=0.2).episodes
    assert [each.name for each in parts] == ["run1:1", "run1:2"]
    assert [len(each) for each in parts] == [7, 4]
    np.testing.assert_allclose(parts[1].t - 1.7e9, [0.1, 0.2, 0.3, 0.4], atol=1e-6)
    assert np.isnan(parts[0].values[-1, 2]) == (0.6 - 0.4 > 0.2 + 1e-7)
    np.testing.assert_array_equal(parts[1].values, 1)


def test_last_row_behind_a_long_gap_and_off_the_grid():
    """A last row after the last grid point changes nothing."""
    parts = resample(record([0, 0.1, 1000.05], np.ones((3, 4))), 10.0, max_age=0.2).episodes
    assert sum(len(each) for each in parts) == 4


def test_resampled_recording_is_even():
    """A recording with two rates passes the check before training after resampling."""
    t = np.r_[np.arange(100) * 0.01, 1 + np.arange(100) * 0.02]
    two_rates = record(t, np.ones((200, 4)))
    with pytest.raises(TraceError, match="more than one rate"):
        two_rates.segments(50.0)
    assert len(resample(two_rates, 50.0, max_age=0.02).segments(50.0)) == 150


@pytest.mark.parametrize(("rate", "age"), [(0, 1), (-1, 1), (NAN, 1), (np.inf, 1), (10, -1), (10, NAN)])
def test_impossible_grid(rate, age):
    """A rate or an age out of range raises TraceError."""
    with pytest.raises(TraceError, match=r"rate_hz|max_age"):
        resample(record([0, 1], np.ones((2, 4))), rate, max_age=age)


def test_time_that_goes_back():
    """Decreasing times raise TraceError with their place. Equal times are allowed: the samples share a grid point."""
    with pytest.raises(TraceError, match=r"run1: time: goes back from 1 s to 0\.5 s at row 2"):
        resample(record([0, 1, 0.5], np.ones((3, 4))), 10.0, max_age=1)
    (even,) = resample(record([0, 1, 1], np.arange(12).reshape(3, 4)), 1.0, max_age=1).episodes
    assert even.values[1].tolist() == [8, 9, 8, 9]
