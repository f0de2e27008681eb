"""Files of predictions: what is written comes back, a full disk loses nothing, and a hostile file is one line."""

from __future__ import annotations

import gzip
import io
import os
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.predictions import OUTPUTS, SUFFIXES, prediction

from rtsysid import storage
from rtsysid.errors import StorageError, TraceError
from rtsysid.live.predictions import read_predictions, write_predictions
from rtsysid.live.replay import compare
from rtsysid.live.session import STATUSES, Prediction, Status

doubles = st.floats(allow_nan=False)
singles = st.floats(width=32)
rows = st.lists(st.tuples(doubles, singles, singles, st.sampled_from(STATUSES)), max_size=12)


@settings(max_examples=60)
@given(rows, st.sampled_from(SUFFIXES))
def test_predictions_come_back_exactly(
    tmp_path_factory: pytest.TempPathFactory, written: list[tuple[float, float, float, Status]], suffix: str
) -> None:
    """Times, every float32 (NaN, infinity, denormals and -0 too) and statuses survive each format bit for bit."""
    path = tmp_path_factory.mktemp("written") / f"p{suffix}"
    made = [prediction(t, a, b, status=status) for t, a, b, status in written]
    assert write_predictions(path, OUTPUTS, made) == len(made)
    back = read_predictions(path)
    assert back.columns == ("x [m]", "roll, pitch [rad]")
    assert back.y.shape == (len(made), 2)
    assert back.y.dtype == np.float32
    assert [t.hex() for t in back.t.tolist()] == [p.t.hex() for p in made]
    assert back.status == [p.status for p in made]
    for ours, theirs in zip(made, back.y, strict=True):
        np.testing.assert_array_equal(ours.y, theirs)
        np.testing.assert_array_equal(np.signbit(ours.y)[ours.y == 0], np.signbit(theirs)[theirs == 0])
    assert compare(made, back).equal


def test_csv_is_what_the_manual_says(tmp_path: Path) -> None:
    """The columns are t, the outputs with units, and status; a float32 has 9 digits."""
    write_predictions(tmp_path / "p.csv", OUTPUTS, [prediction(np.float64(0.1), 0.1, 1e-7, status="held")])
    lines = (tmp_path / "p.csv").read_text().splitlines()
    assert lines == ['t,x [m],"roll, pitch [rad]",status', "0.1,0.100000001,1.00000001e-07,held"]


def test_one_replay_is_one_file_byte_for_byte(tmp_path: Path) -> None:
    """Packed files hold neither their name nor the time of writing."""
    for name in ("a.csv.gz", "b.csv.gz"):
        write_predictions(tmp_path / name, OUTPUTS, [prediction(0.0, 1, 2)])
    assert (tmp_path / "a.csv.gz").read_bytes() == (tmp_path / "b.csv.gz").read_bytes()
    assert (tmp_path / "a.csv.gz").read_bytes()[4:8] == bytes(4)


def test_writing_csv_takes_flat_memory(tmp_path: Path) -> None:
    """Ten times the predictions take no more memory at the peak."""
    assert peak(tmp_path / "long.csv", 20_000) < peak(tmp_path / "short.csv", 2_000) + 20_000


def peak(path: Path, count: int) -> int:
    tracemalloc.start()
    try:
        write_predictions(path, OUTPUTS, (prediction(0.1 * k, k, k) for k in range(count)))
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
@pytest.mark.parametrize("suffix", [".csv", ".csv.gz"])
def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    """When no space is left, the error is one line and the earlier file is unchanged."""
    path = tmp_path / f"p{suffix}"
    path.write_bytes(b"what was here")

    class OnFullDisk(storage.Claim):
        def __init__(self, path: Path) -> None:
            super().__init__(path)
            self.new.symlink_to("/dev/full")

    monkeypatch.setattr(storage, "Claim", OnFullDisk)
    with pytest.raises(StorageError, match="No space left on device") as caught:
        write_predictions(path, OUTPUTS, (prediction(0.1 * k, k, k) for k in range(20_000)), overwrite=True)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == b"what was here"
    assert list(tmp_path.iterdir()) == [path]


def test_a_source_that_fails_is_not_called_a_full_disk(tmp_path: Path) -> None:
    """An OSError of the samples names the source, and no file is left behind."""

    def failing() -> Iterator[Prediction]:
        yield prediction(0.0, 1, 2)
        raise OSError(5, "Input/output error")

    with pytest.raises(TraceError, match=r"source of the samples: Input/output error"):
        write_predictions(tmp_path / "p.csv", OUTPUTS, failing())
    assert list(tmp_path.iterdir()) == []


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-12])


def change_status(path: Path) -> None:
    path.write_text(path.read_text().replace("late", "luck"))


def empty(path: Path) -> None:
    path.write_bytes(b"")


def foreign(path: Path) -> None:
    path.write_text("time,x\n0,1\n")


def not_npz(path: Path) -> None:
    np.savez(path, t=np.zeros(3))


def not_gzip(path: Path) -> None:
    path.write_bytes(gzip.compress(b"t,x,status\n0,\xff,ok\n"))


def bombed(compressed: bool = False, columns: str = "U1", rows: int = 2) -> bytes:
    """An archive like that of predictions: with 8 MB of zeros, with other columns, or with more rows than times."""
    out, zeros = io.BytesIO(), 1_000_000 if compressed else rows
    arrays = {"t": np.zeros(2), "y": np.zeros((zeros, 1)), "columns": np.zeros(1, columns)}
    codes = {"status": np.zeros(2, np.uint8), "statuses": np.array(STATUSES)}
    (np.savez_compressed if compressed else np.savez)(out, **arrays, **codes)
    return out.getvalue()


@pytest.mark.parametrize(
    ("suffix", "damage", "message"),
    [
        (".csv", cut, "line 3 is not whole"),
        (".csv", change_status, "line 3 is not whole"),
        (".csv", empty, "header is '' instead of t, outputs, status"),
        (".csv", foreign, "header is 'time,x'"),
        (".csv", Path.unlink, "No such file"),
        (".csv.gz", cut, "ended before"),
        (".csv.gz", empty, "header is ''"),
        (".csv.gz", foreign, "Not a gzipped file"),
        (".csv.gz", not_gzip, "can't decode"),
        (".npz", cut, "not a zip file"),
        (".npz", empty, "not a zip file"),
        (".npz", not_npz, "it has no array y"),
    ],
)
def test_a_damaged_file_is_one_line(tmp_path: Path, suffix: str, damage: Callable[[Path], None], message: str) -> None:
    """A truncated, empty or foreign file is named with what was found; none of it passes as predictions."""
    path = tmp_path / f"p{suffix}"
    write_predictions(path, OUTPUTS, [prediction(0.0, 1, 2), prediction(0.1, 1, 2, status="late")])
    damage(path)
    with pytest.raises(TraceError, match=message) as caught:
        read_predictions(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("p.csv", b"t,x,status\n" + b"0" * 2**21, "limit line_bytes"),
        ("p.csv.gz", gzip.compress(b"t,x,status\n") + gzip.compress(b"0,0,ok\n" * 2**15) * 4, "text_growth="),
        ("p.npz", bombed(compressed=True), "RTSYSID_LIMITS=growth="),
        ("p.npz", bombed(columns="i8"), "of other types"),
        ("p.npz", bombed(rows=3), "unequal length"),
    ],
    ids=range(5),
)
def test_hostile_predictions_are_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, content: bytes, says: str
) -> None:
    """A line without end, text and arrays that expand, and arrays of other types and sizes."""
    monkeypatch.setenv("RTSYSID_LIMITS", "free_bytes=100000 line_bytes=1000000")
    (tmp_path / name).write_bytes(content)
    with pytest.raises(TraceError, match=says):
        read_predictions(tmp_path / name)


def test_another_suffix_is_refused_before_anything_is_asked(tmp_path: Path) -> None:
    """The format is known before the first prediction is computed."""
    with pytest.raises(StorageError, match=r"name a .csv or .csv.gz or .npz file"):
        write_predictions(tmp_path / "p.txt", OUTPUTS, (pytest.fail("asked") for _ in range(1)))
