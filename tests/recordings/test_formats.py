"""Test the log formats: round trips, untidy files, and one-line errors for damaged files."""

import importlib
import io
import logging

import numpy as np
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from support.table_logs import AB, TIME, block, csv_file, read

from rtsysid.errors import StorageError, TraceError
from rtsysid.recordings import formats
from rtsysid.recordings.formats import Block
from rtsysid.recordings.trace import Trace
from rtsysid.spec import Channel

SINGLE = st.floats(width=32, allow_nan=True, allow_infinity=True)


@settings(max_examples=25, deadline=None)
@given(data=st.data(), rows=st.integers(1, 12), suffix=st.sampled_from(formats.WRITTEN))
def test_round_trip_keeps_every_bit(tmp_path_factory, data, rows, suffix):
    """Every format returns time and values bit for bit; CSV too, since nine digits keep a float32."""
    t = data.draw(arrays(np.float64, (rows, 1), elements=st.floats(allow_nan=False, allow_infinity=False)))
    values = data.draw(arrays(np.float32, (rows, 2), elements=SINGLE))
    path = tmp_path_factory.mktemp("trip") / f"log{suffix}"
    formats.write_log(path, TIME, AB, [Block(t, values)])
    back = read(path)
    np.testing.assert_array_equal(back.exact, t)
    np.testing.assert_array_equal(back.values, values)
    assert [(c.name, c.unit) for c in formats.open_log(path).columns[:3]] == [("t", "s"), ("a", "m/s"), ("b", "")]


@pytest.mark.parametrize("suffix", formats.WRITTEN)
def test_blocks_are_streamed_and_joined(tmp_path, suffix, monkeypatch):
    """A recording longer than a block, written in uneven blocks, is read back complete, in blocks of bounded size."""
    monkeypatch.setattr(formats, "ROWS", 100)
    whole = block(1234)
    parts = [Block(whole.exact[i:j], whole.values[i:j]) for i, j in ((0, 7), (7, 1000), (1000, 1234))]
    path = tmp_path / f"log{suffix}"
    formats.write_log(path, TIME, AB, iter(parts))
    log = formats.open_log(path)
    if suffix not in (".csv", ".csv.gz"):  # pyarrow cuts CSV by bytes
        assert max(len(each.values) for each in log.blocks((0,), (2,))) <= 100
    back = read(path)
    np.testing.assert_array_equal(back.exact, whole.exact)
    np.testing.assert_array_equal(back.values, whole.values)


@pytest.mark.parametrize("suffix", [".parquet", ".npz"])
@settings(max_examples=15, deadline=None)
@given(part=st.floats(0, 0.999))
def test_truncated_file_never_loads(tmp_path_factory, suffix, part):
    """A file that states its length is reported as damaged where it is truncated, at any byte."""
    folder = tmp_path_factory.mktemp("cut")
    formats.write_log(folder / f"log{suffix}", TIME, AB, [block(200)])
    raw = (folder / f"log{suffix}").read_bytes()
    (folder / f"cut{suffix}").write_bytes(raw[: int(part * len(raw))])
    with pytest.raises(TraceError, match=r"truncated or damaged|empty"):
        read(folder / f"cut{suffix}")


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz"])
@settings(max_examples=15, deadline=None)
@given(part=st.floats(0, 0.999))
def test_a_cut_table_is_read_up_to_its_damage(tmp_path_factory, suffix, part):
    """Of a table that is cut off at any byte, whole rows are read as they were, and a cut row is told."""
    folder, whole = tmp_path_factory.mktemp("cut"), block(200)
    formats.write_log(folder / f"log{suffix}", TIME, AB, [whole])
    raw, path = (folder / f"log{suffix}").read_bytes(), folder / f"cut{suffix}"
    path.write_bytes(raw[: int(part * len(raw))])
    try:
        rows = read(path)
    except TraceError:  # nothing but a part of the header
        assert part < 0.05 or suffix == ".csv.gz"
        return
    kept = max(len(rows.values) - (suffix == ".csv"), 0)  # a last number of plain text may be cut
    np.testing.assert_array_equal(rows.values[:kept], whole.values[:kept])
    assert len(rows.values) <= len(whole.values)


def test_a_cut_row_is_told(tmp_path, caplog):
    """A row without all its cells at the end of a file is left out, and it is said."""
    with caplog.at_level(logging.WARNING):
        rows = read(csv_file(tmp_path, "t,a,b\n0,1,2\n1,2", "cut.csv"))
    assert rows.values.tolist() == [[1, 2]]
    assert "it is cut off" in caplog.text


@pytest.mark.parametrize("suffix", [".csv.gz", ".npz"])
def test_changed_byte_is_found(tmp_path, suffix):
    """A changed byte in the values fails the checksum of gzip and zip."""
    path = tmp_path / f"log{suffix}"
    rng = np.random.default_rng(0)
    formats.write_log(path, TIME, AB, [Block(np.arange(500.0)[:, None], rng.standard_normal((500, 2), np.float32))])
    raw = bytearray(path.read_bytes())
    raw[len(raw) * 2 // 3] ^= 0x55
    path.write_bytes(raw)
    with pytest.raises(TraceError):
        read(path)


def test_csv_that_ends_inside_a_line_is_not_silent(tmp_path, caplog):
    """A plain CSV without a final line end logs a warning: its last cell may be cut off."""
    with caplog.at_level(logging.WARNING):
        read(csv_file(tmp_path, "t,a\n0,1\n1,2\n", "whole.csv"))
        assert not caplog.records
        read(csv_file(tmp_path, "t,a\n0,1\n1,2", "open.csv"))
    assert "last line has no line end" in caplog.text


@pytest.mark.parametrize("suffix", formats.FORMATS)
def test_every_format_module_has_the_same_two_names(suffix):
    """A module of `FORMATS` defines `Reader`, and `write_blocks` where it can be written."""
    name = formats.FORMATS[suffix].module
    module = importlib.import_module(f"rtsysid.recordings.formats.{name}")
    assert callable(module.Reader)
    written = any(each.writable for each in formats.FORMATS.values() if each.module == name)
    assert hasattr(module, "write_blocks") == written


def test_unknown_suffix_names_the_known_ones(tmp_path):
    """The error for an unknown suffix lists the known suffixes, for reading and for writing."""
    with pytest.raises(TraceError, match=r"\.csv, \.csv\.gz, \.parquet, \.npz"):
        formats.open_log(tmp_path / "log.abc")
    with pytest.raises(TraceError, match=r"\.parquet"):
        formats.write_log(tmp_path / "log.xls", TIME, AB, [])


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("x.csv.bz2", "compressed, which is not supported; unpack it"),
        ("x.dat", "no known kind, which is not supported; .* rename it .txt"),
        ("x.tlog", "MAVLink, which is not supported; .*mavlogdump"),
        ("X.LOG", "use the .bin log"),
        ("x.wpilog", "AdvantageScope"),
        ("x.rrd", "write Parquet"),
        ("x.xlsx", "save it as CSV"),
        ("x.pkl", "can run any program"),
    ],
)
def test_another_format_names_its_converter(tmp_path, name, says):
    """A recording of a known other format is answered with the program that converts it, in a folder too."""
    (tmp_path / name).write_bytes(b"1")
    with pytest.raises(TraceError, match=says):
        formats.open_log(tmp_path / name)
    with pytest.raises(TraceError, match=says):
        Trace.read(tmp_path)


def test_missing_file(tmp_path):
    """A wrong path raises a one-line error."""
    with pytest.raises(TraceError, match="no such file"):
        formats.open_log(tmp_path / "log.csv")


def test_npz_is_what_numpy_reads(tmp_path):
    """The arrays have the documented names, and numpy loads them without pickle."""
    exact = np.array([[0.0, 0], [1, 0], [0, 1]])
    formats.write_log(tmp_path / "log.npz", (*TIME, Channel("episode")), AB, [Block(exact, block(3).values)])
    with np.load(tmp_path / "log.npz", allow_pickle=False) as arrays_:
        assert arrays_["episode_starts"].tolist() == [0, 2]
        assert arrays_["values"].dtype == np.float32
        assert str(arrays_["channels"]) == '[{"name":"a","unit":"m/s"},{"name":"b","unit":""}]'


def test_parquet_types(tmp_path):
    """Integers, booleans, nulls and a timestamp as time are readable; text columns are ignored."""
    table = pyarrow.table(
        {
            "t": pyarrow.array([0, 1500], pyarrow.timestamp("ms")),
            "a.b": pyarrow.array([1, None], pyarrow.int16()),
            "on": [True, False],
            "mode": ["x", "y"],
            "v [m/s]": pyarrow.array([0.5, 1.5], pyarrow.float32()),
        }
    )
    pyarrow.parquet.write_table(table, tmp_path / "log.parquet")
    selection = formats.select_columns(formats.open_log(tmp_path / "log.parquet"), None, "t", None)
    rows = formats.gather(selection)
    assert [str(channel) for channel in selection.channels] == ["a.b", "on", "v [m/s]"]
    np.testing.assert_array_equal(rows.values, np.array([[1, 1, 0.5], [np.nan, 0, 1.5]], np.float32))
    np.testing.assert_array_equal(formats.times(selection, rows.exact, 0), [0, 1.5])
    with pytest.raises(TraceError, match="its type is string"):
        list(formats.open_log(tmp_path / "log.parquet").blocks((0,), (3,)))


@pytest.mark.parametrize("suffix", formats.WRITTEN)
def test_failed_write_leaves_what_was_there(tmp_path, suffix):
    """A full disk raises a one-line error and leaves the older recording unchanged."""

    def failing():
        yield block(3)
        raise OSError(28, "No space left on device")

    path = tmp_path / f"log{suffix}"
    path.write_text("older")
    with pytest.raises(StorageError, match="No space left"):
        formats.write_log(path, TIME, AB, failing(), overwrite=True)
    assert path.read_text() == "older"
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_equal_recordings_are_equal_files(tmp_path):
    """Equal recordings give equal gzipped files: no name and no time in the header."""
    raw = []
    for name in ("one.csv.gz", "two.csv.gz"):
        formats.write_log(tmp_path / name, TIME, AB, [block(5)])
        raw.append((tmp_path / name).read_bytes())
    assert raw[0] == raw[1]
    assert raw[0][4:8] == bytes(4)


def test_early_end_of_a_stream_closes_it(tmp_path):
    """Closing a stream after one block leaves no open file and no running thread."""
    path = csv_file(tmp_path, "t,a\n" + "0,1\n" * 400_000)
    stream = formats.open_log(path).blocks((0,), (1,))
    next(stream)
    stream.close()
    path.unlink()


def test_csv_text_is_plain(tmp_path):
    """A CSV holds the shortest exact time, nine digits per value, and an empty cell for NaN."""
    formats.write_log(tmp_path / "log.csv", TIME, AB, [Block(np.array([[0.1]]), np.array([[0.1, np.nan]], np.float32))])
    text = io.StringIO((tmp_path / "log.csv").read_text()).readlines()
    assert text == ["t [s],a [m/s],b\n", "0.1,0.100000001,\n"]


def test_two_columns_of_one_name_are_not_written(tmp_path):
    """A channel with the name of the time column raises TraceError before a file is created."""
    with pytest.raises(TraceError, match="two columns named t"):
        formats.write_log(tmp_path / "log.csv", TIME, (Channel("t"),), [])
    assert not list(tmp_path.iterdir())
