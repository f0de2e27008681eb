"""Test the log formats: round trips, untidy files, and one-line errors for damaged files."""

import gzip
import importlib
import io
import logging
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rtsysid.errors import StorageError, TraceError
from rtsysid.recordings import formats
from rtsysid.recordings.formats import Block
from rtsysid.recordings.formats.csv import Reader, _fast, _plain
from rtsysid.recordings.trace import Trace
from rtsysid.spec import Channel

TIME = (Channel("t", "s"),)
AB = (Channel("a", "m/s"), Channel("b"))
SINGLE = st.floats(width=32, allow_nan=True, allow_infinity=True)


def read(path: Path, *, time: str | None = "t") -> Block:
    selection = formats.select_columns(formats.open_log(path), None, time, None)
    return formats.gather(selection)


def csv_file(folder: Path, content: bytes | str, name: str = "log.csv") -> Path:
    path = folder / name
    raw = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(raw) if name.endswith(".gz") else raw)
    return path


def block(rows: int) -> Block:
    values = np.arange(2 * rows, dtype=np.float32).reshape(rows, 2) / 7
    return Block(np.arange(rows)[:, np.newaxis] / 100, values)


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


CELL = st.one_of(
    st.sampled_from(
        ["", " ", "nan", "NA", "null", "inf", "-inf", "+1", " 2 ", '"3"', ' "3"', "1.", ".5", "1e400", "-0"]
    ),
    st.sampled_from(["true", "False", "1_0", "0x1", "x", "1d2", "1e-400", "16777217", "0.1000000014901161"]),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.integers(-(10**20), 10**20).map(str),
)


@settings(max_examples=80, deadline=None)
@given(
    rows=st.lists(st.tuples(CELL, CELL, CELL), min_size=1, max_size=6),
    end=st.sampled_from(["\n", "\r\n"]),
    ending=st.sampled_from(["", ",", ",,"]),
    blank=st.booleans(),
)
def test_both_csv_readers_agree(tmp_path_factory, rows, end, ending, blank):
    """With and without pyarrow a CSV gives the same bits, or the same one-line error."""
    lines = ["t,a,b", *(",".join(row) + ending for row in rows)]
    path = csv_file(tmp_path_factory.mktemp("agree"), (end * (2 if blank else 1)).join(lines) + end)

    def outcome(blocks) -> tuple:
        try:
            exact, values = zip(*blocks(), strict=True)
        except TraceError as error:
            return (str(error),)
        return np.concatenate(exact).tobytes(), np.concatenate(values).tobytes()

    log = Reader(path)
    assert outcome(lambda: log.blocks((0,), (1, 2))) == outcome(lambda: _plain(log, (0,), (1, 2)))


def test_clean_csv_takes_the_fast_reader(tmp_path):
    """A clean file is read by the fast parser alone."""
    log = Reader(csv_file(tmp_path, "t,flag,a\n0,true,1\n1,False,\n"))
    fast, plain = (list(reader(log, (0,), (1, 2))) for reader in (_fast, _plain))
    np.testing.assert_array_equal(fast[0].values, [[1, 1], [0, np.nan]])
    np.testing.assert_array_equal(fast[0].values, plain[0].values)


def test_fallback_continues_where_the_fast_reader_stopped(tmp_path):
    """An untidy cell deep in a file loses no row and repeats none."""
    rows = [f"{i},{i % 1000}" for i in range(120_000)]
    rows[110_000] = "110000, "
    back = read(csv_file(tmp_path, "\n".join(["t,a", *rows, ""])))
    np.testing.assert_array_equal(back.exact[:, 0], np.arange(120_000))
    assert np.flatnonzero(np.isnan(back.values[:, 0])).tolist() == [110_000]


def test_csv_without_pyarrow(tmp_path, monkeypatch):
    """Without pyarrow CSV is still readable, and the error for Parquet names the extra to install."""
    path = csv_file(tmp_path, "t,a\n0,1\n1,2\n")
    formats.write_log(tmp_path / "log.parquet", TIME, AB, [block(3)])
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    np.testing.assert_array_equal(read(path).values, [[1], [2]])
    remedy = r"\.parquet needs pyarrow, .*; pip install 'rtsysid\[train\]', or use \.csv or \.csv\.gz or \.npz"
    with pytest.raises(TraceError, match=remedy):
        formats.open_log(tmp_path / "log.parquet")
    with pytest.raises(TraceError, match=remedy):
        formats.write_log(tmp_path / "other.parquet", TIME, AB, [block(3)])


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbft,a [m],b\n0,1,2\n",
        "t,a [m],b\r\n0,1,2\r\n\r\n",
        '"t","a [m]","b",\n0,1,2,\n\n',
        "t,a [m],b\n0,1,2,\n",
        "t , a [m] , b \n 0 , 1 , 2 \n",
        "# t,a [m],b\n0,1,2\n",
        "t;a [m];b\n0;1;2\n",
        "t\ta [m]\tb\n0\t1\t2\n",
        "\nt,a [m],b\n\n0,1,2\n",
        "t,a [m],b,mode\n0,1,2,hover\n",
        't,a [m],b,note\n0,1,2,"one, ""two"""\n',
        "t,,a [m],b\n0,7,1,2\n",
        "t,a [m],b,\n0,1,2\n",
    ],
)
def test_untidy_csv_is_understood(tmp_path, content):
    """Byte order mark, line ends, quotes, spaces, other delimiters and additional text columns are accepted."""
    path = csv_file(tmp_path, content)
    selection = formats.select_columns(formats.open_log(path), None, "t", None)
    assert [(c.name, c.unit) for c in selection.channels] == [("a", "m"), ("b", "")]
    np.testing.assert_array_equal(formats.gather(selection).values, [[1, 2]])


def test_latin_1_header(tmp_path):
    """A header in Latin-1, as from a spreadsheet, is readable."""
    log = formats.open_log(csv_file(tmp_path, "t,a [°]\n0,1\n".encode("latin-1")))
    assert log.columns[1].unit == "°"


@pytest.mark.parametrize(
    ("text", "name", "unit"),
    [
        ("q[0]", "q[0]", ""),
        ("vx [m/s]", "vx", "m/s"),
        ("q[0] [rad]", "q[0]", "rad"),
        (" a ", "a", ""),
        ("a[m]", "a", "m"),
        ("/joints.position[left]", "/joints.position[left]", ""),
        ("/joints.position[left] [rad]", "/joints.position[left]", "rad"),
        ("/imu.rate [rad/s]", "/imu.rate", "rad/s"),
    ],
)
def test_index_in_a_header_is_no_unit(text, name, unit):
    """Digits in brackets belong to the name, and so does an element of a ROS topic. Other text is the unit."""
    assert formats.column(text, True)[:2] == (name, unit)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"\n\n", "no header"),
        (b"t,a\n", "a header and no rows"),
        (b"0,1\n1,2\n", "line 1 holds numbers"),
        (b"t,a,b\n0,1,2\n1,2\n", "line 3: 2 cells under 3"),
        (b"t,a,b\n0,1,2\n1,2,3,4\n", "line 3: 4 cells under 3"),
        (b"t,a,b\n0,1,2\n1,2\n2,3,4", "truncated"),
        (b"t,a\n" + b"0,1\n" * 150 + b"9,oops\n", "line 152, column 'a': 'oops' is not a number"),
        (b"t,a\n" + b"0,1\n" * 150 + b"9,1_0\n", "'1_0' is not a number"),
        (b"time,a\n0,1\n", "no time column 't': columns are time, a"),
        (b"t,a,a\n0,1,2\n", "two columns named a"),
        (b"t,mode\n0,hover\n", "no column of numbers"),
        (b"t [h],a\n0,1\n", "unit is 'h'"),
        (b"t,a\r0,1\r", "LF or CRLF"),
        (b't,a\n0,1\n1,"' + b"x" * 140_000, "damaged"),
        (b"\xff\xfet\0,\0a\0\n\0", "not UTF-8 text"),
    ],
)
def test_bad_csv_is_named_in_one_line(tmp_path, content, words):
    """Each fault of a CSV raises one line with its place and its kind."""
    with pytest.raises(TraceError, match=r"log\.csv") as caught:
        read(csv_file(tmp_path, content))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


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
