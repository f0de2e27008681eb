"""The Python interface and the commands do the same: train, export and replay; `fit` says what it does."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.robots import plant
from support.shell import command

import rtsysid
from rtsysid.guards.stages import say_stage, told_on_stderr
from rtsysid.live.predictions import read_predictions
from rtsysid.model.about import AboutModel
from rtsysid.recordings.trace import Trace


def table() -> dict[str, Any]:
    """A recording of the plant as named arrays."""
    trace = plant(1, 200, seed=5)
    return {"t": trace["t"], "u [V]": trace["u"], "y [m]": trace["y"], "v [m/s]": trace["v"]}


def test_a_replay_in_python_is_that_of_the_command(bundle_folder: Path, recording: Path, tmp_path: Path) -> None:
    """Every prediction of a path, and of the same rows in memory, is that of the command, with its status."""
    model = rtsysid.load(bundle_folder)
    command("replay", bundle_folder, recording, "-o", tmp_path / "p.csv")
    wanted = read_predictions(tmp_path / "p.csv")
    for data in (recording, table()):
        found = list(model.replay(data))
        np.testing.assert_array_equal([each.y for each in found], wanted.y)
        assert [each.status for each in found] == wanted.status
    replay = model.replay(recording)
    end = replay.run(tmp_path / "again.csv", against=tmp_path / "p.csv")
    assert end.written == len(wanted.t)
    assert end.comparison is not None
    assert end.comparison.equal
    assert replay.summary["health"]["samples"] == 200
    assert repr(replay) == f"Replay(unseen.csv: 200 samples, {replay.summary['health']['predictions']} predictions)"


def test_a_difference_between_replays_is_seen(bundle_folder: Path, recording: Path, tmp_path: Path) -> None:
    """Predictions of other rows are not equal to those that were written."""
    model, other = rtsysid.load(bundle_folder), table()
    model.replay(recording).run(tmp_path / "p.csv")
    other["y [m]"] = np.asarray(other["y [m]"]) + 0.01
    comparison = model.replay(other).run(against=tmp_path / "p.csv").comparison
    assert comparison is not None
    assert not comparison.equal


def test_a_replay_streams_one_recording(bundle_folder: Path) -> None:
    """Two recordings are refused in one line: a robot has one life at a time."""
    model = rtsysid.load(bundle_folder)
    with pytest.raises(rtsysid.TraceError, match="replay: 2 recordings; give one of them"):
        model.replay([table(), table()])


def test_a_run_is_exported_as_by_the_command(run_folder: Path, tmp_path: Path) -> None:
    """Targets, name and card are those that were given, and the model is that of `rtsysid export`."""
    about = AboutModel(name="arm", version="1.2")
    model, rows = rtsysid.export_run(run_folder, tmp_path / "a", ["onnx"], about=about, card="our arm")
    card = tmp_path / "card.md"
    card.write_text("our arm")
    named = ("--name", "arm", "--model-version", "1.2", "--card", card)
    command("export", run_folder, "-o", tmp_path / "b", "--target", "onnx", *named)
    other = rtsysid.load(tmp_path / "b").bundle
    assert model.bundle.manifest.about == other.manifest.about == about
    assert list(model.bundle.manifest.files) == list(other.manifest.files)
    assert model.bundle.content("card.md") == other.content("card.md")
    assert model.bundle.model_id == other.model_id
    assert {row.backend for row in rows} == {"onnx", "numpy"}


@pytest.mark.torch
def test_fit_says_what_it_does_unless_told_not_to(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On stderr, line by line: the stages and what was chosen. Without verbose warnings alone; logging is as before."""
    for name in ("rtsysid", "rtsysid.stage"):  # commands in this process have left their handlers there
        monkeypatch.setattr(logging.getLogger(name), "handlers", [])
    logging.getLogger("rtsysid").setLevel(logging.NOTSET)
    trace = plant(3, 250)
    data = [{"u": e.values[:, 0], "y": e.values[:, 1]} for e in trace.episodes]
    before = [(log.level, list(log.handlers)) for log in map(logging.getLogger, ("rtsysid", "rtsysid.stage"))]
    rtsysid.fit(data, ["u"], ["y"], 50, linear=True, folder=tmp_path / "run")
    out, told = capfd.readouterr()
    assert out == ""
    for line in ("checking inputs and conventions", "linear model of", "calibrating novelty and intervals"):
        assert line in told
    after = [(log.level, list(log.handlers)) for log in map(logging.getLogger, ("rtsysid", "rtsysid.stage"))]
    assert before == after
    rtsysid.fit(data, ["u"], ["y"], 50, linear=True, folder=tmp_path / "quiet", verbose=False)
    out, told = capfd.readouterr()
    assert (out, "linear model" in told, "checking" in told) == ("", False, False)


def test_a_stage_is_one_line_and_not_said_twice(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stage that counts is said once, a new one at once; nothing where a handler of the caller shows stages."""
    log = logging.getLogger("rtsysid.stage")
    monkeypatch.setattr(log, "handlers", [])
    with told_on_stderr():
        for done in range(3):
            say_stage("reading", done, 3)
        say_stage("training")
    assert capfd.readouterr().err == "reading 0 of 3\ntraining\n"
    monkeypatch.setattr(log, "handlers", [logging.NullHandler()])
    log.setLevel(logging.INFO)
    with told_on_stderr():
        say_stage("reading")
    log.setLevel(logging.NOTSET)
    assert capfd.readouterr().err == ""


def test_an_unfinished_run_is_not_exported(tmp_path: Path) -> None:
    """A folder that is no run is refused in one line, and nothing is written."""
    with pytest.raises(rtsysid.ConfigError):
        rtsysid.export_run(tmp_path, tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_a_trace_replays(bundle_folder: Path) -> None:
    """A trace with a gap is one recording: missing ticks are replaced, then the state starts over."""
    model, trace = rtsysid.load(bundle_folder), Trace.from_pandas(table())
    kept = np.r_[0:90, 120:200]
    gap = {name: np.asarray(values)[kept] for name, values in table().items()}
    assert model.replay(trace).run().written is None
    replay = model.replay(gap)
    replay.run()
    assert replay.summary["health"]["resets"] == 1
