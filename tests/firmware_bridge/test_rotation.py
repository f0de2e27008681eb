"""A long recording is cut into files by size and time, and read as one; no sample is lost at a cut."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
from support.live_parts import until
from support.live_session import CHANNELS, OUTPUTS, answer, arrival

from firmware_bridge import rotation
from firmware_bridge.recorder import Recorder
from firmware_bridge.rotation import Rotation, first_part, next_part
from rtsysid.errors import StorageError, TraceError
from rtsysid.recordings.bag import Bag
from rtsysid.recordings.series import BagSeries


class Clock:
    """A clock in ns that the test moves."""

    ns = 10**12

    def __call__(self) -> int:
        return self.ns


def record(folder: Path, count: int, rotate: Rotation, clock: Clock, step_ns: int) -> list[Path]:
    """Record `count` samples one by one, a step of the clock apart; return the files."""
    path = first_part(folder, 0.0)
    with Recorder.open(
        path, channels=CHANNELS, outputs=OUTPUTS, metadata={"about": {"id": "x"}}, clock=clock, rotation=rotate
    ) as recorder:
        for k in range(count):
            recorder.sample(arrival(k))
            recorder.prediction(answer(arrival(k)))
            clock.ns += step_ns
            until(lambda: not recorder._queue, "the disk")
            time.sleep(0)  # the thread of the recorder has its turn
    assert recorder.fault is None
    assert recorder.dropped == 0
    assert recorder.parts == len(list(folder.iterdir()))
    return sorted(folder.iterdir())


@pytest.mark.parametrize("rotate", [Rotation(1e12, 20.0), Rotation(3000, 1e9)])
def test_a_recording_is_cut_and_read_as_one(rotate: Rotation, tmp_path: Path) -> None:
    """By time and by size: each file opens on its own, and together they hold every sample and answer once."""
    files = record(tmp_path, 60, rotate, Clock(), 10**9)
    assert len(files) > 1
    assert [path.name for path in files] == [f"1970-01-01T00-00-00Z-{k:03}.mcap" for k in range(1, len(files) + 1)]
    series = BagSeries(files[0])
    assert series.files == files
    for topic in ("/samples", "/predictions"):
        assert [values["seq"] for _, values in series.read(topic)] == list(range(60))
        assert sum(len(list(Bag(path).read(topic))) for path in files) == 60
    assert series.metadata()["about"] == {"id": "x"}
    with pytest.raises(TraceError, match="part 2 of a recording"):
        BagSeries(files[1])


def test_names_are_those_of_the_time_and_are_never_taken_twice(tmp_path: Path) -> None:
    """Two sessions of the same second get names of their own, and a name that is no part has no next one."""
    first = first_part(tmp_path, 1e9)
    assert first.name == "2001-09-09T01-46-40Z-001.mcap"
    next_part(first).touch()
    assert first_part(tmp_path, 1e9).name == "2001-09-09T01-46-41Z-001.mcap"
    assert next_part(tmp_path / "2001-09-09T01-46-40Z-999.mcap").name == "2001-09-09T01-46-40Z-1000.mcap"
    with pytest.raises(ValueError, match="no part"):
        next_part(tmp_path / "flight.mcap")


def test_a_file_in_the_way_ends_the_recording_and_not_the_session(tmp_path: Path, caplog: Any) -> None:
    """Where the next file cannot be made, one line says so, what was written stays, and the rest is counted."""
    clock, path = Clock(), first_part(tmp_path, 0.0)
    recorder = Recorder.open(path, channels=CHANNELS, clock=clock, rotation=Rotation(1e12, 5.0))
    next_part(path).write_text("mine")
    recorder.sample(arrival(0))
    until(lambda: not recorder._queue, "the disk")
    clock.ns += 6 * 10**9
    until(lambda: recorder.error is not None, "the cut")
    recorder.sample(arrival(1))
    recorder.close()
    assert isinstance(recorder.fault, StorageError)
    assert len(caplog.messages) == 1
    assert recorder.dropped == 1
    assert len(list(Bag(path).read("/samples"))) == 1
    assert next_part(path).read_text() == "mine"


def test_one_file_has_no_parts(tmp_path: Path) -> None:
    """Without rotation a recording is one file whatever its size, and its name says nothing of parts."""
    with Recorder.open(tmp_path / "flight.mcap", channels=CHANNELS) as recorder:
        for k in range(50):
            recorder.sample(arrival(k))
    assert os.listdir(tmp_path) == ["flight.mcap"]
    assert BagSeries(tmp_path / "flight.mcap").files == [tmp_path / "flight.mcap"]
    assert rotation.stamp_and_number("flight.mcap") is None
