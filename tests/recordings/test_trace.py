"""Test recordings: reading, errors, segments, and the split for validation."""

import hashlib
import logging

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtsysid.errors import TraceError
from rtsysid.recordings import formats
from rtsysid.recordings.formats import WRITTEN
from rtsysid.recordings.names import names_of
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
    """Episodes, times and values are read back exactly in every format, named after the file."""
    before = trace(episode(grid(5)), episode(grid(3) + 1e9 / 3, "b"), episode([7.0], "c"))
    before.write(tmp_path / f"log{suffix}")
    after = Trace.read(tmp_path / f"log{suffix}", [U, Y])
    assert after.channels == (U, Y)
    assert [each.name for each in after.episodes] == ["log", "log#2", "log#3"]
    for one, other in zip(before.episodes, after.episodes, strict=True):
        np.testing.assert_array_equal(one.t, other.t)
        np.testing.assert_array_equal(one.values, other.values)


def test_channels_are_taken_in_the_order_asked_for(tmp_path):
    """Columns have the requested order, roles and units; other columns are not read."""
    (tmp_path / "a.csv").write_text("t,y [m],note,u\n0,1,x,2\n1,3,y,4\n")
    result = Trace.read(tmp_path / "a.csv", [U, Y])
    assert result.channels == (U, Y)
    np.testing.assert_array_equal(result.episodes[0].values, [[2, 1], [4, 3]])
    everything = Trace.read(tmp_path / "a.csv")
    assert everything.channels == (Channel("y", "m"), Channel("u"))
    assert result.sources == (("a.csv", hashlib.sha256((tmp_path / "a.csv").read_bytes()).hexdigest()),)


def test_folders_and_files_as_one_trace(tmp_path):
    """A folder is read in the order of names. Equal names get the folder as a prefix."""
    for folder, name in (("one", "run2.csv"), ("one", "run1.npz"), ("one", "notes.txt"), ("two", "run1.csv.gz")):
        (tmp_path / folder).mkdir(exist_ok=True)
        if name.endswith(".txt"):
            (tmp_path / folder / name).write_text("x")
        else:
            trace(episode(grid(4))).write(tmp_path / folder / name)
    result = Trace.read_all([tmp_path / "one", tmp_path / "two" / "run1.csv.gz"], [Y])
    assert [each.name for each in result.episodes] == ["one/run1", "run2", "two/run1"]
    assert [name for name, _ in result.sources] == ["run1.npz", "run2.csv", "run1.csv.gz"]
    assert len(result) == 12
    assert result.duration == pytest.approx(0.09)


@pytest.mark.parametrize(
    ("channels", "words"),
    [
        ([Channel("z")], "a.csv: missing column 'z': columns are t, y, u, mode"),
        ([Channel("y", "ft")], "a.csv: unit of 'y': 'm' instead of 'ft'"),
        ([Channel("mode")], "a.csv, line 2, column 'mode': 'hover' is not a number"),
    ],
)
def test_request_that_the_file_does_not_meet(tmp_path, channels, words):
    """A missing column, another unit, and text in a column of numbers raise TraceError with the file's name."""
    (tmp_path / "a.csv").write_text("t,y [m],u,mode\n0,1,2,hover\n")
    for read in (Trace.read, lambda path, wanted: list(Trace.stream(path, wanted))):
        with pytest.raises(TraceError) as caught:
            read(tmp_path / "a.csv", channels)
        assert words in str(caught.value)


def test_no_recording_in_a_folder(tmp_path):
    """An empty folder, and an empty list of paths, raise a one-line error."""
    with pytest.raises(TraceError, match="no recording in it"):
        Trace.read(tmp_path)
    with pytest.raises(TraceError, match="no path"):
        Trace.read_all([])


def test_rows_without_a_time_column(tmp_path):
    """Without a time column rows are spaced at the given rate; without a rate it is an error."""
    (tmp_path / "a.csv").write_text('"u","y",\n1,2,\n3,4,\n5,6,\n\n')
    result = Trace.read(tmp_path / "a.csv", [U, Y], time=None, rate_hz=4.0)
    np.testing.assert_array_equal(result.episodes[0].t, [0, 0.25, 0.5])
    streamed = list(Trace.stream(tmp_path / "a.csv", [U, Y], time=None, rate_hz=4.0))
    assert [sample.t for sample in streamed] == [0, 0.25, 0.5]
    with pytest.raises(TraceError, match="rate_hz is None"):
        Trace.read(tmp_path / "a.csv", [U, Y], time=None)


def test_names_tell_recordings_apart(tmp_path):
    """Equal names get as many folders as they need, and their suffix where those do not help."""
    files = ["a/x/r.csv", "b/x/r.csv", "a/s.csv", "b/s.csv", "q.csv", "q.npz", "u.csv"]
    names = names_of([tmp_path / each for each in files])
    top = tmp_path.name
    assert names == ["a/x/r", "b/x/r", "a/s", "b/s", f"{top}/q.csv", f"{top}/q.npz", "u"]


def test_a_recording_that_is_named_twice_is_refused(tmp_path):
    """By its folder and by itself, or through a link: it would be in the training and in the validation part."""
    recordings("a").write(tmp_path / "r.csv")
    (tmp_path / "link.csv").symlink_to(tmp_path / "r.csv")
    for again in (tmp_path, tmp_path / "link.csv", tmp_path / ".." / tmp_path.name / "r.csv"):
        with pytest.raises(TraceError, match="same file"):
            Trace.read_all([tmp_path / "r.csv", again])


def test_a_link_to_a_recording_of_its_folder_is_a_second_name(tmp_path):
    """A folder has a recording once, also where a link `latest.csv` in it leads to that recording."""
    recordings("a").write(tmp_path / "r.csv")
    (tmp_path / "latest.csv").symlink_to("r.csv")
    assert [each.name for each in Trace.read_all([tmp_path]).episodes] == ["r"]


@pytest.mark.parametrize(("header", "scale"), [("stamp [ms]", 1e-3), ("stamp [us]", 1e-6), ("stamp [s]", 1.0)])
def test_unit_of_time(tmp_path, header, scale):
    """A time column in milli- or microseconds is converted to seconds."""
    (tmp_path / "a.csv").write_text(f"{header},y\n0,1\n20,2\n")
    assert Trace.read(tmp_path / "a.csv", time="stamp").episodes[0].t.tolist() == [0, 20 * scale]


@pytest.mark.parametrize("suffix", WRITTEN)
def test_stream_is_what_read_reads(tmp_path, suffix):
    """Streamed samples are the unchecked rows, including NaN and repeated times."""
    before = trace(Episode("a", np.array([0, 1, 1, 9.0]), np.array([[1, np.nan], [3, 4], [3, 4], [5, 6]], np.float32)))
    before.write(tmp_path / f"a{suffix}")
    samples = list(Trace.stream(tmp_path / f"a{suffix}", [Y, U]))
    assert [sample.t for sample in samples] == [0, 1, 1, 9]
    assert all(type(sample.t) is float and sample.values.dtype == np.float32 for sample in samples)
    np.testing.assert_array_equal([sample.values for sample in samples], before.episodes[0].values[:, ::-1])


def test_stream_counts_rows_over_blocks(tmp_path, monkeypatch):
    """Without a time column the row count continues from block to block."""
    trace(episode(grid(7))).write(tmp_path / "a.npz")
    monkeypatch.setattr(formats, "ROWS", 2)
    samples = list(Trace.stream(tmp_path / "a.npz", [Y], time=None, rate_hz=1.0))
    assert [sample.t for sample in samples] == [0, 1, 2, 3, 4, 5, 6]


def test_stream_of_no_rows(tmp_path):
    """A header without rows is an error for streaming too."""
    (tmp_path / "a.csv").write_text("t,y\n")
    with pytest.raises(TraceError, match="no rows"):
        list(Trace.stream(tmp_path / "a.csv", [Y]))


@settings(max_examples=100, deadline=None)
@given(data=st.data(), rate=st.sampled_from([50.0, 100.0, 333.0]), rows=st.integers(300, 400))
def test_segments_never_join_across_a_missing_sample(data, rate, rows):
    """Rows of a segment are neighbours in the recording, and no valid neighbours are separated."""
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
    """An even recording is one segment with its own name, and shares the memory of the recording."""
    whole = trace(episode(grid(1000) + 1.7e9))
    (piece,) = whole.segments(100.0).episodes
    assert piece.name == "run1"
    assert np.shares_memory(piece.values, whole.episodes[0].values)
    assert len(piece) == 1000


def test_short_pieces_are_left_out():
    """Segments under the minimum length are dropped. If none is left, it is an error."""
    t = np.delete(grid(100), [5, 50])
    segments = trace(episode(t)).segments(100.0, min_length=46)
    assert [(each.name, len(each)) for each in segments.episodes] == [("run1", 49)]
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
        (
            DOUBLED,
            "3 duplicate timestamps, the first 0.5 s at row 51; remove the duplicates; give a recording at 100 Hz",
        ),
        (TWO_RATES, "50% of intervals are 10 ms, 50% of intervals are 20 ms; give a recording at 100 Hz (docs"),
        (END_AT_HALF, "more than one rate"),
        (np.concatenate((grid(900), 9 + grid(150, 75.0))), "86% of intervals are 10 ms, 14% of intervals are 13 ms"),
        (grid(1000, 98.9), "the recording is at 98.9 Hz, the model at 100 Hz; give a recording at 100 Hz"),
        (grid(100, 200.0), "the recording is at 200 Hz, the model at 100 Hz"),
        (grid(1000, 98.0) + 1.7e9, "the recording is at 98 Hz, the model at 100 Hz"),
        (grid(100, 10.0), "the recording is at 10 Hz, the model at 100 Hz"),
    ],
)
def test_time_that_no_window_may_use(t, words):
    """Decreasing times, duplicates, two rates and another rate raise an error with the place and the remedy."""
    with pytest.raises(TraceError) as caught:
        trace(episode(grid(30), "fine"), episode(t)).segments(100.0)
    assert words in str(caught.value)
    assert str(caught.value).startswith("run1: ")


@pytest.mark.parametrize("rate", [99.5, 100.5])
def test_drifting_clock_is_the_same_rate(rate):
    """A rate off by half a percent is accepted as clock drift."""
    assert len(trace(episode(grid(1000, rate))).segments(100.0)) == 1000


def test_short_recording_with_one_gap_is_cut_and_not_refused():
    """A single gap in a few rows is not a second rate."""
    segments = trace(episode([0, 0.01, 0.02, 0.05, 0.06])).segments(100.0)
    assert [len(each) for each in segments.episodes] == [3, 2]


def test_values_that_are_not_finite():
    """The error counts the values and locates the longest run. With nan="split" the rows are removed."""
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
    """Patterns select whole recordings. Without patterns the last fifth validates."""
    whole = recordings("run1", "run2", "run3", "x1", "x2")
    training, validation = whole.split(patterns)
    assert [each.name for each in validation.episodes] == taken
    assert {each.name for each in training.episodes} == {"run1", "run2", "run3", "x1", "x2"} - set(taken)


def test_split_keeps_the_episodes_of_a_recording_together():
    """All episodes and pieces of one file are on the same side of the split."""
    whole = recordings("a", "a#2", "b:1", "b:2", "b#2:1")
    training, validation = whole.split(["b"])
    assert [each.name for each in training.episodes] == ["a", "a#2"]
    assert [each.name for each in validation.episodes] == ["b:1", "b:2", "b#2:1"]


@pytest.mark.parametrize(
    ("patterns", "words"),
    [(["run*"], "takes 2 of 2"), (["fly*"], "'fly*'; choose among run1, run2"), (["run1", "typo"], "named 'typo'")],
)
def test_split_that_cannot_be(patterns, words):
    """A pattern without a match, and patterns that leave nothing, raise an error that lists the names."""
    with pytest.raises(TraceError) as caught:
        recordings("run1", "run2").split(patterns)
    assert words in str(caught.value)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=5).filter(lambda lengths: sum(lengths) >= 5))
def test_single_recording_gives_its_last_fifth(lengths):
    """Of a single recording the last fifth of the rows validates, in order and without repetition."""
    names = ["run1", *(f"run1#{k}" for k in range(2, len(lengths) + 1))]
    whole = trace(*(episode(grid(n) + k, name) for k, (n, name) in enumerate(zip(lengths, names, strict=True))))
    training, validation = whole.split()
    assert len(validation) == sum(lengths) // 5
    joined = np.concatenate([each.t for part in (training, validation) for each in part.episodes])
    np.testing.assert_array_equal(joined, np.concatenate([each.t for each in whole.episodes]))


def test_too_short_to_split():
    """Four rows are too few to split."""
    with pytest.raises(TraceError, match="4 rows"):
        trace(episode(grid(4))).split()


def test_describe():
    """The statistics are those of numpy over all episodes, without NaN, and can be encoded as JSON."""
    one, two = episode(np.delete(grid(50), [7, 8])), episode(grid(20) + 3, "run2")
    one.values[4, 1] = np.nan
    summary = trace(one, two).describe()
    y = np.concatenate((one.values[:, 1], two.values[:, 1]))
    assert summary["rows"] == 68
    assert summary["gaps"] == summary["episodes"][0]["gaps"] == 1
    assert summary["rate_hz"] == pytest.approx(100)
    assert summary["duration_s"] == pytest.approx(0.49 + 0.19)
    assert summary["channels"][0]["role"] == "input"
    assert summary["channels"][1]["nan"] == 1
    assert summary["channels"][1]["mean"] == pytest.approx(np.nanmean(y))
    assert summary["channels"][1]["std"] == pytest.approx(np.nanstd(y))
    assert msgspec.json.decode(msgspec.json.encode(summary)) == summary


def test_episode_has_a_time_for_every_row():
    """Times and values of different lengths, or of length 0, raise TraceError."""
    for t, rows in ((grid(3), 2), (grid(0), 0)):
        with pytest.raises(TraceError, match="each of one or more rows"):
            Episode("a", t, np.zeros((rows, 2), np.float32))


def test_reading_says_nothing_about_whole_files(tmp_path, caplog):
    """Reading a complete file logs no warning."""
    with caplog.at_level(logging.WARNING):
        trace(episode(grid(5))).write(tmp_path / "a.csv")
        Trace.read(tmp_path / "a.csv")
    assert not caplog.records
