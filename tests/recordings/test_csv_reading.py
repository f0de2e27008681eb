"""Both readers of CSV agree, untidy files are understood, and bad ones are named in one line."""

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.table_logs import AB, TIME, block, csv_file, read

from rtsysid.errors import TraceError
from rtsysid.recordings import formats
from rtsysid.recordings.formats.csv import Reader, _fast, _plain
from rtsysid.recordings.trace import Trace

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


@pytest.mark.parametrize("text", ["<!DOCTYPE html>\n<html><body>404</body></html>\n", " <html>,a\n1,2\n"])
def test_a_web_page_in_place_of_a_table_is_named(text: str, tmp_path: Path) -> None:
    """A download that failed is a page of HTML under the name of the file."""
    (tmp_path / "log.csv").write_text(text)
    with pytest.raises(TraceError, match="it is a web page or XML, no table; download the file itself again"):
        Trace.read(tmp_path / "log.csv")
