"""The live verbs as processes: two terminals, signals, a service manager, a full disk, a kill."""

from __future__ import annotations

import json
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.live_parts import PATIENCE_S, until
from support.robots import plant
from support.shell import ended, process, refused, rtsysid, small_disk

from firmware_bridge.device import SimulatedDevice
from firmware_bridge.schema import Schema
from rtsysid.cli.console import StderrLines
from rtsysid.model.bundle import Bundle
from rtsysid.recordings.trace import Trace


@pytest.fixture
def board(bundle_folder: Path) -> Iterator[SimulatedDevice]:
    """A board for the tiny bundle that plays for ever."""
    spec = Bundle.open(bundle_folder).spec
    with SimulatedDevice(
        Schema.of(spec.channels, spec.rate_hz), plant(1, 500, seed=5).episodes[0].values, repeat=True
    ) as device:
        yield device


def test_two_terminals(bundle_folder: Path, recording: Path, tmp_path: Path) -> None:
    """sim-device prints a port; run answers the whole recording, the session that was recorded replays to
    equal predictions, and the next host is played to as well."""
    with process("sim-device", recording, "--like", bundle_folder, "--json") as device:
        assert device.stdout is not None
        about = json.loads(device.stdout.readline())
        assert (about["rate_hz"], about["rows"]) == (50, 200)
        done = rtsysid(
            "run", bundle_folder, about["port"], "--record", tmp_path / "f.mcap", "--budget-ms", 1000, "--json"
        )
        more = json.loads(rtsysid("run", bundle_folder, about["port"], "--seconds", 4, "--json").stdout)
        device.send_signal(signal.SIGINT)
        _, said = ended(device)
    report = json.loads(done.stdout)
    assert more["samples"] > 0
    assert report["samples"] == report["session"]["health"]["samples"] == report["link"]["samples"] == 200
    assert sum(report["statuses"].values()) + report["skipped"] + report["undated"] == 200
    link = report["link"]
    assert (link["gaps"], link["dropped"], link["corrupt"]) == (0, 0, 0)
    assert (link["state"], report["not_recorded"]) == ("closed", 0)
    assert "streaming" in done.stderr
    assert "the board has finished" in done.stderr
    assert said == "reading recordings 0 of 1\nplays to every host that connects, until ^C\n"
    again = json.loads(rtsysid("replay", bundle_folder, tmp_path / "f.mcap", "--json").stdout)
    assert again["equal"] is True
    assert again["compared"] == again["decoded"] == 200


def test_who_is_this_board(board: SimulatedDevice) -> None:
    """info on a port names firmware, protocol, rate and channels."""
    found = json.loads(rtsysid("info", board.port, "--json").stdout)
    assert found["firmware"] == "rtsysid simulated board"
    assert (found["rate_hz"], found["inputs"], found["outputs"]) == (50, "u [V]", "y [m], v [m/s]")
    assert "inputs" in rtsysid("info", board.port).stdout


def test_record_without_a_model(board: SimulatedDevice, tmp_path: Path) -> None:
    """record writes every sample with its channels, units and roles, until its time is over."""
    report = json.loads(rtsysid("record", board.port, "-o", tmp_path / "f.mcap", "--seconds", 4, "--json").stdout)
    trace = Trace.read(tmp_path / "f.mcap")
    assert len(trace) == report["samples"] > 0
    assert (report["gaps"], report["dropped"], report["corrupt"], report["not_recorded"]) == (0, 0, 0, 0)
    assert [str(channel) for channel in trace.channels] == ["u [V]", "y [m]", "v [m/s]"]
    assert "simulated" in rtsysid("info", tmp_path / "f.mcap").stdout


def test_a_rate_of_ones_own(recording: Path, tmp_path: Path) -> None:
    """sim-device without a model plays all columns as they stand, at the rate asked for, under the name asked for."""
    arguments = ("sim-device", recording, "--rate", 123.5, "--port", tmp_path / "robot", "--seconds", 20, "--json")
    with process(*arguments) as device:
        assert device.stdout is not None
        about = json.loads(device.stdout.readline())
        found = json.loads(rtsysid("info", tmp_path / "robot", "--json").stdout)
    assert (about["port"], about["channels"]) == (str(tmp_path / "robot"), 3)
    assert (found["rate_hz"], found["inputs"]) == (123.5, "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_a_session_in_good_order(
    bundle_folder: Path, board: SimulatedDevice, tmp_path: Path, number: signal.Signals
) -> None:
    """SIGTERM, ^C and a closed terminal stop the board, close the recording, print the summary, and are no failure,
    also when the signal comes twice."""
    with process("run", bundle_folder, board.port, "--record", tmp_path / "f.mcap", "--json") as running:
        until(lambda: board.status().split()[0] == "2" and len(board.status().split()) > 2, "a prediction")
        running.send_signal(number)
        running.send_signal(number)
        report, _ = ended(running)
    assert report["samples"] == report["link"]["samples"] > 0
    assert report["link"]["state"] == "closed"
    until(lambda: board.status().split()[0] == "0", "the board to be idle")
    assert len(Trace.read(tmp_path / "f.mcap")) == report["samples"]


def test_under_a_service_manager(bundle_folder: Path, board: SimulatedDevice, tmp_path: Path) -> None:
    """READY comes with the first fresh answer, then the watchdog is fed and the health line is the status; a stalled
    board does not feed it; STOPPING comes before the end."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(PATIENCE_S)
        heard: list[str] = []

        def wait_for(word: str) -> None:
            while word not in (said := manager.recv(4096).decode()):
                heard.append(said)
            heard.append(said)

        told = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "300000"}
        with process("run", bundle_folder, board.port, "--budget-ms", 1000, **told) as running:
            wait_for("READY=1")
            wait_for("WATCHDOG=1")
            wait_for("STATUS=streaming")
            board.pause()
            wait_for("STATUS=stale")
            heard.clear()
            wait_for("STATUS=")
            assert not any("WATCHDOG" in said for said in heard)
            board.resume()
            wait_for("WATCHDOG=1")
            running.terminate()
            wait_for("STOPPING=1")
            running.communicate(timeout=PATIENCE_S)


def test_errors_are_one_line_and_exit_with_3(
    bundle_folder: Path, recording: Path, board: SimulatedDevice, tmp_path: Path
) -> None:
    """A port that is not there, a board of other channels, and a port that is in use end with the exit code of links; a
    recording that exists is not overwritten."""
    assert "No such file" in refused("run", bundle_folder, tmp_path / "no-port", code=3)
    (tmp_path / "there.mcap").touch()
    refused("run", bundle_folder, board.port, "--record", tmp_path / "there.mcap", code=5)
    with SimulatedDevice(
        Schema.of(plant().channels[1:], 50.0), plant().episodes[0].values[:, 1:], repeat=True
    ) as other:
        assert "differs from the model in u" in refused("run", bundle_folder, other.port, code=3)
    with process("run", bundle_folder, board.port):
        until(lambda: board.status().split()[0] == "2", "the stream")
        assert "another program holds this port" in refused("info", board.port, code=3)
    refused("sim-device", tmp_path / "no.csv", code=1)


def test_a_disk_that_fills_does_not_end_the_session(
    bundle_folder: Path, board: SimulatedDevice, tmp_path: Path
) -> None:
    """Where the disk fills the loop goes on to its end. One line reports it, what was recorded stays readable, and the
    exit code is that of storage."""
    with small_disk(tmp_path / "disk") as disk:
        arguments = ("run", bundle_folder, board.port, "--record", disk / "f.mcap", "--seconds", 8, "--json")
        with process(*arguments) as running:
            report, said = ended(running, code=5)
        assert said.count("No space left") == 2  # in the log when it happened, and as the error at the end
        assert report["not_recorded"] > 0
        assert report["link"]["dropped"] == 0
        rtsysid("recover", disk / "f.mcap", "-o", tmp_path / "rescued.mcap")
        assert 0 < len(Trace.read(tmp_path / "rescued.mcap")) < report["samples"]


def test_a_kill_loses_a_second_at_most(bundle_folder: Path, board: SimulatedDevice, tmp_path: Path) -> None:
    """After kill -9 `recover` brings back all but the last second of what the board had been answered."""
    with process("run", bundle_folder, board.port, "--record", tmp_path / "f.mcap") as running:
        until(lambda: len(board.status().split()) > 2, "a prediction")
        first = int(board.status().split()[2])
        until(lambda: int(board.status().split()[2]) - first > 150, "three seconds")
        last = int(board.status().split()[2])
        running.kill()
        running.communicate()
    rtsysid("recover", tmp_path / "f.mcap", "-o", tmp_path / "rescued.mcap")
    rescued = Trace.read(tmp_path / "rescued.mcap")
    assert rescued.describe()["gaps"] == 0
    assert len(rescued) > last - first - 50
    replayed = json.loads(rtsysid("replay", bundle_folder, tmp_path / "rescued.mcap", "--json", check=None).stdout)
    assert replayed["changed"] == replayed["missing"] == 0


def test_a_terminal_that_takes_no_lines_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines that cannot be printed are left out, and a later line counts them."""
    gate, shown = threading.Event(), list[str]()

    def echo(line: str, err: bool) -> None:
        gate.wait(PATIENCE_S)
        shown.append(line)

    monkeypatch.setattr("rtsysid.cli.console.echo", echo)
    with StderrLines() as stderr:
        stderr.write(*(str(k) for k in range(300)))
        gate.set()
        until(lambda: len(shown) > 99, "the lines")
        stderr.write("after")
    assert shown[:3] == ["0", "1", "2"]
    assert shown[-1] == "after"
    left_out = int(shown[-2].split()[0].strip("("))
    assert len(shown) - 2 + left_out == 300
