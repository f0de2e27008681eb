"""Test that a report names the fault of models spoiled on purpose, on two robots, and calls good ones good."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.shell import command
from support.spoiled import ROBOTS, Robot, changed, channels, config, make_ring, recordings, trained

from rtsysid.recordings.trace import Trace

pytestmark = [pytest.mark.slow, pytest.mark.torch]
DEAD = 30  # ticks
Made = tuple[Path, Trace]


class Workshop:
    """Train each spoiled model once; the good one serves several cases."""

    def __init__(self, robot: Robot, root: Path) -> None:
        self.robot, self._root = robot, root
        self.data, self.unseen = recordings(robot, 5, 20.0), recordings(robot, 2, 20.0, seed=50)

    def train(self, name: str, text: str, trace: Trace, spoil: Callable[[Path], None] = lambda run: None) -> Path:
        folder = self._root / f"{self.robot.name} {name}"
        return folder / "bundle" if folder.exists() else trained(text, trace, folder, spoil)

    def good(self) -> Made:
        return self.train("good", config(self.robot), self.data), self.unseen

    def few_taps(self) -> Made:
        slow = [recordings(self.robot, n, 20.0, seed, filter_rows=12) for n, seed in ((5, 0), (2, 50))]
        return self.train("taps", config(self.robot, taps=2), slow[0]), slow[1]

    def dead_time(self) -> Made:
        late = [recordings(self.robot, n, 20.0, seed, dead_ticks=DEAD) for n, seed in ((5, 0), (2, 50))]
        return self.train("late", config(self.robot, taps=4), late[0]), late[1]

    def quaternion_order(self) -> Made:
        def mixed(rows: Any, t: Any) -> Any:
            return np.concatenate((rows[:, :-4], rows[:, [-1, -4, -3, -2]]), axis=1)

        return self.train("order", config(self.robot), changed(self.data, mixed)), changed(self.unseen, mixed)

    def missing_input(self) -> Made:
        text = config(self.robot, inputs=self.robot.inputs[:-1])
        return self.train("input", text, self.data), self.unseen

    def ringing(self) -> Made:
        return self.train("ring", config(self.robot, body=""), self.data, make_ring), self.unseen

    def too_little(self) -> Made:
        return self.train("little", config(self.robot), recordings(self.robot, 2, 2.0)), self.unseen

    def drift(self) -> Made:
        def drifted(rows: Any, t: Any) -> Any:
            rows[:, len(self.robot.inputs) + 1] += 0.02 + 0.1 * t / t[-1]
            return rows

        return self.good()[0], changed(self.unseen, drifted)


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Workshop]:
    root = tmp_path_factory.mktemp("spoiled")
    return cache(lambda name: Workshop(ROBOTS[name], root))


def verdict(made: Made, robot: Robot, folder: Path) -> dict[str, Any]:
    """What the command says of a model on recordings."""
    bundle, trace = made
    for each in trace.episodes:
        Trace(channels(robot), (each,)).write(folder / "data" / f"{each.name}.csv")
    done = command("report", bundle, "--data", folder / "data", "-o", folder / "r.html", "--json")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


CASES = {  # the case: the fault that must come first, and a word of its remedy
    "few_taps": ("too few taps", "raise model.taps from 2 to"),
    "dead_time": ("dead time", "shift_s = 0.6 "),
    "quaternion_order": ("quaternion order", "order"),
    "missing_input": ("missing input", "data.inputs"),
    "ringing": ("ringing", "rollout"),
    "too_little": ("trained on too little", "record more"),
    "drift": ("drifted sensor", "calibrate wx"),
}
EVERY = bool(os.environ.get("RTSYSID_EVERY_SPOILED"))  # else each fault on one robot
CHOSEN = [(case, name) for n, case in enumerate(CASES) for k, name in enumerate(ROBOTS) if EVERY or n % 2 == k]


@pytest.mark.parametrize(("case", "robot"), CHOSEN)
def test_the_fault_of_a_spoiled_model_is_named_first(
    case: str, robot: str, workshop: Callable[[str], Workshop], tmp_path: Path
) -> None:
    """The first cause is the fault that was made, its remedy fits, and the verdict says it and is not good."""
    shop = workshop(robot)
    found = verdict(getattr(shop, case)(), shop.robot, tmp_path)
    fault, remedy = CASES[case]
    assert found["causes"][0]["fault"] == fault
    assert remedy in found["causes"][0]["remedy"]
    assert found["verdict"]["grade"] != "good"
    assert fault in found["verdict"]["sentence"]


@pytest.mark.parametrize("robot", ROBOTS)
def test_a_good_model_is_called_good(robot: str, workshop: Callable[[str], Workshop], tmp_path: Path) -> None:
    """A model that was not spoiled gets no cause, the grade good, and a sentence that says how far it is of use."""
    shop = workshop(robot)
    found = verdict(shop.good(), shop.robot, tmp_path)
    assert found["causes"] == []
    assert found["verdict"]["grade"] == "good"
    assert found["verdict"]["sentence"].startswith("usable up to 1 s ahead")
