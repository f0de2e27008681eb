"""Test the dialects of CSV: delimiters, decimal commas, preambles, rows of units, time stamps, and what stays text."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtsysid.errors import TraceError
from rtsysid.recordings import formats
from rtsysid.recordings.formats.csv import Reader, _plain
from rtsysid.recordings.formats.csv_cells import parse_number, parse_stamp
from rtsysid.recordings.formats.csv_text import OneBlank
from rtsysid.recordings.names import recording_files
from rtsysid.recordings.trace import Trace
from rtsysid.spec import Channel

NAMES = ("t", "vx", "rate z", "q[0]", "motor_1", "%load", "p/q", "Ωz")
UNITS = ("s", "m/s", "rad/s", "", "V", "%", "deg", "m/s^2")
NUMBER = st.floats(-1e6, 1e6, allow_nan=False).map(lambda value: round(value, 4))
PREAMBLE = ("Logger{0}3.2", "Operator: lab", "Date{0}2025-01-07", "Rate{0}100{0}Hz", "Channels{0}vx{0}vy", "\ufffd")


def write(folder: Path, text: str, name: str = "log.csv", encoding: str = "utf-8") -> Path:
    path = folder / name
    raw = text.encode(encoding)
    path.write_bytes(gzip.compress(raw) if name.endswith(".gz") else raw)
    return path


def rows_of(path: Path, time: str = "t") -> np.ndarray:
    """Read all columns as float64: the time, then the others."""
    [episode] = Trace.read(path, time=time).episodes
    return np.column_stack((episode.t, episode.values))


class Table:
    """Draw a table and a dialect, and write it."""

    def __init__(self, data: st.DataObject) -> None:
        count = data.draw(st.integers(2, 5), "columns")
        self.names, self.units = NAMES[:count], UNITS[:count]
        line = st.lists(NUMBER, min_size=count, max_size=count)
        self.values = np.array(data.draw(st.lists(line, min_size=1, max_size=12), "rows"))
        self.delimiter = data.draw(st.sampled_from((",", ";", "\t", "|", "  ", " \t")), "delimiter")
        self.comma = data.draw(st.booleans(), "decimal comma") and self.delimiter in (";", "\t", "|")
        self.style = data.draw(st.sampled_from(("none", "[]", "()", "row", "[row]")), "units")
        self.declared = data.draw(st.booleans(), "sep=") and self.delimiter in (",", ";", "\t")
        self.comments = data.draw(st.lists(st.sampled_from(("# made by x", "%", "// y, z; 1")), max_size=2), "comments")
        self.before = data.draw(st.lists(st.sampled_from(PREAMBLE), max_size=4, unique=True), "preamble")
        self.blank = data.draw(st.booleans(), "blank line")
        self.ending = data.draw(st.sampled_from(("", self.delimiter)), "ending") if self.delimiter in ",;\t" else ""
        self.end = data.draw(st.sampled_from(("\n", "\r\n")), "line end")

    def cell(self, value: float) -> str:
        return repr(value).replace(".", "," if self.comma else ".")

    def header(self) -> list[str]:
        names = [each.replace(" ", "_") if self.delimiter.isspace() else each for each in self.names]
        if self.style in ("none", "row", "[row]"):
            return names
        left, right = self.style
        return [f"{n} {left}{u}{right}" if u else n for n, u in zip(names, self.units, strict=True)]

    def text(self) -> str:
        lines = [f"sep={self.delimiter}"] * self.declared + [*self.comments]
        lines += [each.format(self.delimiter) for each in self.before] + [""] * self.blank
        lines.append(self.delimiter.join(self.header()) + self.ending)
        if "row" in self.style:
            shape = "[{}]" if self.style == "[row]" else "{}"
            lines.append(self.delimiter.join(shape.format(unit or "-") for unit in self.units))
        lines += [self.delimiter.join(map(self.cell, row)) + self.ending for row in self.values.tolist()]
        return self.end.join(lines) + self.end


@settings(max_examples=100, deadline=None)
@given(data=st.data(), name=st.sampled_from(("log.csv", "log.tsv", "log.txt", "log.csv.gz", "log.txt.gz")))
def test_a_table_in_any_dialect_is_read_back_equal(tmp_path_factory, data, name):
    """Names, units and numbers of a random table come back from a random dialect, with and without pyarrow."""
    table = Table(data)
    log = Reader(write(tmp_path_factory.mktemp("dialect"), table.text(), name, "utf-8-sig"))
    expected = [each.replace(" ", "_") if table.delimiter.isspace() else each for each in table.names]
    width = len(expected)
    assert [each.name for each in log.columns[:width]] == expected
    units = [unit.strip("-") for unit in table.units] if table.style != "none" else [""] * width
    assert [each.unit.strip("-") for each in log.columns[:width]] == units
    for blocks in (log.blocks(range(width), ()), _plain(log, range(width), ())):
        np.testing.assert_array_equal(np.concatenate([each.exact for each in blocks]), table.values)


@settings(max_examples=50, deadline=None)
@given(text=st.text(" \t\n\rab1", max_size=60), size=st.integers(1, 9))
def test_runs_of_blanks_become_one(monkeypatch_module, text, size):
    """Whatever the parts in which a text is read, each line keeps its words with one blank between them."""
    import io

    monkeypatch_module.setattr("rtsysid.recordings.formats.csv_text._PART", size)
    read = io.BufferedReader(OneBlank(io.BytesIO(text.encode()))).read().decode()
    expected = [" ".join(line.split()) for line in text.replace("\r", " ").split("\n")]
    if text.strip():
        assert read.rstrip(" ").split("\n") == expected


@pytest.fixture(scope="module")
def monkeypatch_module():
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@settings(max_examples=50, deadline=None)
@given(
    cells=st.lists(st.sampled_from(("x", '"a,b"', '"two\nlines"', '"a ""q"""', "")), min_size=1, max_size=12),
    blank=st.integers(1, 3),
    skip=st.integers(0, 12),
)
def test_rows_that_were_read_are_passed_over(tmp_path_factory, cells, blank, skip):
    """The plain parser continues after any number of rows, also where a quoted cell holds line ends."""
    lines = [f"{k},{cell},{k / 2}\n" for k, cell in enumerate(cells)]
    log = Reader(write(tmp_path_factory.mktemp("skip"), "t,note,a\n" + ("\n" * blank).join(lines)))
    whole, rest = (
        np.concatenate([each.exact for each in _plain(log, (0, 2), (), k)] or [np.empty((0, 2))]) for k in (0, skip)
    )
    np.testing.assert_array_equal(rest, whole[skip:])


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("Logger,3.2\nt,y\n0,1\n1,2\n", ["t", "y"]),
        ("a,b\nc,d\nt,y\n0,1\n", ["t", "y"]),
        ("# by x,y\nLogger,3.2\nLogger,3.2\nRate,100,Hz\nt,y,z\n0,1,2\n", ["t", "y", "z"]),
        ("t,y\ns,m\n0,1\n", ["t [s]", "y [m]"]),
        ("t,y,z\ns,1,m\n0,1,2\n1,2,3\n", ["t [s]", "y [1]", "z [m]"]),
        ("Trajectories\n200\n,,a,,\nFrame,Sub Frame,X,Y,Z\n,,mm,mm,mm\n1,0,1,2,3\n2,0,1,2,3\n",
         ["Frame", "Sub Frame", "X [mm]", "Y [mm]", "Z [mm]"]),
        ("t,1,2\n0,5,6\n1,7,8\n", ["t", "1", "2"]),
        ("# logger 3.2\n# t,y\n0,1\n1,2\n", ["t", "y"]),
        ("%time,field.y\n1,2\n3,4\n", ["%time", "field.y"]),
        ("% t, y\n1,2\n3,4\n", ["t", "y"]),
        ("t [s] y [m]\n0 1\n", ["t [s]", "y [m]"]),
        ("  t   y\n  0   1\n  1   2\n", ["t", "y"]),
        ("|t|y|\n|0|1|\n", ["", "t", "y", ""]),
        ("t,RPM(rpm),acc (body),acc (g),y (2)\n0,1,2,3,4\n", ["t", "RPM [rpm]", "acc (body)", "acc [g]", "y (2)"]),
        ("t,acc (m/s^2),acc (g)\n0,1,2\n", ["t", "acc (m/s^2)", "acc (g)"]),
        ("t,mode,y\n0,hover,1\n1,land,2\n", ["t", "mode", "y"]),
        (",y\n0,5\n1,6\n", ["index", "y"]),
    ],
)  # fmt: skip
def test_the_header_is_found(tmp_path, text, columns):
    """Preambles, several lines of names, rows of units, comments and parentheses lead to the right names and units."""
    found = Reader(write(tmp_path, text)).columns
    assert [str(Channel(each.name, each.unit)) for each in found] == columns


@pytest.mark.parametrize(
    "text",
    [
        "t,y\n# pause\n0,1\n# again\n1,2\n",
        "sep=;\nt;y\n0;1\n1;2\n",
        "t;y\n0,0;1,0\n1,0;2,0\n",
        "\ufefft;y\n0;1\n1;2,0\n",
        "t\ty\n0\t1\n1\t2.0\n",
    ],
)
def test_comments_and_decimal_signs_among_the_rows(tmp_path, text):
    """Comment lines between rows are passed over; the decimal sign is found where it comes late."""
    np.testing.assert_array_equal(rows_of(write(tmp_path, text)), [[0, 1], [1, 2]])


def test_the_decimal_sign_is_found_behind_the_first_rows(tmp_path):
    """A table with semicolons whose first fraction comes after a thousand rows is read with decimal commas."""
    text = "t;y\n" + "".join(f"{k};{k}\n" for k in range(1000)) + "1000;0,5\n"
    assert rows_of(write(tmp_path, text))[-1].tolist() == [1000, 0.5]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ('0,"12,547"', "'12,547' has a thousands separator"),
        ('0,"0,5"', "'0,5' has a decimal comma"),
        ("0;1.234,5", "'1.234,5' has a thousands separator"),
        ("0,12 547", "'12 547' has a thousands separator"),
        ("0,hover", "'hover' is not a number"),
    ],
)
def test_text_says_what_it_is(tmp_path, row, reason):
    """A column that holds no numbers says why, as a column and in the error of who asks for it."""
    delimiter = ";" if ";" in row else ","
    path = write(tmp_path, f"t{delimiter}a\n{row}\n{row}\n")
    assert Reader(path).columns[1].note == f"holds text: {reason}"
    with pytest.raises(TraceError, match=reason):
        Trace.read(path, [Channel("a")])
    with pytest.raises(TraceError, match=f"except the time: a holds text: {reason}"):
        Trace.read(path)


@pytest.mark.parametrize(
    ("stamps", "seconds"),
    [
        (("2025-03-04T10:00:00.000", "2025-03-04T10:00:00.010"), 1741082400.0),
        (("2025-03-04 10:00:00Z", "2025-03-04 10:00:00.01Z"), 1741082400.0),
        (("2025-03-04T12:00:00+02:00", "2025-03-04T12:00:00.010+02:00"), 1741082400.0),
        (("2025/03/04 10:00:00", "2025/3/4 10:00:00.01"), 1741082400.0),
        (("04.03.2025 10:00:00,00", "04.03.2025 10:00:00,01"), 1741082400.0),
        (("10:00:05.000", "10:00:05.010"), 36005.0),
        (("0:00:00", "0:00:00.010"), 0.0),
    ],
)
def test_time_stamps_are_times(tmp_path, stamps, seconds):
    """ISO 8601 and h:m:s stamps are seconds, read as the time column or as a column, with and without pyarrow."""
    path = write(tmp_path, "Time;y\n" + "".join(f"{stamp};1\n" for stamp in stamps))
    [episode] = Trace.read(path, time="Time").episodes
    np.testing.assert_allclose(episode.t, [seconds, seconds + 0.01], atol=5e-7)
    log = Reader(path)
    assert (log.columns[0].unit, log.columns[0].numeric) == ("s", False)
    [plain] = _plain(log, (0,), (1,))
    np.testing.assert_array_equal(plain.exact[:, 0], episode.t)


def test_a_stamp_that_is_none_names_its_line(tmp_path):
    """A cell that is no time stamp in a column of them is an error with its line; an empty one is NaN."""
    path = write(tmp_path, "time,y\n" + "10:00:00,1\n" * 150 + "10:61:00,1\n")
    with pytest.raises(TraceError, match="line 152, column 'time': '10:61:00' is not a time stamp"):
        Trace.read(path, time="time")
    assert np.isnan(parse_stamp(" "))
    with pytest.raises(ValueError, match="day is out of range"):
        parse_stamp("2025-02-30 10:00:00")


def test_a_decimal_comma_excludes_the_point():
    """With decimal commas a point is a thousands separator, which no number may have."""
    assert parse_number("-1,5e3", ",") == -1500
    with pytest.raises(ValueError, match=r"1\.5"):
        parse_number("1.5", ",")


def test_a_channel_is_found_by_its_whole_header(tmp_path):
    """A configuration may name a column by name, by name [unit], or by the cell as it is in the file."""
    path = write(tmp_path, "Time (s),VFAS(V)\n0,1\n1,2\n")
    for channel in (Channel("VFAS"), Channel("VFAS", "V"), Channel("VFAS(V)")):
        for time in ("Time", "Time (s)", "Time [s]"):
            trace = Trace.read(path, [channel], time=time)
            assert trace.channels == (channel,)
            np.testing.assert_array_equal(trace.episodes[0].values, [[1], [2]])
    with pytest.raises(TraceError, match="unit of 'VFAS': 'V' instead of 'mV'"):
        Trace.read(path, [Channel("VFAS", "mV")], time="Time")


def test_a_text_file_in_a_folder_counts_where_it_holds_a_table(tmp_path):
    """Notes next to recordings are passed over, tables in .txt and .tsv are recordings."""
    table = "t y\n" + "".join(f"{k} 1\n" for k in range(20))
    write(tmp_path, table, "run1.txt")
    write(tmp_path, table.replace(" ", "\t"), "run2.tsv")
    write(tmp_path, "Flight of 3 May.\nBattery 2 was empty.\n", "notes.txt")
    write(tmp_path, "name value\nmass 0.5\narm 0.1\nexit 0\nfor now\n", "readme.txt")
    assert [each.name for each in recording_files(tmp_path)] == ["run1.txt", "run2.tsv"]


@pytest.mark.parametrize(("text", "line"), [("0,1\n1,2\n", 1), ("0 1\n1 2\n", 1), ("\n# a b\n0;1\n1;2\n", 3)])
def test_numbers_without_a_header_name_their_line(tmp_path, text, line):
    """A file without names is refused with the number of its first line, whatever its delimiter."""
    with pytest.raises(TraceError, match=f"line {line} holds numbers, not a header"):
        formats.open_log(write(tmp_path, text))
