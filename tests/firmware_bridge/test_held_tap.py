"""A recording begins when its source has shown what it is, and holds what came before that, too."""

from __future__ import annotations

from pathlib import Path

import pytest

from firmware_bridge import held_tap
from firmware_bridge.held_tap import HeldTap
from firmware_bridge.recorder import Recorder
from rtsysid.live.recorded import read_topic
from rtsysid.recordings.bag import Bag
from rtsysid.spec import Channel


def bytes_in(path: Path) -> list[bytes]:
    """The bytes of the wire that a recording holds."""
    return [values["data"] for _, values in read_topic(Bag(path), "/wire", {"data": bytes})]  # type: ignore[misc]


def test_what_came_before_the_recording_is_in_it(tmp_path: Path) -> None:
    """Bytes before and after the recording begins are in it, in their order; without a beginning there is no file."""
    path = tmp_path / "f.mcap"
    with HeldTap() as tap:
        tap.wire("open", 1, b"{}")
        tap.wire("rx", 2, b"a")
        assert not path.exists()
        tap.begin(Recorder.open(path, channels=(Channel("x"),)))
        tap.wire("rx", 3, b"b")
    assert bytes_in(path) == [b"{}", b"a", b"b"]


def test_what_does_not_fit_counts_as_not_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of more messages than may wait, the first are recorded and the others counted."""
    monkeypatch.setattr(held_tap, "_LIMIT", 2)
    with HeldTap() as tap:
        for number in range(5):
            tap.wire("rx", number, b"%d" % number)
        recorder = tap.begin(Recorder.open(tmp_path / "f.mcap", channels=(Channel("x"),)))
    assert recorder is not None
    assert recorder.dropped == 3
    assert bytes_in(tmp_path / "f.mcap") == [b"0", b"1"]
