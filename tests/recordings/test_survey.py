"""Test the survey of a recording: tables with a guess at the time, logs of topics, damage and what is left out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from support.fake_topics import Content, FakeLog

from rtsysid.errors import TraceError
from rtsysid.recordings import formats
from rtsysid.recordings import survey as surveys
from rtsysid.recordings.describe import Ranges, jitter_percent
from rtsysid.recordings.survey import survey, survey_topics
from rtsysid.recordings.survey_table import guessed_time


def put(folder: Path, text: str, name: str = "log.csv") -> Path:
    (folder / name).write_text(text)
    return folder / name


def lines(count: int, header: str, row: str) -> str:
    return header + "\n" + "".join(row.format(k, k / 100, k * 10_000) + "\n" for k in range(count))


@given(
    values=arrays(
        np.float64, st.tuples(st.integers(0, 30), st.just(2)), elements=st.floats(-1e6, 1e6) | st.just(np.nan)
    ),
    cut=st.integers(0, 30),
)
def test_ranges_of_blocks_are_those_of_the_whole(values, cut):
    """Statistics that are gathered block by block are those that NumPy finds in all rows."""
    ranges = Ranges(2)
    ranges.add(values[:cut])
    ranges.add(values[cut:])
    for k in range(2):
        column = values[~np.isnan(values[:, k]), k]
        found = ranges.describe(k)
        assert found["nan"] == len(values) - len(column)
        for name, function in (("min", np.min), ("max", np.max), ("mean", np.mean), ("std", np.std)):
            expected = function(column) if len(column) else None
            assert found[name] == (None if expected is None else pytest.approx(expected, abs=1e-6, rel=1e-6))


def test_jitter_is_that_of_regular_intervals():
    """A tenth of the interval up and down is ten percent; gaps and repeated times do not count."""
    steps = np.tile([0.009, 0.011], 50)
    assert jitter_percent(steps) == pytest.approx(10)
    assert jitter_percent(np.r_[np.full(50, 0.01), 5.0, 0.0]) == 0
    assert jitter_percent(np.empty(0)) is None


@pytest.mark.parametrize(
    ("header", "row", "time", "guessed"),
    [
        ("t,y", "{1},1", ("t", "s"), []),
        ("t [us],y", "{2},1", ("t", "us"), []),
        ("timestamp,y", "{2},1", ("timestamp", "us"), ["column", "unit"]),
        ("Time (s),y", "{1},1", ("Time", "s"), ["column"]),
        ("%time,field.y", "17000000000{2:010},1", ("%time", "ns"), ["column"]),
        ("t,y", "{2},1", ("t", "us"), ["unit"]),
        (",y", "{1},1", ("index", "s"), ["column"]),
    ],
)
def test_the_time_is_guessed_and_said(tmp_path, header, row, time, guessed):
    """Name and unit of the time are found, and a note says how to state what was a guess."""
    found = survey(put(tmp_path, lines(200, header, row)))
    assert (found["time"]["column"], found["time"]["unit"]) == time
    assert found["time"]["guessed"] == guessed
    assert bool(found["notes"]) == bool(guessed)
    if header.startswith("%"):
        return
    assert (found["rows"], found["gaps"], found["rate_hz"]) == (200, 0, pytest.approx(100))
    assert found["duration_s"] == pytest.approx(1.99)
    assert [each["name"] for each in found["channels"]] == ["y"]


@pytest.mark.parametrize(("time", "unit"), [("stamp [us]", "us"), ("stamp", "us"), ("", None)])
def test_the_time_may_be_named(tmp_path, time, unit):
    """A named column is taken, with its unit or a guess at it; with "" there is none and nothing is asked for."""
    found = survey(put(tmp_path, lines(50, "t,stamp,y", "{1},{2},1")), time)
    assert (found["time"] or {}).get("unit") == unit
    assert len(found["channels"]) == (3 if unit is None else 2)
    with pytest.raises(TraceError, match="no time column 'tme'"):
        survey(put(tmp_path, "t,y\n0,1\n"), "tme")


def test_a_guess_is_a_setting(tmp_path):
    """What a draft writes as the time column has its unit, where nothing in the file says it."""
    for header, row, setting in (
        ("timestamp,y", "{2},1", "timestamp [us]"),
        ("Time (us),y", "{2},1", "Time"),
        ("t,y", "{1},1", "t"),
        ("x,y", "{1},1", None),
    ):
        assert guessed_time(formats.open_log(put(tmp_path, lines(50, header, row)))) == setting


def test_rows_that_are_only_numbered_have_no_rate(tmp_path):
    """A column that counts rows is no time: rows and ranges are there, and a note says what to do."""
    found = survey(put(tmp_path, lines(50, "frame,y", "{0},1")))
    assert (found["time"], found["rate_hz"], found["rows"]) == (None, None, 50)
    assert "'frame' numbers the rows" in found["notes"][0]
    found = survey(put(tmp_path, lines(50, "x,y", "{0},1")))
    assert "no column looks like the time" in found["notes"][0]


def test_text_is_listed_wherever_it_begins(tmp_path):
    """Columns that turn into text early or late are left out with the line, and the others are described."""
    rows = [
        f"{k / 100},{k},{'HOLD' if k > 400 else ''},{'A' if k == 0 else k},{'x' if k > 450 else 1}" for k in range(500)
    ]
    found = survey(put(tmp_path, "t,y,mode,note,late\n" + "\n".join(rows) + "\n"))
    assert {each["name"]: each["reason"] for each in found["left_out"]} == {
        "mode": "holds text: 'HOLD' is not a number, line 403",
        "note": "holds text: 'A' is not a number",
        "late": "holds text: 'x' is not a number, line 453",
    }
    assert [(each["name"], each["max"]) for each in found["channels"]] == [("y", 499.0)]
    assert found["rows"] == 500


def test_a_time_of_text_is_given_up_where_it_was_a_guess(tmp_path):
    """A guess that turns out to be text is said, and the rest is described; a named one is an error."""
    path = put(tmp_path, lines(200, "time,y", "{1},1") + "late,1\n")
    found = survey(path)
    assert (found["time"], found["rows"]) == (None, 201)
    assert "looks like the time by its name, but holds text" in found["notes"][0]
    with pytest.raises(TraceError, match="line 202, column 'time': 'late' is not a number"):
        survey(path, "time")


@pytest.mark.parametrize("pyarrow", [True, False])
def test_a_table_is_described_up_to_its_damage(tmp_path, monkeypatch, pyarrow):
    """A line that was cut off ends the survey, which says so, and keeps the rows before it."""
    if not pyarrow:
        monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    found = survey(put(tmp_path, lines(300, "t,y,z", "{1},{0},1") + "3.0,3"))
    assert (found["rows"], found["channels"][0]["max"]) == (300, 299)
    assert "cut off" in found["missing"]


def test_what_is_no_channel_is_named(tmp_path):
    """Arrays of other lengths and shapes, columns without a name, stamps and names that occur twice."""
    np.savez(
        tmp_path / "a.npz",
        t=np.arange(9) / 10,
        y=np.arange(9.0),
        short=np.zeros(8),
        rate=np.array(3),
        who=np.array(["x"] * 9),
    )
    assert {each["name"]: each["reason"] for each in survey(tmp_path / "a.npz")["left_out"]} == {
        "short": "has 8 rows, t has 9",
        "rate": "an array of shape ()",
        "who": "holds <U1",
    }
    found = survey(put(tmp_path, "t,,when,y,y\n0,1,10:00:00,2,3\n1,1,10:00:01,2,4\n"))
    assert [(each["name"], each["reason"]) for each in found["left_out"]] == [
        ("column 2", "has no name"),
        ("when", "holds time stamps"),
    ]
    assert [each["max"] for each in found["channels"]] == [2, 4]
    assert "two columns are named 'y'" in found["notes"][0]


@pytest.mark.parametrize(
    ("text", "rows", "columns"),
    [
        ("name,mode\nx,hover\n", None, []),
        ("t,a\n0,\n1,\n", 2, ["a"]),
        ("y\n1\n2\n", 2, ["y"]),
        ("t,x\n1e308,1e308\n2e308,-1e308\n", 2, ["x"]),
        ("t\n0\n1\n", 2, []),
    ],
)
def test_odd_tables_are_described(tmp_path, text, rows, columns):
    """Text alone, empty columns, no time, numbers at the end of float64, and nothing but a time."""
    found = survey(put(tmp_path, text))
    assert (found["rows"], [each["name"] for each in found["channels"]]) == (rows, columns)


def test_episodes_and_roll_overs_are_told(tmp_path):
    """A new number begins an episode; a counter that rolls over is continued and noted."""
    counts = [(2**32 - 50_000 + 10_000 * k) % 2**32 for k in range(40)]
    rows = [f"{count},{k},{k // 30}" for k, count in enumerate(counts)]
    found = survey(put(tmp_path, "TimeUS,y,episode\n" + "\n".join(rows) + "\n"))
    assert [each["rows"] for each in found["episodes"]] == [30, 10]
    assert (found["backward"], found["duration_s"]) == (0, pytest.approx(0.29 + 0.09))
    assert any("rolled over 1 times" in note for note in found["notes"])


IMU = Content(
    np.delete(np.arange(200) / 100, [50, 51, 52]),
    {"gyro.x": np.r_[np.linspace(-1, 1, 196), np.nan], "acc[0]": np.full(197, 9.81)},
    {"gyro.x": "rad/s"},
    {"header.stamp": np.arange(197) / 50},
)
CONTENT = {
    "/imu": IMU,
    "/once": Content(np.array([0.5]), {"data": np.array([3.0])}),
    "/none": Content(np.empty(0), {"data": np.empty(0)}),
    "/image": Content(np.arange(5) / 10, {}),
    "/bad": Content(np.empty(0), {"data": np.empty(0)}, problem="its definition is damaged"),
}


def test_a_log_of_topics_is_described_topic_by_topic():
    """Each topic with messages, rate, jitter, gaps, duration, stamps, and its fields with units and ranges."""
    found = survey_topics(FakeLog(Path("a.bag"), CONTENT, "damaged after 2 s"))
    assert found["missing"] == "damaged after 2 s"
    assert found["duration_s"] == pytest.approx(1.99)
    topics = {each["name"]: each for each in found["topics"]}
    imu = topics["/imu"]
    assert (imu["messages"], imu["gaps"], imu["jitter_percent"], imu["stamps"]) == (197, 1, 0, ["header.stamp"])
    assert (imu["rate_hz"], imu["duration_s"]) == (pytest.approx(196 / 1.99), pytest.approx(1.99))
    gyro, acc = imu["fields"]
    assert (gyro["name"], gyro["unit"], gyro["min"], gyro["max"], gyro["nan"]) == ("gyro.x", "rad/s", -1, 1, 1)
    assert acc["std"] == pytest.approx(0, abs=1e-9)
    assert (topics["/once"]["rate_hz"], topics["/none"]["duration_s"]) == (None, None)
    assert topics["/image"]["rate_hz"] == pytest.approx(10)
    assert "its definition is damaged" in topics["/bad"]["note"]


def test_a_stamp_of_a_topic_may_be_the_time():
    """TOPIC.STAMP describes that topic by its own stamps; a stamp that does not exist lists near ones."""
    found = survey_topics(FakeLog(Path("a.bag"), CONTENT), "/imu.header.stamp")
    assert found["topics"][2]["rate_hz"] == pytest.approx(50)
    with pytest.raises(TraceError, match=r"no time stamp '/imu\.stamp'; there is '/imu\.header\.stamp'"):
        survey_topics(FakeLog(Path("a.bag"), CONTENT), "/imu.stamp")


def test_a_large_topic_is_read_a_few_fields_at_a_time(monkeypatch):
    """One topic at a time is in memory, and of a large one a part of its fields; each field is described once."""
    monkeypatch.setattr(surveys, "_VALUES", 600)
    log = FakeLog(
        Path("a.bag"), {"/a": Content(np.arange(300) / 100, {f"f{k}": np.full(300, k * 1.0) for k in range(5)})}
    )
    found = survey_topics(log)
    assert [fields for _, fields in log.asked] == [("f0", "f1"), ("f2", "f3"), ("f4",)]
    assert [each["max"] for each in found["topics"][0]["fields"]] == [0, 1, 2, 3, 4]
