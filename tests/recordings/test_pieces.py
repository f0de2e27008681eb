"""Test the decision about pieces that are too short: left out, counted, said; and an error where nothing is left."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.robots import TINY

from rtsysid.config import Config, parse_config
from rtsysid.errors import TraceError
from rtsysid.recordings.held_out import shortest_piece, split_long_enough, unscaled_spec
from rtsysid.recordings.pieces import LeftOut, long_enough, merged
from rtsysid.recordings.trace import Episode, Trace
from rtsysid.spec import Channel

CHANNELS = (Channel("u", "V", "input"), Channel("y", "m"))


def recorded(*lengths: int, gap_s: float = 1.0) -> Trace:
    """Recordings of 100 Hz, one per length, with ones."""
    episodes = [Episode(f"run{k}", np.arange(n) / 100, np.ones((n, 2), np.float32)) for k, n in enumerate(lengths, 1)]
    return Trace(CHANNELS, tuple(episodes))


@given(st.lists(st.integers(1, 200), max_size=20), st.integers(1, 250))
def test_every_row_is_kept_or_counted(lengths: list[int], needed: int) -> None:
    """Pieces of the needed length are kept, and the note counts all others and their rows."""
    pieces = [[0] * n for n in lengths]
    kept, notes = long_enough(pieces, needed, "training")
    assert all(len(piece) >= needed for piece in kept)
    (note,) = notes or (LeftOut("training", "", 0, 0),)
    assert len(kept) + note.pieces == len(pieces)
    assert sum(map(len, kept)) + note.rows == sum(lengths)


def test_notes_follow_a_trace() -> None:
    """What cutting and choosing leave out is counted in order, once, and one line says it."""
    values = np.ones((100, 2), np.float32)
    values[50:53] = np.nan
    t = np.arange(100) / 100
    t[80:] += 0.5
    trace = Trace(CHANNELS, (Episode("run1", t, values),)).segments(100, nan="split", min_length=25)
    assert [len(each) for each in trace.episodes] == [50, 27]
    assert [(note.pieces, note.rows) for note in trace.notes if isinstance(note, LeftOut)] == [(0, 3), (1, 20)]
    again = trace.segments(100, nan="split").long_enough(30, "forecasts", "give more")
    assert [note.line for note in again.notes] == [
        "recordings: 3 rows left out: a value is not finite",
        "recordings: 1 piece, 20 rows left out: shorter than 25 rows without a gap",
        "forecasts: 1 piece, 27 rows left out: shorter than 30 rows without a gap",
    ]


def test_nothing_left_is_one_error_with_what_was_found() -> None:
    """The error states the longest piece, the need and the remedy."""
    with pytest.raises(TraceError, match="longest of 2 pieces without a gap has 20 rows, 30 are needed; record longer"):
        recorded(20, 10).long_enough(30, "training", "record longer")


@pytest.mark.parametrize("aborted", [0, 1, 2])
def test_an_aborted_recording_takes_no_part_in_the_split(aborted: int) -> None:
    """Whatever its place in the order of names, the other recordings are split as if it were not there."""
    lengths = [100, 100]
    lengths.insert(aborted, 30)
    training, validation = split_long_enough(recorded(*lengths), (), 50)
    assert [len(each) for each in (*training.episodes, *validation.episodes)] == [100, 100]
    with pytest.raises(TraceError, match=r"^validation: the longest of 1 pieces without a gap has 30 rows"):
        split_long_enough(recorded(*lengths), (f"run{aborted + 1}",), 50)


def test_equal_notes_become_one() -> None:
    """Notes of the same use and reason add up."""
    notes = [LeftOut("index", "short", 1, 5), LeftOut("index", "short", 2, 7), LeftOut("index", "NaN", 0, 1)]
    assert merged(notes) == (LeftOut("index", "short", 3, 12), LeftOut("index", "NaN", 0, 1))


def test_the_shortest_piece_is_that_of_the_shortest_stage() -> None:
    """A piece is of use to a training where it is long enough for one of its stages."""
    config: Config = parse_config(TINY)
    spec = unscaled_spec(config, config.data.channels)
    assert shortest_piece(config, spec) == spec.settling_samples + 6


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf")])
def test_impossible_rates_are_refused(rate: float) -> None:
    """A rate that is not a positive finite number is refused before anything is cut."""
    with pytest.raises(TraceError, match="rate_hz"):
        recorded(10).segments(rate)


def bursts(size: int, rate_hz: float, count: int, step_s: float) -> Trace:
    """Rows that arrive `size` at a time, `step_s` apart, and on average at a rate."""
    k = np.arange(count)
    t = (k // size) * size / rate_hz + (k % size) * step_s
    return Trace(CHANNELS, (Episode("run1", t, np.ones((count, 2), np.float32)),))


@pytest.mark.parametrize(("size", "step_s"), [(4, 1e-4), (10, 1e-4), (10, 0.0), (30, 5e-4)])
def test_bursts_are_told_from_rates(size: int, step_s: float) -> None:
    """Rows that arrive in bursts are named as such, with their mean rate; the rate within a burst is not proposed."""
    with pytest.raises(TraceError, match=rf"bursts of {size}; the mean is 1\d\d") as refused:
        bursts(size, 100, 1000, step_s).segments(100)
    assert "rate_hz = " not in str(refused.value)


def test_a_recording_that_is_triggered_is_no_burst() -> None:
    """Pieces at the right rate with pauses between them pass, however short they are."""
    k = np.arange(400)
    t = k / 100 + (k // 40) * 5.0
    cut = Trace(CHANNELS, (Episode("run1", t, np.ones((400, 2), np.float32)),)).segments(100)
    assert [len(each) for each in cut.episodes] == [40] * 10
    with pytest.raises(TraceError, match=r"or train with data\.resample = true or data\.rate_hz = 100"):
        Trace(CHANNELS, (Episode("run1", np.arange(400) / 100, np.ones((400, 2), np.float32)),)).segments(10)


@pytest.mark.parametrize(
    ("lengths", "validation"),
    [
        ((200, 200, 200, 200, 5), [200, 5]),  # the last one alone has too few rows
        ((200, 200, 200, 200, 100), [100]),
        ((500, 5), [96, 5]),  # with the one before it nothing would be left to train on
        ((5, 5, 1000), [202]),  # the last one has nearly all rows
        ((100, 150), [150]),
    ],
)
def test_recordings_that_validate_have_a_share_of_the_rows(lengths: tuple[int, ...], validation: list[int]) -> None:
    """A short last recording, or a last one that has nearly all rows, does not decide what a model is chosen by."""
    training, held_out = recorded(*lengths).split()
    assert [len(each) for each in held_out.episodes] == validation
    assert sum(map(len, training.episodes)) == sum(lengths) - sum(validation)
