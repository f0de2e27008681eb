"""Recordings: what is read, what is refused, where they are cut, and how they are split."""

import hashlib
import logging

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtsysid.errors import TraceError
from rtsysid.recordings.formats import WRITTEN, npz
from rtsysid.recordings.trace import Episode, Trace
from rtsysid.spec import Channel

U, Y = Channel("u", "V", "input"), Channel("y", "m")


def episode(t, name="run1", columns=2) -> Episode:
    t = np.asarray(t, dtype=np.float64)
    values = np.arange(len(t) * columns, dtype=np.float32).reshape(len(t), columns)
    return Episode(name, t, values)


def trace(*episodes: Episode) -> Trace:
    return Trace((U, Y), episodes)


def grid(rows: int, rate: float = 100.0) -> np.ndarray:
    return np.arange(rows) / rate


def recordings(*names: str) -> Trace:
    return trace(*(episode(grid(10), name) for name in names))


@pytest.mark.parametrize("suffix", WRITTEN)
def test_round_trip_of_episodes(tmp_path, suffix):
    """Episodes, time and values come back exactly in every format, named after the file."""
    before = trace(episode(grid(5)), episode(grid(3) + 1e9 / 3, "b"), episode([7.0], "c"))
    before.write(tmp_path / f"log{suffix}")
    after = Trace.read(tmp_path / f"log{suffix}", [U, Y])
    assert after.channels == (U, Y)
    assert [each.name for each in after.episodes] == ["log", "log#2", "log#3"]
    for one, other in zip(before.episodes, after.episodes, strict=True):
        np.testing.assert_array_equal(one.t, other.t)
        np.testing.assert_array_equal(one.values, other.values)


def test_channels_are_taken_in_the_order_asked_for(tmp_path):
    """Columns follow the request, with its roles and units; the others are not read."""
    (tmp_path / "a.csv").write_text("t,y [m],note,u\n0,1,x,2\n1,3,y,4\n")
    found = Trace.read(tmp_path / "a.csv", [U, Y])
    assert found.channels == (U, Y)
    np.testing.assert_array_equal(found.episodes[0].values, [[2, 1], [4, 3]])
    everything = Trace.read(tmp_path / "a.csv")
    assert everything.channels == (Channel("y", "m"), Channel("u"))
    assert found.sources == (("a.csv", hashlib.sha256((tmp_path / "a.csv").read_bytes()).hexdigest()),)


def test_folders_and_files_as_one_trace(tmp_path):
    """A folder is read in the order of names, and equal names are told apart by their folders."""
    for folder, name in (("one", "run2.csv"), ("one", "run1.npz"), ("one", "notes.txt"), ("two", "run1.csv.gz")):
        (tmp_path / folder).mkdir(exist_ok=True)
        if name.endswith(".txt"):
            (tmp_path / folder / name).write_text("x")
        else:
            trace(episode(grid(4))).write(tmp_path / folder / name)
    found = Trace.read_all([tmp_path / "one", tmp_path / "two" / "run1.csv.gz"], [Y])
    assert [each.name for each in found.episodes] == ["one/run1", "run2", "two/run1"]
    assert [name for name, _ in found.sources] == ["run1.npz", "run2.csv", "run1.csv.gz"]
    assert len(found) == 12
    assert found.duration == pytest.approx(0.09)


@pytest.mark.parametrize(
    ("channels", "words"),
    [
        ([Channel("z")], "a.csv: missing column 'z': columns are t, y, u, mode"),
        ([Channel("y", "ft")], "a.csv: unit of 'y': 'm' instead of 'ft'"),
        ([Channel("mode")], "a.csv, line 2, column 'mode': 'hover' is not a number"),
    ],
)
def test_request_that_the_file_does_not_meet(tmp_path, channels, words):
    """A missing column, another unit and text where numbers are asked for are TraceErrors with the file's name."""
    (tmp_path / "a.csv").write_text("t,y [m],u,mode\n0,1,2,hover\n")
    for read in (Trace.read, lambda path, wanted: list(Trace.stream(path, wanted))):
        with pytest.raises(TraceError) as caught:
            read(tmp_path / "a.csv", channels)
        assert words in str(caught.value)


def test_no_recording_in_a_folder(tmp_path):
    """An empty folder is one line, and so is no path at all."""
    with pytest.raises(TraceError, match="no recording in it"):
        Trace.read(tmp_path)
    with pytest.raises(TraceError, match="no path"):
        Trace.read_all([])


def test_rows_without_a_time_column(tmp_path):
    """Without a time column rows are counted at the rate given; without both it is an error."""
    (tmp_path / "a.csv").write_text('"u","y",\n1,2,\n3,4,\n5,6,\n\n')
    found = Trace.read(tmp_path / "a.csv", [U, Y], time=None, rate_hz=4.0)
    np.testing.assert_array_equal(found.episodes[0].t, [0, 0.25, 0.5])
    streamed = list(Trace.stream(tmp_path / "a.csv", [U, Y], time=None, rate_hz=4.0))
    assert [sample.t for sample in streamed] == [0, 0.25, 0.5]
    with pytest.raises(TraceError, match="rate_hz is None"):
        Trace.read(tmp_path / "a.csv", [U, Y], time=None)


@pytest.mark.parametrize(("header", "scale"), [("stamp [ms]", 1e-3), ("stamp [us]", 1e-6), ("stamp [s]", 1.0)])
def test_unit_of_time(tmp_path, header, scale):
    """A time column in milli- or microseconds becomes seconds."""
    (tmp_path / "a.csv").write_text(f"{header},y\n0,1\n20,2\n")
    assert Trace.read(tmp_path / "a.csv", time="stamp").episodes[0].t.tolist() == [0, 20 * scale]


@pytest.mark.parametrize("suffix", WRITTEN)
def test_stream_is_what_read_reads(tmp_path, suffix):
    """Streamed samples are the rows as they stand, uncut and unchecked: NaN and doubled time included."""
    before = trace(Episode("a", np.array([0, 1, 1, 9.0]), np.array([[1, np.nan], [3, 4], [3, 4], [5, 6]], np.float32)))
    before.write(tmp_path / f"a{suffix}")
    samples = list(Trace.stream(tmp_path / f"a{suffix}", [Y, U]))
    assert [sample.t for sample in samples] == [0, 1, 1, 9]
    assert all(type(sample.t) is float and sample.values.dtype == np.float32 for sample in samples)
    np.testing.assert_array_equal([sample.values for sample in samples], before.episodes[0].values[:, ::-1])


def test_stream_counts_rows_over_blocks(tmp_path, monkeypatch):
    """Without a time column the count goes on from block to block."""
    trace(episode(grid(7))).write(tmp_path / "a.npz")
    monkeypatch.setattr(npz, "ROWS", 2)
    samples = list(Trace.stream(tmp_path / "a.npz", [Y], time=None, rate_hz=1.0))
    assert [sample.t for sample in samples] == [0, 1, 2, 3, 4, 5, 6]


def test_stream_of_no_rows(tmp_path):
    """A header without rows is an error for the live replay, too."""
    (tmp_path / "a.csv").write_text("t,y\n")
    with pytest.raises(TraceError, match="no rows"):
        list(Trace.stream(tmp_path / "a.csv", [Y]))


@settings(max_examples=100, deadline=None)
@given(data=st.data(), rate=st.sampled_from([50.0, 100.0, 333.0]), rows=st.integers(300, 400))
def test_segments_never_join_across_a_missing_sample(data, rate, rows):
    """Whatever is missing or not finite, rows of a piece are neighbours of the recording, and no good pair is cut."""
    jitter = np.array(data.draw(st.lists(st.floats(-0.24, 0.24), min_size=8, max_size=8)))
    ticks = np.arange(rows)
    lost = np.array(sorted(data.draw(st.sets(st.integers(1, rows - 2), max_size=8))), int)
    bad = np.array(sorted(data.draw(st.sets(st.integers(0, rows - 10), max_size=4))), int)
    values = np.column_stack((ticks, ticks)).astype(np.float32)
    values[bad, 1] = np.nan
    t = (ticks + np.resize(jitter, rows)) / rate
    kept = np.setdiff1d(ticks, lost)
    pieces = trace(Episode("a", t[kept], values[kept])).segments(rate, nan="split", min_length=1).episodes
    assert all((np.diff(piece.values[:, 0]) == 1).all() for piece in pieces)
    assert sorted(np.concatenate([piece.values[:, 0] for piece in pieces])) == sorted(set(kept) - set(bad))
    neighbours = {int(k) for k in kept if k + 1 in set(kept) and not {k, k + 1} & set(bad)}
    assert sum(len(piece) - 1 for piece in pieces) == len(neighbours)


def test_whole_recording_stays_one_segment():
    """An even recording is one segment under its own name, and shares the memory of the recording."""
    whole = trace(episode(grid(1000) + 1.7e9))
    (piece,) = whole.segments(100.0).episodes
    assert piece.name == "run1"
    assert np.shares_memory(piece.values, whole.episodes[0].values)
    assert len(piece) == 1000


def test_short_pieces_are_left_out():
    """Pieces under the minimum length go; when nothing is left, it is said."""
    t = np.delete(grid(100), [5, 50])
    found = trace(episode(t)).segments(100.0, min_length=46)
    assert [(each.name, len(each)) for each in found.episodes] == [("run1", 49)]
    with pytest.raises(TraceError, match="no segment of 60 rows"):
        trace(episode(t)).segments(100.0, min_length=60)


DOUBLED = np.sort(np.concatenate((grid(100), grid(3) + 0.5)))
TWO_RATES = np.concatenate((grid(100), 1 + grid(100, 50.0)))
END_AT_HALF = np.concatenate((grid(1000), 10 + grid(12, 50.0)))


@pytest.mark.parametrize(
    ("t", "words"),
    [
        (np.r_[grid(50), grid(50)], "goes back from 0.49 s to 0 s at row 50 (1 times"),
        (np.r_[grid(50), np.nan, 51.0], "the time in row 50 is not finite"),
        (DOUBLED, "3 duplicate timestamps, the first 0.5 s at row 51; remove the duplicates, or resample to 100 Hz"),
        (TWO_RATES, "50% of intervals are 10 ms, 50% of intervals are 20 ms; resample to 100 Hz"),
        (END_AT_HALF, "more than one rate"),
        (np.concatenate((grid(900), 9 + grid(150, 75.0))), "86% of intervals are 10 ms, 14% of intervals are 13 ms"),
        (grid(1000, 98.9), "98.9 Hz instead of 100 Hz; resample to 100 Hz, or set rate_hz = 98.9"),
        (grid(100, 200.0), "200 Hz instead of 100 Hz"),
        (grid(1000, 98.0) + 1.7e9, "98 Hz instead of 100 Hz"),
        (grid(100, 10.0), "10 Hz instead of 100 Hz"),
    ],
)
def test_time_that_no_window_may_use(t, words):
    """Backward time, duplicates, two rates and another rate are each told with the place and the way out."""
    with pytest.raises(TraceError) as caught:
        trace(episode(grid(30), "fine"), episode(t)).segments(100.0)
    assert words in str(caught.value)
    assert str(caught.value).startswith("run1: ")


@pytest.mark.parametrize("rate", [99.5, 100.5])
def test_drifting_clock_is_the_same_rate(rate):
    """Half a percent of drift is a clock, not a rate."""
    assert len(trace(episode(grid(1000, rate))).segments(100.0)) == 1000


def test_short_recording_with_one_gap_is_cut_and_not_refused():
    """A single gap in a few rows is no second rate."""
    found = trace(episode([0, 0.01, 0.02, 0.05, 0.06])).segments(100.0)
    assert [len(each) for each in found.episodes] == [3, 2]


def test_values_that_are_not_finite():
    """The error counts them and says where the longest run is; on request they are cut out."""
    one = episode(grid(50))
    one.values[[3, 20, 21, 22], 1] = [np.inf, np.nan, np.nan, np.nan]
    with pytest.raises(TraceError, match=r"run1: column 'y': 4 values .* longest run 3 rows from 0\.2 s; .*split"):
        trace(one).segments(100.0)
    assert [len(each) for each in trace(one).segments(100.0, nan="split").episodes] == [3, 16, 27]


@pytest.mark.parametrize(
    ("patterns", "taken"),
    [(["run3"], ["run3"]), (["run*", "x1"], ["run1", "run2", "run3", "x1"]), ([], ["x2"]), (["?2"], ["x2"])],
)
def test_split_by_name(patterns, taken):
    """Patterns choose whole recordings; without any it is the last fifth."""
    whole = recordings("run1", "run2", "run3", "x1", "x2")
    training, validation = whole.split(patterns)
    assert [each.name for each in validation.episodes] == taken
    assert {each.name for each in training.episodes} == {"run1", "run2", "run3", "x1", "x2"} - set(taken)


def test_split_keeps_the_episodes_of_a_recording_together():
    """Pieces and further episodes of one file never stand on both sides."""
    whole = recordings("a", "a#2", "b:1", "b:2", "b#2:1")
    training, validation = whole.split(["b"])
    assert [each.name for each in training.episodes] == ["a", "a#2"]
    assert [each.name for each in validation.episodes] == ["b:1", "b:2", "b#2:1"]


@pytest.mark.parametrize(
    ("patterns", "words"),
    [(["run*"], "takes 2 of 2"), (["fly*"], "'fly*'; choose among run1, run2"), (["run1", "typo"], "named 'typo'")],
)
def test_split_that_cannot_be(patterns, words):
    """A pattern that matches nothing, or patterns that leave nothing, are errors that list the names."""
    with pytest.raises(TraceError) as caught:
        recordings("run1", "run2").split(patterns)
    assert words in str(caught.value)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=5).filter(lambda lengths: sum(lengths) >= 5))
def test_single_recording_gives_its_last_fifth(lengths):
    """Of one recording the last fifth of rows is set apart, whole rows, in order, none twice."""
    names = ["run1", *(f"run1#{k}" for k in range(2, len(lengths) + 1))]
    whole = trace(*(episode(grid(n) + k, name) for k, (n, name) in enumerate(zip(lengths, names, strict=True))))
    training, validation = whole.split()
    assert len(validation) == sum(lengths) // 5
    joined = np.concatenate([each.t for part in (training, validation) for each in part.episodes])
    np.testing.assert_array_equal(joined, np.concatenate([each.t for each in whole.episodes]))


def test_too_short_to_split():
    """Four rows have no fifth."""
    with pytest.raises(TraceError, match="4 rows"):
        trace(episode(grid(4))).split()


def test_describe():
    """The figures are those of numpy over all episodes, without NaN, and are plain enough for JSON."""
    one, two = episode(np.delete(grid(50), [7, 8])), episode(grid(20) + 3, "run2")
    one.values[4, 1] = np.nan
    found = trace(one, two).describe()
    y = np.concatenate((one.values[:, 1], two.values[:, 1]))
    assert found["rows"] == 68
    assert found["gaps"] == found["episodes"][0]["gaps"] == 1
    assert found["rate_hz"] == pytest.approx(100)
    assert found["duration_s"] == pytest.approx(0.49 + 0.19)
    assert found["channels"][0]["role"] == "input"
    assert found["channels"][1]["nan"] == 1
    assert found["channels"][1]["mean"] == pytest.approx(np.nanmean(y))
    assert found["channels"][1]["std"] == pytest.approx(np.nanstd(y))
    assert msgspec.json.decode(msgspec.json.encode(found)) == found


def test_episode_has_a_time_for_every_row():
    """Times and values of other lengths, or none, are no episode."""
    for t, rows in ((grid(3), 2), (grid(0), 0)):
        with pytest.raises(TraceError, match="each of one or more rows"):
            Episode("a", t, np.zeros((rows, 2), np.float32))


def test_reading_says_nothing_about_whole_files(tmp_path, caplog):
    """A file that ends with its last line is read without a word."""
    with caplog.at_level(logging.WARNING):
        trace(episode(grid(5))).write(tmp_path / "a.csv")
        Trace.read(tmp_path / "a.csv")
    assert not caplog.records
