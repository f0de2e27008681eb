"""Test the benchmark of robots as a whole, on a simulated pendulum with hardly any training."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.robot_folders import put_robot
from support.robots import plant
from support.shell import command, refused_here

from rtsysid.benchmarks.robots import NEEDED, TICKS
from rtsysid.experiments import robots
from rtsysid.experiments.robots import Effort, best_arx
from rtsysid.spec import ModelSpec


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A quick run with hardly any training."""
    monkeypatch.setattr(robots, "QUICK", Effort(seeds=1, gru_seconds=0.2, share=0.01))


def quick(folder: Path) -> tuple[object, ...]:
    return "benchmark", "robots", "--quick", "--data", folder / "all", "-o", folder / "out"


def quick_run(folder: Path) -> tuple[dict[str, Any], str]:
    done = command(*quick(folder), "--json")
    return json.loads(done.stdout), done.stderr


@pytest.mark.usefixtures("hurried")
def test_a_run_goes_on_where_it_ended(tmp_path: Path) -> None:
    """The first run measures one robot. A robot that is added later is found by the same command; of the first nothing
    is trained or measured again, and its result is the same. Other recordings are not taken for the same, and what is
    damaged is refused."""
    robot = put_robot(tmp_path / "all" / "pendulum", rows=150)
    first, said = quick_run(tmp_path)
    (only,) = first["robots"]
    assert (only["name"], only["forecasts"]) == ("pendulum", 2 * (130 - NEEDED + 1))
    assert [(c["group"], c["ticks"]) for c in only["cells"]] == [(g, t) for g in ("y", "v") for t in TICKS]
    assert set(only["cells"][0]["errors"]) == {"model", "hold", "linear ARX", "one-step ARX", "GRU"}
    assert all(cell["low"] <= cell["ratio"] <= cell["high"] for cell in only["cells"])
    assert only["models"][0]["rows"] == 3 * 150
    assert "peer GRU seed 0, 0.2 s" in said
    put_robot(tmp_path / "all" / "added", rows=150, seed=3)
    both, said = quick_run(tmp_path)
    assert [each["name"] for each in both["robots"]] == ["added", "pendulum"]
    assert both["robots"][1] == only
    assert "pendulum: seed 0: its run was finished before and is used again" in said
    assert "pendulum: peer" not in said
    assert "added: peer GRU" in said
    table = command(*quick(tmp_path), "--robot", "added").stdout
    assert "pendulum" not in table
    assert re.search(r"promised: test errors inside .* \d+ % +80 % to 95 % +(yes|no)", table)
    assert re.search(r"promised and found\n.*\n.*\nadded +\d+ % +\d+\.\d\d\n", table)
    next((tmp_path / "out" / "quick" / "added" / "errors").glob("GRU-*")).write_bytes(b"")
    assert "remove the file" in refused_here(*quick(tmp_path), code=1)
    plant(1, 150, seed=9).write(robot / "train" / "run2.csv", overwrite=True)
    assert "choose another -o" in refused_here(*quick(tmp_path), "--robot", "pendulum", code=1)


def test_the_number_of_ticks_chooses_the_linear_model() -> None:
    """One-step and whole-forecast ARX are each at least as good as the other on what they were chosen by."""
    rows = [episode.values for episode in plant(4, 250, seed=2).episodes]
    spec = ModelSpec(channels=plant(1, 10).channels, rate_hz=50.0)
    far, near = (best_arx(rows[:2], rows[2:], spec, ticks) for ticks in (50, 1))
    error = {}
    for name, arx in (("far", far), ("near", near)):
        starts = np.arange(39, 250 - 50)
        history = np.concatenate([r[starts[:, None] + np.arange(-39, 1)] for r in rows[2:]])
        u = np.concatenate([r[starts[:, None] + np.arange(50), :1] for r in rows[2:]])
        truth = np.concatenate([r[starts[:, None] + np.arange(1, 51), 1:] for r in rows[2:]])
        error[name] = np.abs(arx.forecast(history, u) - truth)
    hold = np.abs(truth - history[:, -1:, 1:])
    scores = {
        name: [(e[:, :n].mean((0, 1)) / hold[:, :n].mean((0, 1))).mean() for n in (50, 1)] for name, e in error.items()
    }
    assert scores["far"][0] <= 1.02 * scores["near"][0]
    assert scores["near"][1] <= 1.02 * scores["far"][1]
