"""Test HDF5 and MAT files: which arrays make a topic, and which are its times."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.small_logs import GYRO, ROWS, T, hdf5, mat5, mat73

from rtsysid.errors import TraceError
from rtsysid.recordings import formats
from rtsysid.recordings.formats.hdf5 import Reader as Hdf5Reader
from rtsysid.recordings.formats.mat import Reader as MatReader
from rtsysid.recordings.topic_logs import open_topics
from rtsysid.recordings.trace import Trace


def write_hdf5(path: Path, arrays: dict[str, Any]) -> Hdf5Reader:
    import h5py

    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array
    return Hdf5Reader(path)


def described(log: Hdf5Reader | MatReader) -> dict[str, list[str]]:
    return {topic.name: [field.name for field in topic.fields] for topic in log.topics}


WRITERS = {
    "a.h5": hdf5,
    "b.hdf5": lambda path: hdf5(path, "gzip"),
    "c.mat": mat5,
    "d.mat": lambda p: mat5(p, False),
    "e.mat": mat73,
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_container_gives_the_same_topic(tmp_path, name) -> None:
    """HDF5 and MAT 5 and 7.3, compressed or not, give equal arrays of a group with its times; texts are left out."""
    WRITERS[name](tmp_path / name)
    log = open_topics(tmp_path / name)
    (topic,) = log.topics
    assert (topic.name, [field.name for field in topic.fields]) == ("/imu", ["gyro[0]", "gyro[1]", "gyro[2]"])
    assert (topic.messages, topic.note) == (ROWS, "")
    found = log.read("/imu", ["gyro[2]", "gyro[0]"])
    np.testing.assert_array_equal(found.values, GYRO[:, [2, 0]])
    np.testing.assert_allclose(found.t, T)


def test_which_arrays_are_times(tmp_path) -> None:
    """Times come from the group, else from around it, else the only ones of that length; others are stamps."""
    log = write_hdf5(
        tmp_path / "a.h5",
        {
            "imu/gyro": GYRO, "imu/stamp_us": 1000 * np.arange(ROWS), "imu/t": T, "imu/mag": np.zeros((3, 20)),
            "time": np.arange(20) / 10, "gps/lat": np.arange(9.0), "clock/tout": np.arange(9) + 100.0,
        },
    )  # fmt: skip
    assert described(log) == {
        "/gps": ["lat"], "/imu/mag": ["mag[0]", "mag[1]", "mag[2]"], "/imu/t": ["gyro[0]", "gyro[1]", "gyro[2]"],
    }  # fmt: skip
    np.testing.assert_allclose(log.read("/gps", ["lat"]).t, np.arange(9) + 100)
    np.testing.assert_allclose(log.read("/imu/mag", ["mag[1]"]).t, np.arange(20) / 10)
    assert log.topics[2].stamps == ("stamp_us",)
    found = log.read("/imu/t", [], "stamp_us")
    np.testing.assert_allclose(found.t, np.arange(ROWS) / 1000)
    np.testing.assert_allclose(found.arrival, T)


@pytest.mark.parametrize(
    ("name", "times", "seconds"),
    [
        ("t", [0.0, 1.5], [0, 1.5]),
        ("time_ms", [0, 1500], [0, 1.5]),
        ("Time_us", [0, 1_500_000], [0, 1.5]),
        ("timestamp", [1_700_000_000_000_000_000, 1_700_000_001_500_000_000], [1.7e9, 1.7e9 + 1.5]),
        ("timestamp", [1_700_000_000_000, 1_700_000_001_500], [1.7e9, 1.7e9 + 1.5]),
    ],
)
def test_units_of_times(tmp_path, name, times, seconds) -> None:
    """The unit of times is in their name, or is seen in the size of a count since 1970."""
    log = write_hdf5(tmp_path / "a.h5", {f"g/{name}": times, "g/x": [1.0, 2.0]})
    np.testing.assert_allclose(log.read("/g", ["x"]).t, seconds, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "rate_hz", "step", "note"),
    [
        ({"Fs": 400.0}, None, 0.0025, "rows at 400 Hz, as /Fs says"),
        ({"dt": 0.02}, None, 0.02, "rows at 50 Hz, as /dt says"),
        ({}, 100.0, 0.01, "rows without times: give their rate"),
        ({}, None, 1.0, "rows without times: give their rate"),
        ({"Fs": -3.0}, 10.0, 0.1, "rows without times: give their rate"),
    ],
)
def test_rows_without_times(tmp_path, settings, rate_hz, step, note) -> None:
    """Without times the rate that the file states counts, else the one that is given, else rows are numbered."""
    write_hdf5(tmp_path / "a.h5", {"x": np.arange(10.0), **settings})
    log = open_topics(tmp_path / "a.h5", rate_hz=rate_hz)
    assert log.topics[0].note == note
    np.testing.assert_allclose(log.read("", ["x"]).t, step * np.arange(10))


def test_arrays_outside_all_groups_are_columns_by_their_name(tmp_path) -> None:
    """A MAT file of t, u and y is read like a table of these columns."""
    from scipy.io import savemat

    savemat(tmp_path / "a.mat", {"t": T, "u": GYRO[:, 0], "y": GYRO[:, 1:]})
    trace = Trace.read(tmp_path / "a.mat")
    assert [channel.name for channel in trace.channels] == ["u", "y[0]", "y[1]"]
    np.testing.assert_allclose(trace.episodes[0].t, T)


def test_structures_and_cells_are_paths(tmp_path) -> None:
    """Items of arrays of structures and of cells have their number in the path."""
    from scipy.io import savemat

    runs = np.array([{"y": np.arange(10.0) + k, "t": np.arange(10) / 100} for k in range(2)])
    cells = np.empty(2, object)
    cells[:] = [np.arange(12.0), "text"]
    savemat(tmp_path / "a.mat", {"run": runs, "c": cells, "deep": {"a": {"b": np.ones((9, 2))}}, "z": 1j * T})
    log = MatReader(tmp_path / "a.mat")
    assert described(log) == {
        "": ["c[0]"], "/deep/a": ["b[0]", "b[1]"], "/run[0]": ["y"], "/run[1]": ["y"],
    }  # fmt: skip
    np.testing.assert_array_equal(log.read("/run[1]", ["y"]).values[:, 0], np.arange(10) + 1)
    np.testing.assert_array_equal(log.read("", ["c[0]"]).values[:, 0], np.arange(12))


def test_nothing_outside_the_file_is_read(tmp_path) -> None:
    """Links to other paths and files are not followed; virtual arrays and arrays in other files are left out."""
    import h5py

    write_hdf5(tmp_path / "other.h5", {"secret": np.arange(10.0)})
    (tmp_path / "raw").write_bytes(bytes(80))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = np.arange(10.0)
        file["soft"] = h5py.SoftLink("/x")
        file["link"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "/secret")
        file.create_dataset("outside", (10,), "f8", external=[(str(tmp_path / "raw"), 0, 80)])
        layout = h5py.VirtualLayout((10,), "f8")
        layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "secret", (10,))
        file.create_virtual_dataset("virtual", layout)
        file["again"] = file["/"]  # a group that holds itself
    assert described(Hdf5Reader(tmp_path / "a.h5")) == {"": ["x"]}


def test_a_mat_file_that_is_cut_off_is_read_up_to_there(tmp_path) -> None:
    """Variables before the damage are read, and the log says that others are missing."""
    from scipy.io import savemat

    savemat(tmp_path / "a.mat", {"a": np.arange(50.0), "b": np.arange(50.0)})
    raw = (tmp_path / "a.mat").read_bytes()
    (tmp_path / "a.mat").write_bytes(raw[:-40])
    log = MatReader(tmp_path / "a.mat")
    np.testing.assert_array_equal(log.read("", ["a"]).values[:, 0], np.arange(50))
    assert described(log) == {"": ["a"]}
    assert log.missing.startswith("damaged or cut off after 1 array (")


@pytest.mark.parametrize(("name", "package"), [("a.h5", "h5py"), ("e.mat", "h5py")])
def test_without_its_package_the_error_says_what_to_install(tmp_path, monkeypatch, name, package) -> None:
    """Without its package a file is refused with the command that installs it."""
    WRITERS[name](tmp_path / name)
    for each in [each for each in sys.modules if each.partition(".")[0] == package]:
        monkeypatch.setitem(sys.modules, each, None)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(TraceError, match=rf"needs {package}.*pip install 'rtsysid\[logs\]'"):
        formats.open_log(tmp_path / name)


@pytest.mark.parametrize(("name", "content"), [("a.h5", b"no HDF5"), ("a.mat", b"no MAT file"), ("a.mat", bytes(200))])
def test_another_file_is_one_line(tmp_path, name, content) -> None:
    """A file of another format is refused in one line."""
    (tmp_path / name).write_bytes(content)
    with pytest.raises(TraceError, match="truncated or damaged") as caught:
        formats.open_log(tmp_path / name)
    assert "\n" not in str(caught.value)
