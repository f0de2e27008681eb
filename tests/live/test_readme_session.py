"""The README's program for a robot runs as it is written, and says that a sensor has failed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.robots import plant

from rtsysid.live.novelty import Novelty
from rtsysid.live.session import Prediction
from rtsysid.spec import Floats

README = Path(__file__).parents[2] / "README.md"
FROZEN = 200  # the tick from which one sensor repeats its last value


def program() -> str:
    """The block of Python under "On the robot"."""
    found = re.search(r"On the robot:\n\n```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert found is not None
    return found[1]


def test_the_program_on_the_robot_notices_a_frozen_sensor(
    calibrated_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a calibrated bundle the session of the README says novel once a sensor is frozen, and not before."""
    (tmp_path / "bundle").symlink_to(calibrated_folder)
    monkeypatch.chdir(tmp_path)
    values = plant(1, 400, seed=5).episodes[0].values
    values[FROZEN:, 1] = values[FROZEN, 1]
    said: list[Prediction] = []
    controlled: list[Floats] = []

    def sensors() -> Iterator[tuple[float, Floats]]:
        for tick, row in enumerate(values):
            yield tick / 50, row
            said.append(names["prediction"])

    names: dict[str, Any] = {
        "sensors": sensors, "control": controlled.append, "u_future": np.zeros((10, 1), np.float32),
    }  # fmt: skip
    exec(program(), names)
    novel = [tick for tick, each in enumerate(said) if each.status == "novel"]
    assert isinstance(names["session"].novelty, Novelty)
    assert novel
    assert novel[0] > FROZEN
    assert len(controlled) == sum(each.usable for each in said)
    assert names["plan"].shape == names["y"].shape == (10, 2)
    assert (names["lower"] < names["upper"]).all()
