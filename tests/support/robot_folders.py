"""Folders of the benchmark of robots: the pendulum, with a configuration of [data] alone."""

from __future__ import annotations

from pathlib import Path

from support.robots import plant

from rtsysid.recordings.trace import Trace

DATA = """[data]
rate_hz = 50
inputs = ["u [V]"]
outputs = ["y [m]", "v [m/s]"]
validation = ["*_val"]
"""


def put_robot(folder: Path, *, text: str = DATA, rows: int = 200, test_rows: int = 130, seed: int = 0) -> Path:
    """Write a robot with three training recordings, one of them for validation, and two test recordings."""
    *train, first, second = plant(5, max(rows, test_rows), seed).episodes
    names = ("run1", "run2", "run3_val")
    channels = plant(1, 10).channels
    for name, episode in zip(names, train, strict=True):
        Trace(channels, (episode.piece(0, rows),)).write(folder / "train" / f"{name}.csv")
    for episode in (first, second):
        Trace(channels, (episode.piece(0, test_rows),)).write(folder / "test" / f"{episode.name}.csv")
    (folder / "robot.toml").write_text(text)
    return folder
