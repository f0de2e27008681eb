"""Test npz files that others wrote: plain arrays, objects, and damage in an array that nobody asks for."""

import zipfile

import numpy as np
import pytest

from rtsysid.errors import TraceError
from rtsysid.recordings import formats
from rtsysid.recordings.trace import Trace
from rtsysid.spec import Channel


def test_npz_of_plain_arrays(tmp_path):
    """An npz with one named array per column is a recording. Matrices of either memory order give indexed columns."""
    values = np.arange(12.0).reshape(6, 2)
    t = np.arange(6) * 1e-3
    np.savez_compressed(tmp_path / "log.npz", t=t, u=np.arange(6) > 2, q=np.asfortranarray(values), rate=np.array(3))
    log = formats.open_log(tmp_path / "log.npz")
    assert {each.name for each in log.columns} == {"t", "u", "q[0]", "q[1]"}
    selection = formats.select_columns(log, [Channel("q[1]"), Channel("u")], "t", None)
    np.testing.assert_array_equal(formats.gather(selection).values, np.column_stack((values[:, 1], np.arange(6) > 2)))


def test_npz_never_unpickles(tmp_path):
    """An array of Python objects is listed as not numeric, and its pickle is not loaded."""
    np.savez(tmp_path / "log.npz", t=np.arange(2.0), a=np.array([{}, []], dtype=object))
    with pytest.raises(TraceError, match="no numbers"):
        list(formats.open_log(tmp_path / "log.npz").blocks((0,), (1,)))


def test_only_the_arrays_asked_for_are_opened(tmp_path):
    """A damaged array that is not requested does not prevent reading the others."""
    np.savez(tmp_path / "log.npz", t=np.arange(9e3), a=np.arange(9e3), b=-np.arange(9e3))
    with zipfile.ZipFile(tmp_path / "log.npz") as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    raw = (tmp_path / "log.npz").read_bytes()
    at = raw.index(content["b.npy"]) + len(content["b.npy"]) - 4
    (tmp_path / "log.npz").write_bytes(raw[:at] + b"\1" + raw[at + 1 :])
    log = formats.open_log(tmp_path / "log.npz")
    assert np.concatenate([each.values for each in log.blocks((0,), (1,))]).shape == (9000, 1)
    with pytest.raises(TraceError, match="damaged"):
        list(log.blocks((0,), (2,)))


@pytest.mark.parametrize("order", [("t", "y", "table"), ("table", "t", "y")])
def test_the_length_of_the_time_decides(tmp_path, order):
    """A longer array does not hide the recording, and an array of another length is read by its name."""
    arrays = {"t": np.arange(6) / 10, "y": np.arange(6.0), "table": np.zeros(50), "short": np.arange(5.0)}
    np.savez(tmp_path / "log.npz", **{name: arrays[name] for name in (*order, "short")})
    trace = Trace.read(tmp_path / "log.npz")
    assert [each.name for each in trace.channels] == ["y"]
    assert len(trace) == 6
    with pytest.raises(TraceError, match="short has 5 rows, t has 6"):
        Trace.read(tmp_path / "log.npz", [Channel("short")])
    with pytest.raises(TraceError, match="no column of numbers except the time"):
        Trace.read(tmp_path / "log.npz", time="short")
    assert len(Trace.read(tmp_path / "log.npz", [Channel("table")], time=None, rate_hz=10)) == 50


def test_without_a_time_most_arrays_decide(tmp_path):
    """Where rows are evenly spaced, the recording is what most arrays share; two lengths asked for are refused."""
    np.savez(tmp_path / "log.npz", u=np.arange(4.0), y=np.arange(4.0), table=np.zeros(50))
    assert [each.name for each in Trace.read(tmp_path / "log.npz", time=None, rate_hz=10).channels] == ["u", "y"]
    with pytest.raises(TraceError, match="u has 4 rows, another one has 50"):
        Trace.read(tmp_path / "log.npz", [Channel("table"), Channel("u")], time=None, rate_hz=10)
