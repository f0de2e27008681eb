"""Test the benchmark of robots without training: folders, forecasts, cells, bars, promises."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import numpy as np
import pytest
from support.benchmark_parts import weights_of
from support.robot_folders import DATA, put_robot
from support.shell import refused_here

from rtsysid.benchmarks.robot_bars import (
    GRU,
    HOLD,
    LINEAR,
    MODEL,
    ONE_STEP,
    Cell,
    bars,
    promises,
    robot_cells,
)
from rtsysid.benchmarks.robots import (
    DIVERGED,
    NEEDED,
    TICKS,
    Robot,
    find_robots,
    forecast_counts,
    model_errors,
    peer_errors,
)
from rtsysid.errors import ConfigError, SpecError, TraceError
from rtsysid.evaluation.baselines import Hold
from rtsysid.evaluation.expectation import read_expectation
from rtsysid.model.backends.numpy_backend import NumpyBackend
from rtsysid.model.predictor import Predictor
from rtsysid.spec import Doubles, Floats, ModelSpec, unit_scaling


@pytest.fixture
def robot(tmp_path: Path) -> Robot:
    return Robot.open(put_robot(tmp_path / "pendulum"))


def still(robot: Robot, warmup: int = 0) -> Predictor:
    """A model whose increments are zero: its forecasts are those of hold."""
    spec = ModelSpec(
        channels=robot.config.data.channels, rate_hz=50.0, encoder=(), taps=2, hidden=1, linear_path=True, warmup=warmup
    )
    spec = msgspec.structs.replace(spec, scaling=unit_scaling(spec))
    return Predictor(spec, NumpyBackend(spec, weights_of(spec, {})))


class Diverging:
    def forecast(self, history: Floats, u_future: Floats) -> Doubles:
        return np.full((len(history), u_future.shape[1], 2), np.inf)


def test_model_and_peers_forecast_the_same_rows(robot: Robot) -> None:
    """A model that stays has the errors of hold, forecast by forecast, from the first row with 49 rows before it to the
    last with 50 after it; the errors are those of the recording."""
    predictor = still(robot)
    test = robot.testing(predictor.spec.channels)
    ours, hold = model_errors(predictor, test), peer_errors(Hold(1), test, predictor.spec)
    assert ours.shape == (2 * (130 - NEEDED + 1), 2, len(TICKS))
    assert sum(forecast_counts(test)) == len(ours)
    np.testing.assert_allclose(ours, hold, atol=1e-6)
    y = test.episodes[0].values[:, 1]
    np.testing.assert_allclose(hold[:31, 0, 2], np.abs(y[54:85] - y[49:80]), rtol=1e-6)


def test_a_peer_that_diverges_has_a_finite_error(robot: Robot) -> None:
    """Infinite errors become a large number, so that means and intervals remain numbers."""
    test = robot.testing(robot.config.data.channels)
    assert (peer_errors(Diverging(), test, still(robot).spec) == np.float32(DIVERGED)).all()


def test_a_model_may_not_look_further_back(robot: Robot) -> None:
    """A model that settles after more than 50 samples is refused: it would forecast other rows than its peers."""
    predictor = still(robot, warmup=60)
    with pytest.raises(SpecError, match="configure fewer"):
        model_errors(predictor, robot.testing(predictor.spec.channels))


def test_peers_train_on_what_the_model_trains_on(robot: Robot) -> None:
    """The validation recordings do not train the peers, and the test recordings are neither."""
    train, validation = robot.split(still(robot).spec)
    assert [len(each) for each in train] == [200, 200]
    assert [len(each) for each in validation] == [200]


def test_a_robot_that_is_added_is_found(tmp_path: Path) -> None:
    """Every folder with a robot.toml is a robot, whatever its name; other folders are not; a folder may be one robot;
    names choose."""
    put_robot(tmp_path / "b")
    (tmp_path / "notes").mkdir()
    assert [robot.name for robot in find_robots([tmp_path])] == ["b"]
    put_robot(tmp_path / "a")
    assert [robot.name for robot in find_robots([tmp_path])] == ["a", "b"]
    assert [robot.name for robot in find_robots([tmp_path], ["b"])] == ["b"]
    assert [robot.name for robot in find_robots([tmp_path / "a", tmp_path / "b"])] == ["a", "b"]


def test_the_default_folder_is_that_of_the_recordings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without --data, the robots are those of the folder robots under RTSYSID_DATA."""
    monkeypatch.setenv("RTSYSID_DATA", str(tmp_path))
    with pytest.raises(TraceError, match="set RTSYSID_DATA"):
        find_robots()
    put_robot(tmp_path / "robots" / "a")
    assert [robot.name for robot in find_robots()] == ["a"]


def test_a_robot_that_cannot_be_judged_is_refused_before_training(tmp_path: Path) -> None:
    """Missing or short test recordings, more than [data], unknown names, twins and empty folders: one line, exit code
    1, and no output."""
    base = ("benchmark", "robots", "-o", tmp_path / "out", "--data")

    def line(folder: Path, *more: str) -> str:
        return refused_here(*base, folder, *more, code=1)

    good = put_robot(tmp_path / "good" / "arm")
    assert "choose among arm" in line(good.parent, "--robot", "leg")
    assert "two of this name" in line(good.parent, "--data", put_robot(tmp_path / "twin" / "arm"))
    assert "has model, train" in line(put_robot(tmp_path / "more", text=f"{DATA}[model]\n[train]\n"))
    assert "give longer test recordings" in line(put_robot(tmp_path / "short", test_rows=NEEDED - 1))
    assert "correct the line" in line(put_robot(tmp_path / "broken", text="[data"))
    for path in (good / "test").iterdir():
        path.unlink()
    assert "no test recordings" in line(good)
    (good / "test").rmdir()
    assert "no test recordings" in line(good)
    (tmp_path / "empty").mkdir()
    assert "no folder with a robot.toml" in line(tmp_path / "empty")
    assert "no folder with a robot.toml" in line(tmp_path / "none")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("option", ["--predictions", "--leave-out", "--bundle", "--validate"])
def test_options_of_other_benchmarks_are_refused(option: str, tmp_path: Path) -> None:
    """The benchmark of robots takes its own options, and no other benchmark takes them."""
    value = [] if option == "--validate" else [tmp_path / "a.npz"]
    assert option in refused_here("benchmark", "robots", option, *value, code=1)
    for other in ("ced", "novelty", "autoencoders"):
        assert "--robot" in refused_here("benchmark", other, "--robot", "arm", code=1)
        assert "--ground" in refused_here("benchmark", other, "--ground", "schunk-arm", code=1)


def test_an_unknown_ground_is_refused(tmp_path: Path) -> None:
    """The line names the grounds, and no folder is made."""
    out = tmp_path / "out"
    assert "choose among nanodrone," in refused_here("benchmark", "generative", "--ground", "arm", "-o", out, code=1)
    assert not out.exists()


def errors_of(level: float, seeds: int = 1) -> list[np.ndarray]:
    """The same error in all of 100 forecasts of one group."""
    return [np.full((100, 1, len(TICKS)), level, np.float32) for _ in range(seeds)]


def test_a_cell_compares_with_the_best_peer() -> None:
    """The yardstick is the smallest error of hold, linear ARX and GRU; the one-step ARX counts at one and two ticks
    alone, and never less than a thousandth of hold."""
    levels = {HOLD: 4.0, LINEAR: 2.0, GRU: 3.0}
    cells = robot_cells(
        "arm",
        ["angle"],
        {MODEL: errors_of(1.0, 3), ONE_STEP: errors_of(1e-9), **{k: errors_of(v) for k, v in levels.items()}},
        [60, 40],
    )
    assert [cell.ticks for cell in cells] == list(TICKS)
    assert all((cell.best, cell.ratio, cell.low, cell.high) == (LINEAR, 0.5, 0.5, 0.5) for cell in cells)
    assert [cell.near for cell in cells] == [pytest.approx(250.0)] * 2 + [None] * 4
    assert cells[0].errors == pytest.approx({MODEL: 1.0, ONE_STEP: 1e-9, **levels})


def cell(ratio: float, ticks: int, low: float = 0.0, near: float | None = None) -> Cell:
    return Cell("arm", "angle", ticks, {}, GRU, ratio, low, 9.0, near)


def test_each_bar_says_what_it_counts() -> None:
    """Worked out by hand: twenty cells, one of them above 1.05, four groups at 50 ticks."""
    far = [cell(ratio, 50) for ratio in (0.8, 0.95, 1.0, 1.02)]
    others = [cell(1.0, 10, low=0.99)] * 14 + [cell(1.16, 1, low=1.04, near=1.6), cell(1.05, 2, low=1.03, near=0.7)]
    lines = bars([*far, *others], [])
    assert [line.found for line in lines[:8]] == pytest.approx([0.05, 1.16, 1, 1.6, 0.975, 0.25, 0.975, 0.25])
    assert [line.holds for line in lines] == [True, False, False, False, True, True, False, True, None, None]
    assert [line.goal for line in lines] == [False] * 6 + [True] * 2 + [False] * 2


def stated(folder: Path, low: float, high: float, group: str = "angle") -> Path:
    """A run folder with a stated interval for one and 50 ticks."""
    each = {"ticks": [1, 50], "error": [1.0, 1.0], "low": [low] * 2, "high": [high] * 2}
    (folder / "expected.json").write_text(json.dumps({"groups": {group: each}}))
    return folder


def test_a_promise_is_held_against_the_test(tmp_path: Path) -> None:
    """Of an error of 1 at one tick and 2 at fifty, an interval of 0.8 to 1.6 holds the first, and one of 1.5 to 3 the
    second; the widths are 2."""
    assert read_expectation(tmp_path) is None
    expectation = read_expectation(stated(tmp_path, 0.8, 1.6))
    assert expectation is not None
    errors = np.ones((10, 1, len(TICKS)), np.float32)
    errors[..., -1] = 2.0
    found = list(promises("arm", 0, ["angle"], expectation, errors))
    assert [(each.ticks, each.held) for each in found] == [(1, True), (50, False)]
    higher = read_expectation(stated(tmp_path, 1.5, 3.0))
    assert higher is not None
    assert [each.held for each in promises("arm", 0, ["angle"], higher, errors)] == [False, True]
    lines = bars([cell(1.0, 1, near=1.0), cell(1.0, 50)], found)[-2:]
    assert [line.found for line in lines] == pytest.approx([0.5, 2.0])
    assert [line.holds for line in lines] == [False, False]


def test_a_damaged_promise_is_refused(tmp_path: Path) -> None:
    """What is no statement, or says nothing on a group, raises one line."""
    expectation = read_expectation(stated(tmp_path, 1, 2, group="other"))
    assert expectation is not None
    with pytest.raises(ConfigError, match="nothing on 'angle'"):
        list(promises("arm", 0, ["angle"], expectation, np.ones((10, 1, len(TICKS)), np.float32)))
    (tmp_path / "expected.json").write_text('{"groups": {"angle": {"ticks": [1]}}}')
    with pytest.raises(ConfigError, match="missing required field"):
        read_expectation(tmp_path)
    with pytest.raises(ConfigError, match="Expected `float` >= 0"):
        read_expectation(stated(tmp_path, -1, 2))
