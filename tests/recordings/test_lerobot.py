"""Test LeRobot datasets and Parquet files with lists: columns by index, episodes and times."""

from __future__ import annotations

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet
from support.small_logs import lerobot, shared_log

from rtsysid.alignment.source import ChannelSource
from rtsysid.config import Data
from rtsysid.errors import TraceError
from rtsysid.recordings import formats
from rtsysid.recordings.names import digest_of
from rtsysid.recordings.reading import read_recordings
from rtsysid.recordings.topic_logs import open_topics
from rtsysid.recordings.trace import Trace


def test_a_dataset_is_one_recording_of_episodes(tmp_path) -> None:
    """Lists are columns by index, `episode_index` cuts episodes across files, and times start over in each."""
    lerobot(tmp_path / "set")
    trace = Trace.read(tmp_path / "set")
    assert [channel.name for channel in trace.channels] == [f"action[{k}]" for k in range(6)]
    assert [(each.name, len(each)) for each in trace.episodes] == [("set", 20), ("set#2", 10), ("set#3", 15)]
    np.testing.assert_allclose(trace.episodes[2].t, np.arange(15) / 30, atol=1e-6)
    np.testing.assert_array_equal(trace.episodes[2].values[0], 1000 + np.arange(6))
    assert trace.segments(30.0).episodes[1].values.shape == (10, 6)


def test_a_file_of_a_dataset_is_a_recording_too(tmp_path) -> None:
    """The Parquet file alone gives the same episodes."""
    lerobot(tmp_path / "set", ((20, 10),))
    trace = Trace.read(tmp_path / "set" / "data" / "chunk-000" / "file-000.parquet")
    assert [len(each) for each in trace.episodes] == [20, 10]


def test_rows_that_are_not_there_are_said(tmp_path) -> None:
    """A dataset of which only some files are here says how many rows are missing."""
    lerobot(tmp_path / "set", total_frames=100)
    assert open_topics(tmp_path / "set").missing == "55 of 100 rows are not in the folder"


def test_without_timestamps_the_rate_of_the_dataset_counts(tmp_path) -> None:
    """Times are the number of the frame at the rate in the metadata."""
    lerobot(tmp_path / "set", ((12,),), fps=50)
    file = tmp_path / "set" / "data" / "chunk-000" / "file-000.parquet"
    parquet.write_table(parquet.read_table(file).drop_columns(["timestamp"]), file)
    np.testing.assert_allclose(Trace.read(tmp_path / "set").episodes[0].t, np.arange(12) / 50)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda folder: (folder / "meta" / "info.json").write_text("{"), "truncated or damaged"),
        (lambda folder: (folder / "data" / "chunk-000" / "file-001.parquet").write_bytes(b"x"), "truncated or damaged"),
        (lambda folder: (folder / "data").rename(folder / "date"), "no Parquet file in its folder data"),
    ],
)
def test_a_damaged_dataset_is_one_line(tmp_path, change, says) -> None:
    """A fault of a dataset is said in one line."""
    lerobot(tmp_path / "set")
    change(tmp_path / "set")
    with pytest.raises(TraceError, match=says):
        formats.open_log(tmp_path / "set")


@pytest.mark.recordings
@pytest.mark.parametrize(
    ("name", "episodes", "channels", "rows", "missing"),
    [
        ("so101_record_test", 4, 12, 1492, ""),
        ("unitree_g1_inspire", 12, 52, 4947, "31018 of 35965 rows are not in the folder"),
    ],
)
def test_real_datasets(name, episodes, channels, rows, missing) -> None:
    """Datasets of version 3 and 2.1 are read with all their episodes at 30 Hz."""
    path = shared_log("lerobot", name)
    trace = Trace.read(path).segments(30.0)
    assert (len(trace.episodes), len(trace.channels), len(trace)) == (episodes, channels, rows)
    assert open_topics(path).missing == missing


@pytest.mark.parametrize("kind", [pyarrow.list_(pyarrow.float32()), pyarrow.list_(pyarrow.float32(), 2)])
def test_lists_of_any_parquet_file_are_columns(tmp_path, kind) -> None:
    """Lists of numbers, of a stated or a constant length, are a column for each item; a missing list is NaN."""
    lists = pyarrow.array([[1, 2], [3, None], None], kind)
    parquet.write_table(pyarrow.table({"t": [0.0, 1.0, 2.0], "q": lists, "s": [["a"]] * 3}), tmp_path / "a.parquet")
    log = formats.open_log(tmp_path / "a.parquet")
    assert [column.name for column in log.columns if column.numeric] == ["t", "q[0]", "q[1]"]
    found = formats.gather(formats.select_columns(log, None, "t", None))
    np.testing.assert_array_equal(found.values, [[1, 2], [3, np.nan], [np.nan, np.nan]])


def test_lists_of_unequal_lengths_are_refused(tmp_path) -> None:
    """A list that is longer or shorter than the first one would be cut or filled without a word."""
    parquet.write_table(pyarrow.table({"t": [0.0, 1.0], "q": [[1.0, 2.0], [3.0]]}), tmp_path / "a.parquet")
    with pytest.raises(TraceError, match="column 'q': lists of 1 to 2 numbers"):
        Trace.read(tmp_path / "a.parquet")


def test_episodes_are_aligned_apart(tmp_path) -> None:
    """With a source for a channel, episodes are still recordings of their own: nothing is held from one to the next."""
    lerobot(tmp_path / "set")
    wanted = ("action[0]", "action[1]"), ("action[2]", "action[3]")
    data = Data(30.0, *wanted, sources={"action[2]": ChannelSource(field="action[2]", scale=-1)})
    aligned, plain = read_recordings([tmp_path / "set"], data), Trace.read(tmp_path / "set", data.channels)
    assert [(each.name, len(each)) for each in aligned.episodes] == [("set", 20), ("set#2", 10), ("set#3", 15)]
    for one, other in zip(aligned.episodes, plain.episodes, strict=True):
        np.testing.assert_array_equal(one.values, other.values * [1, 1, -1, 1])


def test_videos_are_no_part_of_a_recording(tmp_path) -> None:
    """A dataset with other videos is the same recording; with other rows it is not."""
    folder = tmp_path / "set"
    lerobot(folder)
    before = digest_of(folder)
    (folder / "videos").mkdir()
    (folder / "videos" / "front.mp4").write_bytes(b"moving")
    assert digest_of(folder) == before
    (folder / "data" / "more.parquet").write_bytes(b"more")
    assert digest_of(folder) != before
