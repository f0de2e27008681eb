"""A sweep that takes seconds: a small model of the pendulum, and a space around it."""

from __future__ import annotations

import time
from pathlib import Path

from support.robots import plant
from support.shell import command

from rtsysid.experiments.sweep.folder import read_plan, studied
from rtsysid.experiments.sweep.study import counts
from rtsysid.recordings.trace import Trace

HANGS_S = 600  # a wait that ends only where something hangs
SMALL = """
[data]
rate_hz = 50
inputs = ["u [V]"]
outputs = ["y [m]", "v [m/s]"]
[model]
taps = 3
encoder = []
hidden = 4
warmup = 4
[train]
batch = 64
stride = 7
[[stage]]
name = "dynamics"
train = ["cell", "head"]
loss = [{ kind = "rollout", horizon = 6 }]
epochs = 4
"""
SPACE = """
"model.taps" = { values = [2, 3] }
model.hidden = { low = 2, high = 8, log = true }
"stage.*.learning_rate" = { low = 0.5, high = 20.0, log = true, times = true }
"""


def small_sweep(folder: Path, epochs: int = 4) -> list[object]:
    """Write configuration, space and recordings to a folder; return the arguments of `sweep run`, without a limit."""
    (folder / "small.toml").write_text(SMALL.replace("epochs = 4", f"epochs = {epochs}"))
    (folder / "space.toml").write_text(SPACE)
    for episode in plant(3, 200).episodes:
        Trace(plant().channels, (episode,)).write(folder / "logs" / f"{episode.name}.csv")
    return [
        "sweep", "run", folder / "small.toml", "--data", folder / "logs", "--space", folder / "space.toml",
        "-o", folder / "sweep",
    ]  # fmt: skip


def shown(folder: Path, *options: object) -> list[str]:
    """The lines that `sweep show` prints on stdout."""
    return command("sweep", "show", folder / "sweep", *options).stdout.splitlines()


def trial_counts(folder: Path) -> dict[str, int]:
    """The trials of the sweep by their state; none where it has not begun."""
    if not (folder / "sweep" / "sweep.json").exists():
        return {"finished": 0, "running": 0}
    with studied(folder / "sweep", read_plan(folder / "sweep")) as study:
        return counts(study)


def wait_for_the_middle(folder: Path) -> None:
    """Wait until a trial has finished and another one runs."""
    ends = time.monotonic() + HANGS_S
    while True:
        now = trial_counts(folder)
        if now["finished"] and now["running"]:
            return
        assert time.monotonic() < ends, now
        time.sleep(0.02)
