"""Test the time column: its unit, stated or known, the advice of errors, and guesses."""

from __future__ import annotations

import numpy as np
import pytest

from rtsysid.config import Data
from rtsysid.errors import TraceError
from rtsysid.recordings.columns import Column
from rtsysid.recordings.reading import align_trace, read_recordings
from rtsysid.recordings.time_column import TimeColumn, find_time, guessed_unit, implied_unit, likely_time, stated_time
from rtsysid.recordings.timeline import check_rate, check_typical_rate
from rtsysid.recordings.trace import Trace

COLUMNS = (Column("timestamp", "", True), Column("time", "us", True, "time (us)"), Column("%time", "", True))


def csv(folder, header="timestamp", scale=10_000, rows=300):
    path = folder / "log.csv"
    path.write_text(f"{header},y\n" + "".join(f"{k * scale},{k % 9}\n" for k in range(rows)))
    return path


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        ("timestamp", TimeColumn("timestamp", 1.0, 0)),
        ("timestamp [us]", TimeColumn("timestamp", 1e-6, 0)),
        ("timestamp (ms)", TimeColumn("timestamp", 1e-3, 0)),
        ("time", TimeColumn("time", 1e-6, 1)),
        ("time (us)", TimeColumn("time", 1e-6, 1)),
        ("time [ns]", TimeColumn("time", 1e-9, 1)),  # what is stated counts, not the header
        ("%time", TimeColumn("%time", 1e-9, 2)),
    ],
)
def test_a_unit_may_be_stated(time, expected):
    """The unit of a time is the stated one, else that of the header, else that of a known name."""
    assert find_time("log.csv", COLUMNS, time) == expected


def test_a_unit_that_is_none_of_time_is_refused():
    """A column in hours or metres is no time column; the error lists the units."""
    with pytest.raises(TraceError, match=r"its unit is 'm'; use one of s, ms, us, ns, as in 'x \[us\]'"):
        find_time("log.csv", [Column("x", "m", True)], "x")


def test_units_that_a_name_implies():
    """Endings and the names of well-known loggers say a unit; a word that only ends alike does not."""
    names = ("time_us", "t_ms", "stamp.nsec", "TimeUS", "%time", "timestamp", "status", "items")
    assert [implied_unit(name) for name in names] == ["us", "ms", "nsec", "us", "ns", "", "", ""]
    assert stated_time("time_us") == TimeColumn("time_us", 1e-6)


def test_a_missing_time_column_teaches(tmp_path):
    """The error of a recording without the time column names the likely one, for a command and for a configuration."""
    with pytest.raises(TraceError, match="no time column 't': columns are timestamp, y") as caught:
        Trace.read(csv(tmp_path))
    assert 'there is \'timestamp\': --time "timestamp", or time = "timestamp" in a configuration' in str(caught.value)


@pytest.mark.parametrize(
    ("scale", "unit", "word"), [(10, "ms", "milliseconds"), (1e4, "us", "microseconds"), (1e7, "ns", "nanoseconds")]
)
def test_times_in_another_unit_are_named(tmp_path, scale, unit, word):
    """A rate of 1e-3, 1e-6 or 1e-9 times the wanted one gives the unit, and following the advice works."""
    path = csv(tmp_path, scale=int(scale))
    trace = Trace.read(path, time="timestamp")
    data = Data(rate_hz=100, inputs=(), outputs=("y",), time="timestamp", resample=True)
    for act in (lambda: trace.segments(100), lambda: align_trace(trace, data), lambda: read_recordings([path], data)):
        with pytest.raises(TraceError) as caught:
            act()
        assert f'the times look like {word}; set time = "timestamp [{unit}]"' in str(caught.value)
        assert "rate_hz = " not in str(caught.value)
    assert len(Trace.read(path, time=f"timestamp [{unit}]").segments(100)) == 300


def test_a_wrong_unit_in_the_header_is_named(tmp_path):
    """A header that says ms for microseconds: the advice names the right unit, and it may be followed."""
    path = csv(tmp_path, "timestamp [ms]")
    with pytest.raises(TraceError, match=r'look like microseconds; set time = "timestamp \[us\]"'):
        Trace.read(path, time="timestamp").segments(100)
    assert len(Trace.read(path, time="timestamp [us]").segments(100)) == 300


@pytest.mark.parametrize("rate", [100.0, 45.0, 10.0, 0.4, 900.0])
def test_another_rate_is_not_another_unit(rate):
    """A rate that no unit explains is told as a rate; a far one is no rate to train at."""
    t = np.arange(300) / rate
    if rate == 100.0:
        return check_rate("a", t, 100.0)
    for check in (check_rate, check_typical_rate):
        with pytest.raises(TraceError, match="Hz, the model at 100 Hz") as caught:
            check("a", t, 100.0)
        assert ("rate_hz = " in str(caught.value)) == (rate != 0.4)


def test_a_stream_with_times_in_another_unit_is_named():
    """What a replay checks at its beginning gives the same advice, with the name of its option."""
    with pytest.raises(TraceError, match=r'--time "stamp \[us\]"'):
        check_typical_rate("a", np.arange(300) * 1e4, 100.0, stated_time("stamp"))


@pytest.mark.parametrize(
    ("names", "likely"),
    [
        (["u", "t", "time"], "t"),
        (["u", "Time"], "Time"),
        (["x", "__time"], "__time"),
        (["seq", "header.stamp", "x"], "header.stamp"),
        (["imu_time_boot", "x"], "imu_time_boot"),
        (["setpoint", "status", "items"], None),
        (["Drehzahl", "Zeit"], "Zeit"),
    ],
)
def test_the_likely_time_is_found_by_its_name(names, likely):
    """Common names, best first, then names with the word; other names are no time."""
    found = likely_time([Column(name, "", True) for name in names])
    assert (None if found is None else names[found]) == likely


def test_stamps_are_a_likely_time():
    """A column of time stamps is a time whatever its name; a column of text is none, even one named time."""
    columns = [Column("time", "", False), Column("a", "", True), Column("when", "s", False)]
    assert likely_time(columns) == 2
    assert likely_time([Column("x", "ms", True), Column("delay", "s", True)]) == 0
    assert likely_time([Column("y", "m", True), Column("delay", "s", True)]) is None


@pytest.mark.parametrize(
    ("t", "unit"),
    [
        (np.arange(100) / 100, "s"),
        (np.arange(100) * 1.0, "s"),
        (np.arange(100) * 10, "ms"),
        (np.arange(100) * 10_000, "us"),
        (np.arange(100) * 1e7, "ns"),
        (1.7e9 + np.arange(100) / 10, "s"),
        (1.7e12 + np.arange(100) * 100, "ms"),
        (1.7e15 + np.arange(100) * 1e5, "us"),
        (1.7e18 + np.arange(100) * 1e8, "ns"),
        (1.2e9 + np.arange(100) * 1e4, "us"),  # twenty minutes after the start, not the year 2008
        (np.array([np.nan]), "s"),
    ],
)
def test_units_are_guessed_from_sizes(t, unit):
    """Unix times are known by their size, other times by the rate that a unit gives."""
    assert guessed_unit(np.asarray(t, float)) == unit
