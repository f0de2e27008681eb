"""`rtsysid info`: any recording, any log of topics, folders, and what it says about guesses and damage."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from support.fake_topics import Content, put_fake
from support.shell import command, refused_here

IMU = Content(
    np.arange(100) / 100,
    {"gyro.x": np.arange(100.0), "acc": np.ones(100)},
    {"gyro.x": "rad/s"},
    {"stamp": np.arange(100) / 50},
)


def table(path: Path, header: str = "timestamp,u,mode", rows: int = 500) -> Path:
    lines = [f"{k * 10_000},{k % 7},{'HOLD' if k > 400 else ''}" for k in range(rows)]
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


def test_info_guesses_the_time_and_says_so(tmp_path: Path) -> None:
    """Rows, rate and columns of a foreign table, with its guesses, and with what is left out."""
    done = command("info", table(tmp_path / "a.csv"))
    assert "rows        500" in done.stdout
    assert "rate hz     100" in done.stdout
    assert "time        timestamp [us]" in done.stdout
    assert 'guesses: say --time "timestamp [us]", or time = "timestamp [us]" in a configuration' in done.stdout
    assert "left out: mode holds text: 'HOLD' is not a number, line 403" in done.stdout
    again = command("info", tmp_path / "a.csv", "--time", "timestamp [us]")
    assert "guess" not in again.stdout
    found = json.loads(command("info", tmp_path / "a.csv", "--json").stdout)
    assert (found["rows"], found["time"]["guessed"]) == (500, ["column", "unit"])
    assert found["left_out"][0]["name"] == "mode"
    assert "tmstamp" in refused_here("info", tmp_path / "a.csv", "--time", "tmstamp", code=1)


def test_info_without_a_time_column(tmp_path: Path) -> None:
    """With --time "" nothing is guessed, and the column stays a column."""
    done = command("info", table(tmp_path / "a.csv"), "--time", "")
    assert "rate hz     -" in done.stdout
    assert "timestamp" in done.stdout
    assert "note" not in done.stdout


def test_info_shows_the_topics_of_any_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Topics with type, messages, rate, jitter, gaps and stamps; fields with units and ranges; what is missing."""
    put_fake(monkeypatch, {"/imu": IMU, "/text": Content(np.arange(3.0), {})}, "dropouts of 0.31 s")
    (tmp_path / "a.npz").write_bytes(b"-")
    done = command("info", tmp_path / "a.npz")
    imu = next(line for line in done.stdout.splitlines() if line.startswith("/imu "))
    assert imu.split() == ["/imu", "test/Type", "100", "100", "0", "0", "0.99", "stamp", "-"]
    assert "missing: dropouts of 0.31 s" in done.stdout
    gyro = next(line for line in done.stdout.splitlines() if line.startswith("/imu.gyro.x"))
    assert gyro.split() == ["/imu.gyro.x", "rad/s", "0", "99", "0"]
    assert 'as in inputs = ["/imu.gyro.x"]' in done.stdout
    only = json.loads(command("info", tmp_path / "a.npz", "--topic", "/te*", "--json").stdout)
    assert [each["name"] for each in only["topics"]] == ["/text"]
    own = json.loads(command("info", tmp_path / "a.npz", "--time", "/imu.stamp", "--json").stdout)
    assert own["topics"][0]["rate_hz"] == pytest.approx(50)


def test_a_log_without_a_number_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No model can use it, but what it holds is said."""
    put_fake(monkeypatch, {"/text": Content(np.arange(3.0), {})})
    (tmp_path / "a.npz").write_bytes(b"-")
    assert "/text" in command("info", tmp_path / "a.npz").stdout


def test_a_folder_is_a_line_for_each_recording(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several files or a folder: rows, time and rate of each; one that cannot be read is said, with exit code 1."""
    put_fake(monkeypatch, {"/imu": IMU})
    table(tmp_path / "a.csv")
    (tmp_path / "b.npz").write_bytes(b"-")
    lines = command("info", tmp_path).stdout.splitlines()
    assert lines[0].split("  ")[0] == "recording"
    assert [line.split()[1:3] for line in lines[2:]] == [["-", "500"], ["1", "100"]]
    assert command("info", tmp_path / "a.csv", tmp_path / "b.npz").stdout == "\n".join(lines) + "\n"
    (tmp_path / "c.csv").write_text("t,y\n")
    found = json.loads(command("info", tmp_path, "--json", check=1).stdout)["recordings"]
    assert [each["rows"] for each in found] == [500, 100, None]
    assert "no rows" in found[2]["missing"]
