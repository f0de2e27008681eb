"""Values that come back: angles after a turn, and the quaternions q and -q."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import rtsysid
from rtsysid.circle import SignKeeper, continuous, differences, nearest, unwrapped, unwrapped_plan
from rtsysid.config import Data, parse_config
from rtsysid.errors import ConfigError, SpecError
from rtsysid.evaluation.baselines import Hold
from rtsysid.evaluation.metrics import group_errors, horizon_errors
from rtsysid.model.golden import relative_error
from rtsysid.recordings.reading import align_trace
from rtsysid.recordings.trace import Episode, Trace
from rtsysid.spec import Channel, ModelSpec, unit_scaling

OUTPUTS = (
    Channel("yaw", "rad", angle=True),
    Channel("heading", "deg", angle=True),
    *(Channel(name, "quat", group="attitude") for name in ("qx", "qy", "qz", "qw")),
    Channel("v", "m/s"),
)
ATTITUDE = slice(2, 6)
SPEC = ModelSpec(channels=(Channel("u", "V", "input"), *OUTPUTS), rate_hz=100.0)
SPEC = ModelSpec(channels=SPEC.channels, rate_hz=100.0, scaling=unit_scaling(SPEC))
TABLE = """
[data]
rate_hz = 100
inputs = ["u"]
outputs = [{outputs}]
angles = [{angles}]
"""
seeds = st.integers(0, 2**32 - 1)
# Every subtraction of a prediction and a truth in the package, with the reason why it is no fault on a circle.
RAW = {
    "circle.py: differences": "this is the short way around",
    "circle.py: nearest": "this is the short way around",
    "evaluation/baselines.py: _relative_error": "both are unwrapped before",
    "evaluation/calibrate.py: forecast_errors": "forecasts() returns what is nearest to the truth",
    "evaluation/metrics.py: rmse": "series without channels; its callers bring them near",
    "evaluation/probabilistic/scores.py: variogram_score": "differences inside one course, which is near the truth",
    "evaluation/report/judge.py: interval_coverage": "forecasts() returns what is nearest to the truth",
    "evaluation/aligned.py: mean_determination": "forecasts() returns what is nearest to the truth",
    "evaluation/report/content.py: _missed_most": "ShownOutputs.near_truth() brought them near",
    "evaluation/report/quantities.py: near_truth": "this is the short way around",
    "evaluation/residuals.py: residual": "one_step() returns what is nearest to the measurement",
    "model/backends/windowed.py: innovation_energy": "the fast path of Novelty, which angles never take",
    "model/coordinates/angles.py: error": "this is the short way around",
    "train/auto/plan.py: _target_unit": "coordinates subtract: targets take the short way",
    "train/linear_path.py: _error_per_tick": "coordinates subtract: targets take the short way",
}


def outputs_at(seed: int, rows: int = 6) -> np.ndarray:
    """Random outputs [rows, 7] that move little from row to row."""
    rng = np.random.default_rng(seed)
    steps = 0.2 * rng.standard_normal((rows, 7))
    values = rng.uniform(-3, 3, 7) + np.cumsum(steps, 0)
    values[:, ATTITUDE] /= np.linalg.norm(values[:, ATTITUDE], axis=1, keepdims=True)
    return values


def shown_otherwise(values: np.ndarray, seed: int) -> np.ndarray:
    """The same outputs [rows, 7] with whole turns added and quaternions negated in some rows."""
    rng, other = np.random.default_rng(seed + 1), values.copy()
    other[:, 0] += 2 * np.pi * rng.integers(-3, 4, len(values))
    other[:, 1] += 360 * rng.integers(-3, 4, len(values))
    other[:, ATTITUDE] *= rng.choice([-1, 1], (len(values), 1))
    return other


def held(predicted: np.ndarray, truth: np.ndarray) -> Any:
    history = np.concatenate((np.zeros((len(predicted), 1, 1)), predicted[:, None]), 2)
    guess = Hold(1).forecast(history, np.zeros((len(predicted), 1, 1)))
    return list(horizon_errors(guess, truth[:, None], OUTPUTS).values())


COMPARED: dict[str, Callable[[np.ndarray, np.ndarray], Any]] = {
    "differences": lambda a, b: differences(a, b, OUTPUTS),
    "group errors": lambda a, b: np.stack(list(group_errors(a[:, None], b[:, None], OUTPUTS).values())),
    "hold": held,
    "golden trace": lambda a, b: relative_error(a, b, SPEC),
}


@pytest.mark.parametrize("name", COMPARED)
@given(seeds)
def test_a_comparison_takes_the_short_way(name: str, seed: int) -> None:
    """Whole turns and the sign of a quaternion change no comparison, on either side."""
    truth = outputs_at(seed)
    guess = truth + 0.1 * np.random.default_rng(seed).standard_normal(truth.shape)
    guess[:, ATTITUDE] /= np.linalg.norm(guess[:, ATTITUDE], axis=1, keepdims=True)
    expected = np.abs(COMPARED[name](guess, truth))
    for a, b in ((shown_otherwise(guess, seed), truth), (guess, shown_otherwise(truth, seed))):
        np.testing.assert_allclose(np.abs(COMPARED[name](a, b)), expected, atol=1e-9)


def test_every_subtraction_of_a_prediction_is_known() -> None:
    """Wherever the package subtracts a prediction from a truth, it is listed here with a reason."""
    package = Path(rtsysid.__file__).parent
    found = {
        f"{path.relative_to(package)}: {name}"
        for path in package.rglob("*.py")
        for name in subtracting(path.read_text())
    }
    assert found == set(RAW)


def subtracting(source: str) -> set[str]:
    """Functions of a module that subtract two of the names that predictions and measurements have."""
    names = {"predicted", "guess", "expected", "measured", "truth", "true", "reached", "forecast"}
    if not any(name in source for name in names):
        return set()
    functions = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)]
    pairs = [
        (function.name, words(node.left), words(node.right))
        for function in functions
        for node in ast.walk(function)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Sub)
    ]
    # weighted_squares is the function around innovation_energy
    return {name for name, left, right in pairs if left & names and right & names} - {"weighted_squares"}


def words(node: ast.AST) -> set[str]:
    inner = list(ast.walk(node))
    return {n.id for n in inner if isinstance(n, ast.Name)} | {n.attr for n in inner if isinstance(n, ast.Attribute)}


@given(seeds, st.integers(0, 12))
def test_signs_become_continuous(seed: int, rows: int) -> None:
    """Whatever signs quaternions are recorded with, the same rows result, sample by sample as well, w first positive.

    Rows with NaN are left as they are; rows that are continuous already are the same object.
    """
    values = outputs_at(seed, rows).astype(np.float32)
    other = values.copy()
    other[:, ATTITUDE] *= np.random.default_rng(seed).choice(np.float32([-1, 1]), (rows, 1))
    found = continuous(values, [(2, 3, 4, 5)])
    assert np.array_equal(found, continuous(other, [(2, 3, 4, 5)]))
    assert continuous(found, [(2, 3, 4, 5)]) is found
    keeper = SignKeeper([(2, 3, 4, 5)])
    for row, wanted in zip(other, found, strict=True):
        aligned = keeper.aligned(row)
        keeper.follow(aligned)
        assert np.array_equal(aligned, wanted)
    lost = values.copy()
    lost[1:2, 3] = np.nan
    assert np.isnan(continuous(lost, [(2, 3, 4, 5)])[1:2, 3]).all()


def test_the_first_sign_is_that_of_the_last_component_that_is_not_zero() -> None:
    """A rotation by half a turn has w = 0: then z decides, then y, then x; a quaternion of zeros stays."""
    for q, sign in (
        ((0, 0, -1, 0), -1),
        ((0, 1, 0, 0), 1),
        ((-1, 0, 0, 0), -1),
        ((0, 0, 0, 0), 1),
        ((0, 0, 1, -0.1), -1),
    ):
        row = np.array([q], np.float32)
        assert np.array_equal(continuous(row, [(0, 1, 2, 3)]), sign * row)


@given(seeds)
def test_angles_are_unwrapped(seed: int) -> None:
    """Unwrapped rows do not jump, and differ from the recorded ones by whole turns; plans continue their history."""
    values = shown_otherwise(outputs_at(seed), seed)
    smooth = unwrapped(values, OUTPUTS)
    assert np.abs(np.diff(smooth[:, 0])).max() <= np.pi
    np.testing.assert_allclose(differences(smooth, values, OUTPUTS)[:, :2], 0, atol=1e-9)
    channels = (Channel("u", "rad", "input", angle=True), Channel("y"))
    rows = np.stack((values[:, 0], values[:, 6]), 1)[None].astype(np.float32)
    history, plan = unwrapped_plan(rows[:, :3], rows[:, 3:, :1], channels)
    joined = np.concatenate((history[0, -1:, 0], plan[0, :, 0]))
    assert np.abs(np.diff(joined)).max() <= np.pi + 1e-4


def test_what_is_no_angle_stays_as_it_is() -> None:
    """Without angles and quaternions nothing is copied, and a prediction that is not finite stays so."""
    rows, plain = np.ones((3, 2), np.float32), (Channel("a"), Channel("b"))
    assert unwrapped(rows, plain) is rows
    assert nearest([[np.inf, np.nan]], [[0.0, 0.0]], plain)[0, 0] == np.inf
    assert nearest([[np.inf, *[0.0] * 6]], [[0.0] * 7], OUTPUTS)[0, 0] == np.inf


def test_angles_are_named_in_the_configuration() -> None:
    """`[data] angles` marks channels; an unknown name and a unit that is no angle are one line with the remedy."""
    found = parse_config(TABLE.format(outputs='"yaw [deg]", "v"', angles='"yaw"')).data.channels
    assert [channel.period for channel in found] == [0.0, 360.0, 0.0]
    for outputs, angles, message in (
        ('"yaw [deg]"', '"roll"', "no channel is named 'roll'"),
        ('"yaw"', '"yaw"', r"the unit of 'yaw' is ''; state it: 'yaw \[rad\]' or 'yaw \[deg\]'"),
        ('"yaw [turns]"', '"yaw"', "the unit of 'yaw' is 'turns'"),
    ):
        with pytest.raises(ConfigError, match=message):
            parse_config(TABLE.format(outputs=outputs, angles=angles)).data.channels  # noqa: B018


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"output": "absolute"}, "increment"),
        ({"channels": (Channel("yaw", "turns", angle=True),)}, "its unit is 'turns'"),
    ],
)
def test_an_angle_that_cannot_be_is_refused(changes: dict[str, Any], found: str) -> None:
    """Values in place of increments have no short way; a period follows from the unit alone."""
    with pytest.raises(SpecError, match=found):
        ModelSpec(**{"channels": SPEC.channels, "rate_hz": 100.0, **changes})


def test_alignment_averages_on_the_circle() -> None:
    """The mean of 179 and -179 degrees is 180, not 0; that of q and -q is q."""
    values = np.array([[0, 0, 0, 0, 1, 178], [0, 0, 0, 0, 1, 179], [0, 0, 0, 0, -1, -179.0]], np.float32)
    channels = (Channel("u", role="input"), *OUTPUTS[2:6], OUTPUTS[1])
    trace = Trace(channels, (Episode("a", np.array([0.0, 0.01, 0.02]), values),))
    settings = Data(50.0, ("u",), ("y",), max_age=0.1)
    last = align_trace(trace, settings).episodes[0].values[-1]
    assert abs(differences(last[5:], [180.0], OUTPUTS[1:2])[0]) < 1e-4
    assert abs(last[4]) == 1.0
