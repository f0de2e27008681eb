"""What the session accepts does not depend on where a body looks, on signs of quaternions, or on whole turns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.robots import (
    flight,
    make_angle_spec,
    make_body_spec,
    make_driven_spec,
    make_moving_spec,
    make_turret_spec,
    turns,
)

from rtsysid.circle import SignKeeper, continuous, differences
from rtsysid.live.calibration import Calibration, innovation_spread, novelty_scores
from rtsysid.live.exceedance import ExceedanceModel
from rtsysid.live.novelty import Novelty
from rtsysid.live.session import Session
from rtsysid.live.trained_range import TrainedRange
from rtsysid.model.backends.numpy_backend import NumpyBackend
from rtsysid.model.plans import InputRange
from rtsysid.model.predictor import Predictor
from rtsysid.spec import Channel, Floats, ModelSpec, Sample, unit_scaling
from rtsysid.train.network import Network
from rtsysid.train.run import state_arrays
from rtsysid.train.windows import fit_scaling

ATTITUDE, VELOCITY, POSITION = slice(9, 13), slice(13, 16), slice(6, 9)
BODIES = [make_body_spec, make_moving_spec, make_driven_spec, make_turret_spec]
ROWS = 160
Make = Callable[..., ModelSpec]


class Said(NamedTuple):
    """What a session says of a stream: predictions [n, ny], statuses, and scores of novelty [n]."""

    y: np.ndarray
    status: list[tuple[str, ...]]
    score: np.ndarray


class Robot:
    """A session with an untrained network, whose ranges and calibration come from its own recording."""

    def __init__(self, spec: ModelSpec, rows: Floats) -> None:
        torch.manual_seed(4)
        scaling = fit_scaling([rows], spec)
        self.spec = msgspec.structs.replace(spec, scaling=scaling)
        weights = state_arrays(Network(self.spec).eval().state_dict())
        self.predictor = Predictor(self.spec, NumpyBackend(self.spec, weights))
        spread = innovation_spread(self.spec, novelty_scores(self.predictor, rows).innovation)
        score = ExceedanceModel(60.0, 50, 1.5, 0.1, 0.1)
        fields = {"innovation": score, "reconstruction": score, "every": 3, "recordings": "its own"}
        self.calibration = Calibration(false_alarms_per_hour=3000.0, spread=tuple(spread.tolist()), **fields)

    def hear(self, rows: Floats) -> Said:
        novelty = Novelty(self.calibration, self.predictor)
        session, answers, scores = Session(self.predictor, novelty=novelty, max_gap=2), [], []
        for tick, row in enumerate(rows):
            answers.append(session.feed(Sample(tick / self.spec.rate_hz, row)))
            scores.append(novelty.score)
        flags = [tuple(map(str, answer.flags)) for answer in answers]
        return Said(np.stack([answer.y for answer in answers]), flags, np.array(scores))


def flown(spec: ModelSpec, seed: int = 0) -> Floats:
    """A recording [ROWS, C]; `disturbed` puts faults into it."""
    rows = flight(ROWS, batch=1, seed=seed)[0] * turns(spec)
    return rows.astype(np.float32)


def disturbed(rows: Floats) -> Floats:
    """The same with a velocity and a rate out of range, an impossible one, a jump in place, NaN and a gap."""
    rows = rows.copy()
    rows[60:63, VELOCITY] *= 3
    rows[70, 13], rows[80, 2], rows[90, 9] = 1e4, 1e4, np.nan
    rows[100:102, POSITION] += 500
    rows[110:115, 2] = np.inf
    return rows


def turned_world(rows: Floats, angle: float, shift: np.ndarray) -> Floats:
    """The same flight seen in a world turned about the vertical and moved."""
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    a, b = np.sin(angle / 2), np.cos(angle / 2)
    x, y, z, w = np.moveaxis(rows[..., ATTITUDE].astype("f8"), -1, 0)
    moved = rows.astype("f8")
    moved[..., ATTITUDE] = np.stack([b * x - a * y, b * y + a * x, b * z + a * w, b * w - a * z], -1)
    moved[..., VELOCITY] = rows[..., VELOCITY] @ turn.T
    moved[..., POSITION] = rows[..., POSITION] @ turn.T + shift
    return moved.astype(np.float32)


@pytest.fixture(scope="module", params=BODIES, ids=lambda make: make.__name__)
def body(request: pytest.FixtureRequest) -> Robot:
    spec = request.param("lstm-tdl-aeu")
    return Robot(spec, flown(spec))


@pytest.mark.parametrize(("angle", "shift"), [(0.5, 0.0), (np.pi / 2, 3.0), (-3.0, -20.0)])
def test_where_a_body_looks_and_is_changes_nothing(body: Robot, angle: float, shift: float) -> None:
    """A world turned about the vertical and moved: the same predictions seen there, statuses and scores."""
    place, rows = shift * np.array([1.0, -0.5, 0.25]), disturbed(flown(body.spec))
    here, there = body.hear(rows), body.hear(turned_world(rows, angle, place))
    sure = ~(np.abs(np.nan_to_num(here.score) - 1) < 1e-2)  # rounding may carry a score over its threshold
    assert [s for s, known in zip(here.status, sure, strict=True) if known] == [
        s for s, known in zip(there.status, sure, strict=True) if known
    ]
    assert {"extrapolating", "rejected", "held", "reset", "ok"} <= {flag for flags in here.status for flag in flags}
    np.testing.assert_allclose(there.score, here.score, rtol=2e-3, atol=1e-3)
    inputs = np.zeros((ROWS, 2), np.float32)
    seen = turned_world(np.concatenate((inputs, here.y), 1), angle, place)[:, 2:]
    off = differences(there.y, seen, quaternion_outputs(body.spec))
    assert np.nanmax(np.abs(off)) < 2e-3
    assert np.isfinite(there.y[20:50]).all()


def quaternion_outputs(spec: ModelSpec) -> list[Channel]:
    """The outputs with the unit of a quaternion where the specification leaves it out."""
    named = set(spec.rigid_body.attitude) if spec.rigid_body else set()
    return [Channel(c.name, "quat", group="q") if c.name in named else c for c in spec.outputs]


@settings(max_examples=3)
@given(st.lists(st.booleans(), min_size=ROWS, max_size=ROWS))
def test_the_sign_of_a_quaternion_changes_nothing(body: Robot, negative: list[bool]) -> None:
    """Any samples with -q in place of q: the same bits, statuses and scores."""
    rows = disturbed(flown(body.spec))
    other = rows.copy()
    other[negative, ATTITUDE] *= -1
    same(body.hear(rows), body.hear(other))


def same(a: Said, b: Said) -> None:
    assert np.array_equal(a.y, b.y, equal_nan=True)
    assert a.status == b.status
    assert np.array_equal(a.score, b.score, equal_nan=True)


@pytest.mark.parametrize("group", ["attitude", ""])
def test_a_quaternion_in_plain_coordinates_has_no_sign_either(group: str) -> None:
    """A model that sees the components of a quaternion as they are gets them with signs that continue."""
    names = ("qx", "qy", "qz", "qw")
    channels = (Channel("u", "V", "input"), *(Channel(name, "quat", group=group) for name in names))
    spec = ModelSpec(channels=channels, rate_hz=100.0, taps=4, encoder=(4,), hidden=6, warmup=3)
    rows = flown(make_body_spec())[:, [0, 9, 10, 11, 12]]
    robot, other = Robot(spec, rows), rows.copy()
    other[np.random.default_rng(0).random(ROWS) < 0.5, 1:] *= -1
    same(robot.hear(rows), robot.hear(other))


def test_a_quaternion_in_plain_coordinates_is_rejected_by_its_length() -> None:
    """One without a body: zeros, a length of 3, NaN and infinity are no rotation, whatever the trained ranges are."""
    group = [Channel(name, "quat", group="q") for name in "abcd"]
    spec = ModelSpec(channels=(Channel("u", "V", "input"), *group), rate_hz=100.0, taps=2, encoder=())
    judged = TrainedRange(msgspec.structs.replace(spec, scaling=unit_scaling(spec, 10.0)), 0.0, 1.0)
    for q in ((0, 0, 0, 0), (1.8, 1.8, 1.8, 0), (0, 0, 0, np.nan), (0, 0, 0, np.inf)):
        row = np.array([0, *q], np.float32)
        assert set(judged.outside(row)[0]) >= {1, 2, 3, 4}
        assert not judged.holds(row)
    assert judged.holds(np.array([0, 0.6, 0, 0, -0.8], np.float32))


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=12))
def test_half_a_turn_in_one_tick_has_no_sign_either(steps: list[tuple[int, bool]]) -> None:
    """Where q and -q are as near to the last one, the row itself decides, in a recording and in a stream alike."""
    eighth = 0.5**0.5
    turned = np.array([[0, 0, 0, 1], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [eighth, eighth, 0, 0], [0, 0, 0, 0]])
    rows = np.array([turned[k] for k, _ in steps], np.float32)
    other = rows * np.where([[negative] for _, negative in steps], -1, 1).astype(np.float32)
    smooth, keeper, stream = continuous(rows, [(0, 1, 2, 3)]), SignKeeper([(0, 1, 2, 3)]), []
    for row in other:
        stream.append(keeper.aligned(row))
        keeper.follow(stream[-1])
    assert np.array_equal(smooth, continuous(other, [(0, 1, 2, 3)]))
    assert np.array_equal(smooth, np.array(stream))


@pytest.fixture(scope="module")
def turning() -> Robot:
    spec = make_angle_spec("lstm-tdl-aeu")
    return Robot(spec, headings())


def headings() -> Floats:
    """Inputs and outputs [ROWS, 5] of `make_angle_spec`: two angles that walk around, one that swings, in [-pi, pi)."""
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((ROWS, 5))
    rows[:, 1:3] = np.cumsum(0.5 * rows[:, 1:3], 0)
    rows[:, 3] = 0.5 * np.sin(np.arange(ROWS) / 9) + np.pi
    rows[:, 1:4] = np.mod(rows[:, 1:4] + np.pi, 2 * np.pi) - np.pi
    return rows.astype(np.float32)


@settings(max_examples=3)
@given(st.lists(st.integers(-3, 3), min_size=ROWS, max_size=ROWS))
def test_whole_turns_change_nothing(turning: Robot, whole: list[int]) -> None:
    """Any turns more or less in any samples: the same predictions, statuses and scores, but for rounding."""
    rows = headings()
    rows[70, 2], rows[80, 4] = np.nan, 1e4
    other = rows + 2 * np.pi * np.array([0, 1, 1, 1, 0], np.float32) * np.array(whole, np.float32)[:, None]
    here, there = turning.hear(rows), turning.hear(other.astype(np.float32))
    sure = ~(np.abs(np.nan_to_num(here.score) - 1) < 1e-2)
    assert [s for s, known in zip(here.status, sure, strict=True) if known and s != ("extrapolating",)] == [
        s for s, known in zip(there.status, sure, strict=True) if known and s != ("extrapolating",)
    ]
    np.testing.assert_allclose(there.score, here.score, rtol=2e-2, atol=1e-2)
    assert np.nanmax(np.abs(differences(there.y, here.y, turning.spec.outputs))) < 1e-3


def test_predictions_are_in_the_turn_of_the_recording(turning: Robot) -> None:
    """Recorded in -pi..pi, predicted there; the same model with angles recorded in 0..2 pi predicts there."""
    rows = headings()
    y = turning.hear(rows).y[10:, :2]
    assert y.min() < -3
    assert y.max() < np.pi + 1e-5
    positive = rows.copy()
    positive[:, 1:4] = np.mod(positive[:, 1:4], np.float32(2 * np.pi))
    y = Robot(make_angle_spec("lstm-tdl-aeu"), positive).hear(positive).y[10:, :2]
    assert y.min() > -1e-5
    assert y.max() > 6


def test_an_angle_extrapolates_where_training_never_pointed_and_is_never_impossible() -> None:
    """A pendulum trained around pi is known at pi and at -pi, unknown at 0, and rejected nowhere but without digits."""
    spec = make_angle_spec("lstm-tdl-aeu")
    spec = msgspec.structs.replace(spec, scaling=fit_scaling([headings()], spec))
    judged, row = TrainedRange(spec, 0.0, 1.0), headings()[0]
    beyond, none = ((), (3,)), ((), ())
    for value, expected in ((np.pi, none), (-np.pi, none), (7 * np.pi, none), (1e7, ((3,), (3,))), (0.0, beyond)):
        row[3] = value
        assert judged.outside(row) == expected
        assert judged.holds(row) == (expected == none)
    assert np.array_equal(judged.beyond(np.stack([row]))[0], [False, False, False, True, False])


def test_every_training_sample_is_within_the_trained_range() -> None:
    """What the scaling was fitted to is accepted, whatever the coordinates."""
    for make in (*BODIES, make_angle_spec):
        spec = make("lstm-tdl-aeu")
        rows = headings() if make is make_angle_spec else flown(spec)
        spec = msgspec.structs.replace(spec, scaling=fit_scaling([rows], spec))
        judged = TrainedRange(spec, 0.0, 1.0)
        assert all(judged.outside(row) == ((), ()) for row in rows)
        assert not judged.beyond(rows).any()


def test_an_attitude_is_rejected_by_its_length_alone() -> None:
    """Upside down is unknown and not impossible; a quaternion of zeros, of length 3 or with NaN is no rotation."""
    spec = make_body_spec()
    narrow = {"seen_low": (-0.1,) * 16, "seen_high": (0.1,) * 16}
    spec = msgspec.structs.replace(spec, scaling=msgspec.structs.replace(unit_scaling(spec), **narrow))
    judged, row = TrainedRange(spec, 0.0, 1.0), np.zeros(16, np.float32)
    row[ATTITUDE] = [1, 0, 0, 0]
    assert judged.outside(row) == ((), (11,))  # the vertical points down along z
    for q in ((0, 0, 0, 0), (3, 0, 0, 0), (np.nan, 0, 0, 1)):
        row[ATTITUDE] = q
        assert 12 in judged.outside(row)[0]


@given(st.lists(st.sampled_from([0.0, 1.0, -1.0, 1e30, -3.4e38, np.inf, np.nan]), min_size=16, max_size=16))
def test_whatever_comes_is_judged(values: list[float]) -> None:
    """No value raises, and what is not finite is impossible."""
    for make in BODIES:
        judged, row = TrainedRange(make(), 0.0, 1.0), np.array(values, np.float32)
        impossible, beyond = judged.outside(row)
        assert set(impossible) <= set(beyond)
        assert np.isfinite(row).all() or impossible
        assert judged.holds(row) == (not beyond)


def test_fitting_a_wrapped_angle_is_fitting_a_smooth_one() -> None:
    """Scaling of features and targets do not see where a recording wraps; the spread is that on the circle."""
    spec: Any = make_angle_spec("lstm-tdl-aeu")
    wrapped = headings()
    smooth = wrapped.copy()
    smooth[:, 1:4] = np.unwrap(wrapped[:, 1:4].astype("f8"), axis=0)
    a, b = (fit_scaling([rows], spec) for rows in (wrapped, smooth))
    for name in ("feature_mean", "feature_std", "target_mean", "target_std", "std"):
        np.testing.assert_allclose(getattr(a, name), getattr(b, name), atol=1e-4)
    assert a.std[3] == pytest.approx(0.35, abs=0.05)


@pytest.mark.parametrize("make", [make_angle_spec, make_driven_spec])
def test_a_plan_is_judged_as_a_sample_is(make: Make) -> None:
    """A plan leaves the trained range of just those inputs for which a session calls a sample extrapolating."""
    spec = make()
    rows = np.random.default_rng(0).uniform(-3.0, 3.0, (300, spec.width)).astype(np.float32)
    low, high = np.array(spec.scaling.seen_low), np.array(spec.scaling.seen_high)
    scaling = msgspec.structs.replace(spec.scaling, seen_low=tuple(low / 2), seen_high=tuple(high / 4))
    spec = msgspec.structs.replace(spec, scaling=scaling)
    plans, session = InputRange(spec), TrainedRange(spec, 0.0, 1.0)
    for row in rows:
        outside = [column for column in session.outside(row)[1] if column < spec.n_inputs]
        assert np.flatnonzero(plans.beyond(row[: spec.n_inputs])).tolist() == outside


def test_an_input_that_stood_still_in_training_has_a_width() -> None:
    """Its range is as wide as its standard deviation in the scaling, so that leaving it is a number."""
    spec = make_angle_spec()
    still = msgspec.structs.replace(spec.scaling, seen_low=(0.0,) * 5, seen_high=(0.0,) * 5, std=(0.5,) * 5)
    beyond = InputRange(msgspec.structs.replace(spec, scaling=still)).beyond(np.array([[1.0, 0.0]], np.float32))
    assert beyond.tolist() == [2.0, 0.0]
