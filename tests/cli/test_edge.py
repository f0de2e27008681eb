"""The plain install, in an environment of its own: no torch, no onnx, no file readers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.robots import plant
from support.shell import edge

from firmware_bridge.device import SimulatedDevice
from firmware_bridge.schema import Schema
from rtsysid.model.bundle import Bundle


def test_the_edge_environment_has_no_torch() -> None:
    """What this file proves is worth nothing if torch, onnx or pyarrow could be imported after all."""
    code = (
        "import importlib.util as u; print([m for m in ('torch', 'onnx', 'pyarrow', 'safetensors') if u.find_spec(m)])"
    )
    assert edge("python", "-c", code).stdout.strip() == "[]"


@pytest.mark.parametrize("backend", ["c", "onnx", "numpy"])
def test_replay_runs_without_torch(bundle_folder: Path, recording: Path, tmp_path: Path, backend: str) -> None:
    """A bundle replays a CSV recording on the plain install, on either backend, and writes its predictions."""
    out = tmp_path / "predictions.csv"
    arguments = ("replay", str(bundle_folder), str(recording), "--backend", backend, "-o", str(out), "--json")
    done = edge("rtsysid", *arguments)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["samples"] == report["written"] > 0
    assert report["predictions"] > 0


def test_a_live_session_runs_without_torch(bundle_folder: Path, tmp_path: Path) -> None:
    """On the plain install `run` answers a board and records it, and `replay` finds the same predictions again."""
    spec, rows = Bundle.open(bundle_folder).spec, plant(1, 100, seed=5).episodes[0].values
    with SimulatedDevice(Schema.of(spec.channels, spec.rate_hz), rows) as device:
        record = str(tmp_path / "flight.mcap")
        done = edge("rtsysid", "run", str(bundle_folder), device.port, "--record", record, "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["samples"] == report["link"]["samples"] == 100
    assert report["link"]["clean"]
    again = edge("rtsysid", "replay", str(bundle_folder), record, "--json")
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["compared"] == 100


def test_verify_runs_without_torch(bundle_folder: Path) -> None:
    """Every backend reproduces the golden trace on the plain install."""
    done = edge("rtsysid", "verify", str(bundle_folder), "--json")
    assert done.returncode == 0, done.stderr
    assert {row["backend"]: row["passed"] for row in json.loads(done.stdout)["backends"]} == {
        "c": True,
        "onnx": True,
        "numpy": True,
    }


def test_training_on_the_edge_says_what_is_missing(tmp_path: Path) -> None:
    """A command that needs the workstation install ends in one line and no traceback."""
    (tmp_path / "a.csv").write_text("t,u\n0,1\n")
    done = edge("rtsysid", "export", str(tmp_path), "-o", str(tmp_path / "b"))
    assert done.returncode == 1
    assert "rtsysid[train]" in done.stderr
    assert "Traceback" not in done.stderr
