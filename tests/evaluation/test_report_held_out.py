"""Test what a report says of the recordings it is given, and of those that trained the model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.robots import TINY, plant
from support.shell import command

from rtsysid.model.bundle import Bundle
from rtsysid.recordings.held_out import read_held_out
from rtsysid.recordings.trace import Trace


@pytest.fixture(scope="module")
def logs_and_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Four recordings as files, and a run that was trained on them."""
    root = tmp_path_factory.mktemp("logs")
    for episode in plant().episodes:
        Trace(plant().channels, (episode,)).write(root / "logs" / f"{episode.name}.csv")
    (root / "tiny.toml").write_text(TINY)
    command("train", root / "tiny.toml", "--data", root / "logs", "-o", root / "run")
    return root / "logs", root / "run"


@pytest.mark.torch
def test_a_run_is_judged_on_its_validation_part(logs_and_run: tuple[Path, Path], tmp_path: Path) -> None:
    """With the recordings of its training a run is judged on the last of them alone, and shows its epochs."""
    logs, run = logs_and_run
    done = command("report", run, "--data", logs, "-o", tmp_path / "r.html", "--horizon", 10, "--json")
    found = json.loads(done.stdout)
    assert "validation part" in found["recordings"]
    assert {stretch["recording"] for stretch in found["worst"]} == {"run4"}
    assert {"metric", "names", "value", "grade", "detail", "meaning", "next"} == set(found["findings"][0])
    assert "stages end at the lines" in (tmp_path / "r.html").read_text()


def held_out(bundle: Bundle, *paths: Path) -> str:
    """How recordings are described, given those that trained the bundle."""
    config = bundle.manifest.training.config
    return read_held_out(paths, bundle.spec.channels, config, bundle.manifest.trained_on)[1]


@pytest.mark.torch
def test_recordings_seen_in_training_are_named_as_such(
    logs_and_run: tuple[Path, Path], recording: Path, tmp_path: Path
) -> None:
    """The text about the recordings counts those that training used."""
    logs, run = logs_and_run
    command("export", run, "-o", tmp_path / "bundle", "--target", "c")
    bundle = Bundle.open(tmp_path / "bundle")
    assert "training used 1 of them" in held_out(bundle, logs / "run1.csv", recording)
    assert "were not used in training" in held_out(bundle, recording)
