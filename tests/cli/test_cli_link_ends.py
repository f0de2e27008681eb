"""How a live session ends: what it says about losses at its ends, about old answers, and about its recording."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.live_parts import PATIENCE_S, until
from support.robots import plant
from support.shell import command, ended, process

from firmware_bridge.device import SimulatedDevice
from firmware_bridge.schema import Schema
from rtsysid.model.bundle import Bundle
from rtsysid.recordings.trace import Trace


@pytest.fixture
def board(bundle_folder: Path) -> Iterator[SimulatedDevice]:
    """A board for the tiny bundle, whose recording ends after four seconds."""
    spec = Bundle.open(bundle_folder).spec
    with SimulatedDevice(Schema.of(spec.channels, spec.rate_hz), plant(1, 100, seed=5).episodes[0].values) as device:
        yield device


def test_an_answer_older_than_the_deadline_is_exit_code_4(bundle_folder: Path, board: SimulatedDevice) -> None:
    """With --deadline the summary is printed, and one line names how many answers were older; without, and with a
    deadline that was met, the exit code is 0."""
    missed = command("run", bundle_folder, board.port, "--deadline", 1e-3, "--json", check=4)
    answers = sum(json.loads(missed.stdout)["statuses"].values())
    # The age holds the error of the clocks' offset: on a busy machine a few answers seem to be younger than they are.
    older, of = map(int, re.findall(r"deadline of answers: (\d+) of (\d+) took longer than 0.001 ms", missed.stderr)[0])
    assert 0 < older <= of == answers
    board.reset()
    command("run", bundle_folder, board.port, "--deadline", 60_000)


def test_the_summary_says_what_was_lost_at_the_ends(bundle_folder: Path, board: SimulatedDevice) -> None:
    """The text names the samples lost before the first and after the last that came, and JSON too; of a board that dies
    nobody knows, and the summary says so."""
    whole = command("run", bundle_folder, board.port).stdout.splitlines()
    assert [line.split()[-1] for line in whole if line.startswith("lost at")] == ["0", "0"]
    board.reset()
    with process("run", bundle_folder, board.port) as running:
        until(lambda: len(board.status().split()) > 2, "a prediction")
        board.kill()
        running.terminate()
        out, _ = running.communicate(timeout=PATIENCE_S)
    assert running.returncode == 0
    assert "lost at end    0, unknown for 1 of 1 streams" in out


def test_a_board_that_becomes_another_does_not_cost_the_summary(bundle_folder: Path, tmp_path: Path) -> None:
    """Where a board comes back with other channels the error is one line and exit code 3, after the summary."""
    spec, rows = Bundle.open(bundle_folder).spec, plant(1, 100, seed=5).episodes[0].values
    right, wrong = Schema.of(spec.channels, spec.rate_hz), Schema.of(spec.channels[1:], spec.rate_hz)
    with (
        SimulatedDevice(right, rows, repeat=True, port=tmp_path / "port") as board,
        process("run", bundle_folder, board.port, "--record", tmp_path / "f.mcap", "--json") as running,
    ):
        until(lambda: len(board.status().split()) > 2, "a prediction")
        board.unplug()
        with SimulatedDevice(wrong, rows[:, 1:], repeat=True, port=tmp_path / "port", boot_id=9):
            report, said = ended(running, code=3)
    assert "differs from the model in u" in said
    assert report["samples"] == report["link"]["samples"] > 0
    assert len(Trace.read(tmp_path / "f.mcap")) == report["samples"]


def test_a_closed_pipe_does_not_cost_the_recording(bundle_folder: Path, board: SimulatedDevice, tmp_path: Path) -> None:
    """With stdout and stderr closed by their reader the session goes on, and the recording is whole."""
    with process("run", bundle_folder, board.port, "--record", tmp_path / "f.mcap") as running:
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.close()
        running.stderr.close()
        until(lambda: len(board.status().split()) > 2, "a prediction")
        running.send_signal(signal.SIGHUP)
        assert running.wait(PATIENCE_S) == 0
        running.stdout = running.stderr = None
    assert len(Trace.read(tmp_path / "f.mcap")) > 0


def test_a_recording_that_is_deleted_fails(bundle_folder: Path, board: SimulatedDevice, tmp_path: Path) -> None:
    """A recording that was deleted while it was written is said in one line; the exit code is that of a full disk."""
    with process("run", bundle_folder, board.port, "--record", tmp_path / "f.mcap", "--json") as running:
        until(lambda: len(board.status().split()) > 2, "a prediction")
        (tmp_path / "f.mcap").unlink()
        report, said = ended(running, code=5)
    assert [line for line in said.splitlines() if line.startswith("rtsysid:")] == [
        f"rtsysid: recording {tmp_path}/f.mcap: deleted by another program while it was written; what it held is gone; "
        "record to a place of its own"
    ]
    assert report["not_recorded"] > report["samples"] > 0
