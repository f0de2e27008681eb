"""The recorder where others delete, rename or cut off its file, and where a message cannot be written."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from support.live_parts import until
from support.live_session import CHANNELS, OUTPUTS, arrival, fill

from firmware_bridge.recorder import Recorder
from rtsysid.recordings.trace import Trace


def removed(path: Path) -> None:
    path.unlink()


def replaced(path: Path) -> None:
    path.with_name("other").write_text("not a recording")
    path.with_name("other").replace(path)


def cut_off(path: Path) -> None:
    os.truncate(path, 0)


@pytest.mark.parametrize(("meddle", "said"), [(removed, "deleted"), (replaced, "deleted"), (cut_off, "cut off to 0")])
@pytest.mark.parametrize("at_the_end", [False, True])
def test_a_recording_that_others_spoil_is_a_fault(
    tmp_path: Path, meddle: Callable[[Path], None], said: str, at_the_end: bool
) -> None:
    """A file that is removed, replaced or cut off while it is open is noticed at the next flush or at the end; nothing
    of it counts as recorded, and nothing is written into what is there instead."""
    now = [0]
    path = tmp_path / "f.mcap"
    recorder = Recorder.open(path, channels=CHANNELS, outputs=OUTPUTS, clock=lambda: now[0])
    fill(recorder, [arrival(k) for k in range(5)])
    meddle(path)
    before = path.stat().st_size if path.exists() else None
    if not at_the_end:
        now[0] += 2 * 10**9
        until(lambda: recorder.fault is not None, "the fault")
    fill(recorder, [arrival(k) for k in range(5, 10)])
    recorder.close()
    assert said in str(recorder.fault)
    assert recorder.dropped == 10 * 3 + 2  # bytes, samples, answers; two reports of health
    assert before == (path.stat().st_size if path.exists() else None)


def test_a_recording_that_is_renamed_goes_on_there(tmp_path: Path) -> None:
    """A renamed file gets the rest of the recording; its new name is the fault that is reported."""
    now = [0]
    with Recorder.open(tmp_path / "f.mcap", channels=CHANNELS, outputs=OUTPUTS, clock=lambda: now[0]) as recorder:
        fill(recorder, [arrival(k) for k in range(5)])
        (tmp_path / "f.mcap").rename(tmp_path / "moved.mcap")
        now[0] += 2 * 10**9
        until(lambda: recorder.fault is not None, "the fault")
        fill(recorder, [arrival(k) for k in range(5, 10)])
    assert (recorder.error, recorder.dropped) == (None, 0)
    assert str(tmp_path / "moved.mcap") in str(recorder.fault)
    assert len(Trace.read(tmp_path / "moved.mcap")) == 10


def test_a_message_that_cannot_be_written_costs_only_itself(tmp_path: Path) -> None:
    """A sample whose time does not fit the file, and a message that is none, are counted; the others are recorded."""
    with Recorder.open(tmp_path / "f.mcap", channels=CHANNELS, outputs=OUTPUTS) as recorder:
        recorder.sample(arrival(0))
        recorder.sample(arrival(1)._replace(device_t_us=-1))
        recorder.sample(arrival(2)._replace(device_t_us=1 << 60))
        recorder.sample(None)  # type: ignore[arg-type]
        recorder.sample(arrival(3))
    assert (recorder.fault, recorder.dropped) == (None, 3)
    assert len(Trace.read(tmp_path / "f.mcap")) == 2
